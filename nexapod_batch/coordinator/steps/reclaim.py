"""Work that nobody began is taken back from a machine whose owner lets nothing start, where other nodes can run it now.

Taking back is claiming: a launch that this process has claimed is run by nobody, whatever its worker does at the same
instant. The replicas are set aside, so that an owner's wish counts against neither task nor node.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement.eligibility import is_foreign, loads_of
from nexapod_batch.coordinator.steps.dispatch import domains_of, needs_of
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.node import LOCAL
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.planner import NodeLoad, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.planner import Need
    from nexapod_batch.store.repositories.launches import OpenLaunch

__all__ = ["take_back"]


def take_back(c: Coordinator, nodes: Sequence[Node]) -> int:
    """Take back what can be moved; return how many replicas. The caller holds the writer's lock."""
    local = [node for node in nodes if node.site == LOCAL]
    if not local:
        return 0
    quiet = _quiet(c, local)
    rows = [row for row in c.store.launches.all_open() if row.node_id in quiet and row.state == "handed"]
    if rows:
        return _move(c, rows, quiet)
    return 0


def _move(c: Coordinator, rows: Sequence[OpenLaunch], quiet: Mapping[int, str]) -> int:
    """Take back those of the launches for which there is room on other nodes; return how many replicas."""
    from nexapod_batch.local_nodes.owner_policy import withdraw  # noqa: PLC0415 - only machines with an owner need it

    known = c.nodes_by_id()
    out = c.store.nodes.out()
    others = [node for node in usable(c, Faults()) if node.active and node.id not in quiet]
    stays: set[int] = set()  # jobs of which a launch cannot be moved: nor can the next one
    moved = 0
    for row in rows:
        node = known[row.node_id]
        if row.job_id in stays:
            continue
        if not _fits_elsewhere(c, row, node, others, out):
            stays.add(row.job_id)
        elif withdraw(c.context(node).spool, row.key):
            moved += _set_aside(c, row, node, quiet[node.id])
    return moved


def _quiet(c: Coordinator, nodes: Sequence[Node]) -> dict[int, str]:
    """Return the nodes whose owner lets nothing start, by row id, and why."""
    from nexapod_batch.local_nodes.owner_policy import paused  # noqa: PLC0415 - only machines with an owner need it

    reasons = {node.id: paused(c.context(node).spool)[0] for node in nodes}
    return {node: why for node, why in reasons.items() if why}


def _fits_elsewhere(c: Coordinator, row: OpenLaunch, node: Node, others: Sequence[Node], out: dict[int, int]) -> bool:
    """Say whether other nodes can take every replica of a launch now; what they take is added to `out`."""
    replicas = c.store.launches.replicas_out(row.id)
    tasks = [c.store.tasks.get(row.job_id, replica.task) for replica in replicas]
    mine = {replica.task: domains_of(node, f"{replica.id}") for replica in replicas}
    needs = [_without(need, mine[need.task]) for need in needs_of(c, row.job_id, tasks)]
    job = c.job(row.job_id)
    loads: list[NodeLoad] = []
    with suppress(NexapodError):  # a site that cannot be asked takes nothing
        loads = loads_of(c, job, others, out, foreign=is_foreign(c, row.job_id))
    found = plan(job, needs, loads)
    if not needs or found.blocked:
        return False
    for _, node_id in found.placements:
        out[node_id] = out.get(node_id, 0) + 1
    return True


def _without(need: Need, domain: object) -> Need:
    """Return the need for one replica in place of the one that has this domain."""
    return replace(need, want=1, taken=tuple(one for one in need.taken if one != domain))


def _set_aside(c: Coordinator, row: OpenLaunch, node: Node, why: str) -> int:
    reason = Reason(code=Code.TAKEN_BACK, parameters={"node": node.name, "text": why})
    with c.store.atomic():
        gone = c.store.launches.take_back(row.id, reason=reason.stored(), now=c.now())
        c.store.tasks.note_news(sorted(set(gone)))
        c.store.launches.end(launch_reason(row.id, reason))
    return len(gone)
