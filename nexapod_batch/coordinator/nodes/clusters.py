"""Which cluster each node is, asked of its scheduler: the same one counts once, however many site files name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.node import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["ask", "keep", "wanted"]

#: For so long an answer holds; then all schedulers are asked at once, for some ids change when they start anew.
_HOLDS_MS = 3_600_000


def wanted(c: Coordinator, nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that something may be placed on: a scheduler that nobody needs keeps no pass waiting."""
    sites: set[str] = set()
    for row in c.store.jobs.wanting():
        named = c.job(row.id).schedule.sites
        if not named:
            return list(nodes)
        sites.update(named)
    return [node for node in nodes if node.site in sites]


def ask(c: Coordinator, nodes: Sequence[Node], *, near: bool = False) -> dict[int, str]:
    """Return which cluster each node is whose scheduler answers, where one of them is due; nothing where none is.

    Only those that need no connection to another machine are asked where it must be `near`.
    """
    far = [node for node in nodes if node.site != LOCAL]
    if all(node.cluster_at > c.now() - _HOLDS_MS for node in far):
        return {}
    answers: dict[str, str] = {}
    found = {}
    for node in far:
        if node.site not in answers:
            answers[node.site] = _answer(c, node, far, near=near)
        if answers[node.site]:
            found[node.id] = answers[node.site]
    return found


def keep(c: Coordinator, answers: Mapping[int, str]) -> None:
    """Keep answers; the caller holds the writer's lock."""
    if not answers:
        return
    with c.store.atomic():
        for node, cluster in answers.items():
            c.store.nodes.put_cluster(node, cluster, c.now())


def _answer(c: Coordinator, node: Node, nodes: Sequence[Node], *, near: bool) -> str:
    """Return what the scheduler of a node says, or the one that starts its workers; "" for nothing."""
    try:
        context = c.context(node)
        if context.on is not None:
            host = next((other for other in nodes if other.site == context.on.name), None)
            return "" if host is None else _answer(c, host, (), near=near)
        if near and context.its_site.ssh is not None:
            return ""
        return c.backend(node).cluster_id(context)
    except (NexapodError, OSError) as error:  # a pass tells of a site that cannot be reached
        log.debug(__name__, "cluster unknown", node=node.name, error=str(error))
        return ""
