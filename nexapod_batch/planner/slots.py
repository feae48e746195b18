"""Nodes while a plan is made: their domains, what is free of them, and which numeric class a task gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.job import Domain, NumericClass
from nexapod_batch.quorum.domains import max_distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.planner.nouns import Need, NodeLoad

__all__ = ["SPREAD", "Slot", "class_for", "counted", "domains_in_reach"]

SPREAD = (Domain.OWNER, Domain.SITE, Domain.HOST, Domain.NODE)  # from the widest


class Slot:
    """A node while a plan is made: what is left of it."""

    __slots__ = ("blamed", "domain", "free", "id", "load", "networks", "node", "numeric_class", "row", "spread", "step")

    def __init__(self, job: Job, load: NodeLoad, typical: float = 0.0) -> None:
        """Keep what of a node matters; `typical` is the speed that counts as 1, and as that of who was not measured."""
        node = load.node
        self.node, self.id, self.blamed = node, node.id, load.blamed
        self.numeric_class = node.numeric_class(job.quorum.numeric_class)
        self.domain = {name: node.domain(name, "") for name in Domain}
        self.row = tuple(self.domain[name] for name in counted(job))
        self.networks = frozenset(node.networks) if self.row else frozenset()  # for `run` nothing has to differ
        self.spread = tuple(self.domain[name] for name in SPREAD)
        self.free = 0 if load.paused is not None else max(0, node.max_queued - load.out)
        self.step = 1 / (node.cpus * (node.speed / typical if node.speed and typical else 1))
        self.load = load.out * self.step


def counted(job: Job) -> tuple[Domain, ...]:
    """Return the fields of `distinct` that keep a node from being taken twice; every execution is its own run."""
    return tuple(name for name in job.quorum.distinct if name is not Domain.RUN)


def class_for(job: Job, need: Need, slots: Iterable[Slot]) -> str | None:
    """Return the task's class: the fixed one, else the one with most free domains; None when there is none.

    A class that could meet the quorum if it had free slots goes before one that never can.
    """
    if job.quorum.numeric_class is NumericClass.ANY:
        return ""
    if need.numeric_class is not None:
        return need.numeric_class
    by_class: dict[str, list[Slot]] = {}
    for slot in slots:
        by_class.setdefault(slot.numeric_class, []).append(slot)

    def rank(name: str) -> tuple[bool, int, int, int]:
        members = by_class[name]
        total, free = domains_in_reach(job, members), domains_in_reach(job, [slot for slot in members if slot.free])
        return (total >= job.quorum.agree, free, total, sum(slot.free for slot in members))

    return max(sorted(by_class), key=rank, default=None)


def domains_in_reach(job: Job, slots: Sequence[Slot]) -> int:
    """Return how many replicas of one task the nodes can take; for `run` as many as the policy allows."""
    if not slots:
        return 0
    if slots[0].row:
        return max_distinct(slot.row for slot in slots)
    return max(job.quorum.max_replicas, job.quorum.agree)
