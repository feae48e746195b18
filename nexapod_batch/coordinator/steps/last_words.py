"""What schedulers say of launches that have reported: an end that no report knows of takes votes away.

A runner that reported `ok` may have missed what the kernel did to its allocation. Where a backend tells ends, a launch
is kept until its scheduler has said how it ended. Of one that ended for memory, nothing that was reported as well
counts any more, unless a report of the same allocation says who it was that took too much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.plugins import BackendState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.node import Node
    from nexapod_batch.plugins import LaunchStatus
    from nexapod_batch.store.repositories.launches import EndedLaunch

__all__ = ["LAUNCHES_MAX", "ask_ends", "forgettable", "overrule"]

#: Ended launches that are looked at in one pass.
LAUNCHES_MAX = 1_000
_FINAL = frozenset({BackendState.COMPLETED, BackendState.CANCELED})


def ask_ends(c: Coordinator, nodes: Sequence[Node], faults: Faults) -> dict[int, LaunchStatus]:
    """Return what the schedulers say of launches that have ended for us, by row id, as far as it could be asked."""
    rows = c.store.launches.ended(LAUNCHES_MAX)
    told: dict[int, LaunchStatus] = {}
    for node in nodes:
        mine = [row for row in rows if row.node_id == node.id and row.reported]
        if not mine or not c.backend(node).tells_ends:
            continue
        try:
            answers = c.backend(node).ends(c.context(node), [row.key for row in mine])
        except (NexapodError, OSError) as error:
            faults.of_node(Code.STATUS_FAULT, node, error)
            continue
        told.update({row.id: answers[row.key] for row in mine})
    return told


def overrule(c: Coordinator, ends: Mapping[int, LaunchStatus], behind: Collection[int]) -> set[int]:
    """Take the votes from what did not end well; return the launches of which everything is known now.

    All reports of these launches were read, but of those on nodes that are `behind`: they are asked for again.
    """
    known: set[int] = set()
    if not ends:
        return known
    for row in c.store.launches.ended(LAUNCHES_MAX):
        status = ends.get(row.id)
        if status is None or row.node_id in behind:
            continue
        if status.state is BackendState.FAILED:
            _withdraw(c, row, status)
        if status.state is BackendState.FAILED or status.state in _FINAL:
            known.add(row.id)
    return known


def forgettable(
    c: Coordinator, node: Node, rows: Sequence[EndedLaunch], known: Collection[int]
) -> Sequence[EndedLaunch]:
    """Return which ended launches of a node its backend may forget: nothing that it could say of them would count."""
    if not c.backend(node).tells_ends:
        return rows
    return [row for row in rows if row.id in known or not row.reported]


def _withdraw(c: Coordinator, row: EndedLaunch, status: LaunchStatus) -> None:
    """Make errors of what a launch reported as well; of a pack nobody's: it is placed anew."""
    if c.store.launches.memory_explained(row.id):
        return
    reason = Reason(code=Code.OVERRULED, parameters={"text": status.reason}).stored()
    with c.store.atomic():
        tasks = c.store.launches.overrule(row.id, reason=reason, aside=status.anew)
        c.store.tasks.note_news(sorted(set(tasks)))
    log.warning(__name__, "reports overruled", launch=row.id, replicas=len(tasks), reason=status.reason)
