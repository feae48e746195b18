"""Why a replica of a task is not placed, for one node and for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.model.job import Domain
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.planner.fitness import unfit
from nexapod_batch.planner.slots import Slot, class_for, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.planner.nouns import Need, NodeLoad, Plan

__all__ = ["block", "why_not"]

#: Nodes that are named in one reason: thousands of tasks may wait for hundreds of nodes.
_NAMED = 5
_EXPLAINED = 3


def block(job: Job, need: Need, alike: Sequence[Need], loads: Sequence[NodeLoad], result: Plan) -> None:
    """Say once why nothing more was placed for `need` and those like it."""
    slots = [Slot(job, load) for load in loads if unfit(job, load) is None]
    wanted_class = class_for(job, need, slots)
    waiting = {slot.node.name for slot in slots if _conflict(job, need, slot, wanted_class) is None}
    if waiting:
        reason = _all_full([load for load in loads if load.node.name in waiting])
    else:
        reason = _none_left(why_not(job, need, loads))
        result.unplaceable.update(one.task for one in alike)
    result.blocked.update((one.task, reason) for one in alike)


def _all_full(waiting: Sequence[NodeLoad]) -> Reason:
    """Return that every node that could take a replica is full, or must not start anything now."""
    paused = [{"node": load.node.name, "reason": load.paused} for load in waiting if load.paused is not None]
    full = [load.node.name for load in waiting if load.paused is None]
    parameters: dict[str, Any] = {}
    if full:
        parameters["nodes"] = full[:_NAMED]
        if len(full) > _NAMED:
            parameters["more"] = len(full) - _NAMED
    if paused:
        parameters["paused"] = paused[:_EXPLAINED]
    return Reason(code=Code.NODES_FULL if full else Code.NODES_PAUSED, parameters=parameters)


def _none_left(refused: Sequence[tuple[str, Reason]]) -> Reason:
    """Return that no node will ever take a replica, with what keeps the first of them from it."""
    if not refused:
        return Reason(code=Code.NO_NODES)
    parameters: dict[str, Any] = {"nodes": [{"node": name, "reason": why} for name, why in refused[:_EXPLAINED]]}
    if len(refused) > _EXPLAINED:
        parameters["more"] = len(refused) - _EXPLAINED
    return Reason(code=Code.NO_NODE_LEFT, parameters=parameters)


def why_not(job: Job, need: Need, loads: Sequence[NodeLoad]) -> list[tuple[str, Reason]]:
    """Return (node name, reason) for every node that cannot take one more replica of a task now."""
    fits = [Slot(job, load) for load in loads if unfit(job, load) is None]
    wanted_class = class_for(job, need, fits)
    found: list[tuple[str, Reason]] = []
    for load in loads:
        reason = unfit(job, load) or _conflict(job, need, Slot(job, load), wanted_class) or load.paused
        if reason is None and load.out >= load.node.max_queued:
            reason = Reason(code=Code.NODE_FULL, parameters={"out": load.out, "max_queued": load.node.max_queued})
        if reason is not None:
            found.append((load.node.name, reason))
    return found


def _conflict(job: Job, need: Need, slot: Slot, wanted_class: str | None) -> Reason | None:
    """Return what keeps a node that fits from another replica of a task: its class, or a domain that is used."""
    if slot.numeric_class != wanted_class:
        parameters = {"class": job.quorum.numeric_class.value, "has": slot.numeric_class, "wanted": wanted_class}
        return Reason(code=Code.NODE_OF_OTHER_CLASS, parameters=parameters)
    for name, value in zip(counted(job), slot.row, strict=True):
        if any(domain.get(name, "") == value for domain in need.taken):
            shown = slot.node.name if name is Domain.NODE else value
            return Reason(code=Code.DOMAIN_USED, parameters={"field": name.value, "value": shown})
    if not need.networks.isdisjoint(slot.networks):
        return Reason(code=Code.NETWORK_USED)
    return None
