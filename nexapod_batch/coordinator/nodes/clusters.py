"""Which cluster each node is, asked of its scheduler: the same one counts once, however many site files name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.node import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["ask", "due", "keep", "wanted"]

#: For so long an answer holds; then all schedulers are asked at once, for some ids change when they start anew.
_HOLDS_MS = 3_600_000
#: For so long a scheduler that said nothing is let alone: no pass waits for it again and again.
_RETRY_MS = 60_000


def due(c: Coordinator, nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that have a scheduler, where one of them is to be asked by now; none where none is."""
    now = c.now()
    far = [node for node in nodes if node.site != LOCAL]
    if all(now - _HOLDS_MS < node.cluster_at <= now for node in far):  # later than now: the clock was set back
        return []
    return far


def wanted(c: Coordinator, nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that something may be placed on: a scheduler that nobody needs keeps no pass waiting."""
    sites: set[str] = set()
    for row in c.store.jobs.wanting():
        named = c.job(row.id).schedule.sites
        if not named:
            return list(nodes)
        sites.update(named)
    return [node for node in nodes if node.site in sites]


class Answer(NamedTuple):
    """Which cluster a node is, as far as its scheduler said it."""

    cluster: str  # what was known before where it says nothing now
    asked_at: int  # ms; earlier than it was where it is to be asked again soon


def ask(c: Coordinator, nodes: Sequence[Node], *, near: bool = False) -> dict[int, Answer]:
    """Return which cluster each node is, where one of them is due to be asked; nothing where none is.

    Only those that need no connection to another machine are asked where it must be `near`.
    """
    now, far = c.now(), due(c, nodes)
    clusters: dict[str, str | None] = {}
    answers = {}
    for node in far:
        if node.site not in clusters:
            clusters[node.site] = _answer(c, node, far, near=near)
        cluster = clusters[node.site]
        if cluster:
            answers[node.id] = Answer(cluster, now)
        elif cluster is not None:
            answers[node.id] = Answer(node.cluster, now - _HOLDS_MS + _RETRY_MS)
    return answers


def keep(c: Coordinator, answers: Mapping[int, Answer]) -> None:
    """Keep answers; the caller holds the writer's lock."""
    if not answers:
        return
    with c.store.atomic():
        for node, answer in answers.items():
            c.store.nodes.put_cluster(node, answer.cluster, answer.asked_at)


def _answer(c: Coordinator, node: Node, nodes: Sequence[Node], *, near: bool) -> str | None:
    """Return what the scheduler of a node says, or the one that starts its workers; "" for nothing, None unasked."""
    try:
        context = c.context(node)
        if context.on is not None:
            host = next((other for other in nodes if other.site == context.on.name), None)
            return "" if host is None else _answer(c, host, (), near=near)
        if near and context.its_site.ssh is not None:
            return None
        return c.backend(node).cluster_id(context)
    except (NexapodError, OSError) as error:  # a pass tells of a site that cannot be reached
        log.debug(__name__, "cluster unknown", node=node.name, error=str(error))
        return ""
