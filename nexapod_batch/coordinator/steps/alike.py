"""Tasks of which all replicas reported the same: such tasks differ in names and digests only, and are decided alike.

Where equal answers are a group, a decision does not depend on what the answer is; nor, while one kernel ran, on when
replicas did. So one of those tasks is decided by the quorum checker, and the others are what it is. That is a third of
the work of `bench/ingest.py`'s decisions; a test holds it to the general way, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.lifecycle import Execution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.evidence.signed_verdicts import Reached
    from nexapod_batch.coordinator.steps.judgement import Judgement
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import UndecidedTask

__all__ = ["Alike", "Likeness", "likeness"]

#: What tells the decisions on such tasks from each other.
Likeness = tuple[object, ...]


def likeness(task: UndecidedTask, replicas: Sequence[VotingReplica]) -> Likeness | None:
    """Return what a decision on a task depends on, beside its names; None unless all replicas reported the same."""
    if not replicas:
        return None
    answer, boot = replicas[0].vote, _boot(replicas[0])
    parts: list[object] = [task.state, task.extra, task.numeric_class, boot]
    for r in replicas:
        if r.execution != Execution.REPORTED or r.voided or r.vote != answer or _boot(r) != boot:
            return None
        parts += (r.number, r.node_id, r.isolation, r.numeric_class, r.reason, r.failure, r.host)
    return tuple(parts)


def _boot(replica: VotingReplica) -> str:
    """Return under which kernel a replica ran, as `quorum.machines.Boot` writes it first; "" where nobody signed it."""
    return replica.machine.partition(",")[0]


class Alike(NamedTuple):
    """What the decision on one of some tasks that are decided alike came to."""

    judgement: Judgement
    reached: Reached | None
    worth: Sequence[str | None]  # validation of each replica, in their order

    @classmethod
    def like(
        cls, judgement: Judgement, reached: Reached | None, replicas: Sequence[VotingReplica]
    ) -> Alike:
        """Keep what the decision on a task with these replicas came to."""
        worth = dict(judgement.judged)
        return cls(judgement, reached, [worth.get(replica.id) for replica in replicas])

    def of(
        self, task: UndecidedTask, replicas: Sequence[VotingReplica]
    ) -> tuple[Judgement, Reached | None]:
        """Return what it comes to for another one of them."""
        judged = [
            (replica.id, worth) for replica, worth in zip(replicas, self.worth, strict=True) if worth is not None
        ]
        judgement = replace(self.judgement, task=task.idx, judged=judged)
        if self.reached is None:
            return judgement, None
        answer = replicas[0].vote
        if answer is None or not self.reached.answer:
            return judgement, replace(self.reached, task=task.idx)
        return judgement, replace(self.reached, task=task.idx, answer=answer.hex())
