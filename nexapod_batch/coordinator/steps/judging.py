"""What the quorum checker says of tasks that have not ended, and what that comes to; nothing is written here.

Where much is to be decided, helpers do it side by side: they get what was read of the database, and have none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring
from nexapod_batch.coordinator.evidence.signed_verdicts import Reached
from nexapod_batch.coordinator.side_by_side import helpers_for, side_by_side
from nexapod_batch.coordinator.steps.alike import Alike, likeness
from nexapod_batch.coordinator.steps.dispatch import MAX_BACKOFF_S, set_aside
from nexapod_batch.coordinator.steps.judgement import Judgement
from nexapod_batch.coordinator.steps.possession import withdraw
from nexapod_batch.coordinator.steps.votes import Places, votes_of
from nexapod_batch.errors import ConfigError, SchedulerError, TryAgainError
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState
from nexapod_batch.quorum import decide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.signed_verdicts import Signing
    from nexapod_batch.coordinator.steps.alike import Likeness
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.errors import NexapodError
    from nexapod_batch.lifecycle import Validation
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import UndecidedTask

__all__ = ["PATIENT_LOSSES", "Judge", "Judgement", "decision_record", "worth"]

#: Losses after which placing again waits.
PATIENT_LOSSES = 2
#: Tasks that are worth another process, and how many it judges before it sends what it has.
_WORTH_ONE, _TOGETHER = 150, 50
_NOT_STARTED = frozenset({Execution.CREATED, Execution.SUBMITTED, Execution.QUEUED})


class _Asked(NamedTuple):
    """A task that is to be decided."""

    task: UndecidedTask
    replicas: Sequence[VotingReplica]
    votes: Sequence[Vote]


class Judge(Struct):
    """Decides on tasks of one job, by what was read of their replicas."""

    c: Coordinator
    places: Places
    replicas: Mapping[int, Sequence[VotingReplica]]  # by task
    known: Sequence[Stranger]
    signing: Signing
    placeable: bool
    tolerant: bool  # outputs are compared within tolerances
    by_rows: bool = False  # what was read of the replicas is all that these decisions depend on
    alike: dict[Likeness, Alike] = field(default_factory=dict)  # what was decided of tasks that reported the same

    def __post_init__(self) -> None:
        """Look whether a decision needs more than rows: files, or the hosts of clusters."""
        nodes = {replica.node_id for replicas in self.replicas.values() for replica in replicas}
        self.by_rows = not self.tolerant and not any(self.places[node].many_hosts for node in nodes)

    def all(
        self, tasks: Sequence[UndecidedTask], waits: dict[int, NexapodError]
    ) -> Iterator[Sequence[Judgement]]:
        """Yield what the decisions on tasks come to, some at a time; what cannot be decided now is put in `waits`."""
        helpers = helpers_for(len(tasks), _WORTH_ONE)
        if not helpers or not self.by_rows:
            yield self._each(tasks, waits)
            return
        left = tasks
        while left and not self.signing.prepare():  # the verdicts of a job are deflated with its first one
            yield self._each(left[:1], waits)
            left = left[1:]
        parts = [left[first : first + _TOGETHER] for first in range(0, len(left), _TOGETHER)]
        for judgements in side_by_side(self._some, parts, list[Judgement], helpers):
            if isinstance(judgements, OSError):
                raise judgements
            yield judgements

    def _some(self, tasks: Sequence[UndecidedTask]) -> list[Judgement]:
        waits: dict[int, NexapodError] = {}
        judgements = self._each(tasks, waits)
        for error in waits.values():
            raise error
        return judgements

    def _each(self, tasks: Sequence[UndecidedTask], waits: dict[int, NexapodError]) -> list[Judgement]:
        """Judge tasks step by step for all of them, so that each step finds its code in the nearest cache."""
        judged = []
        for task in tasks:
            try:
                judged.append(self._one(task))
            except (SchedulerError, ConfigError, TryAgainError) as error:
                waits[task.idx] = error
        made = iter(self.signing.make([reached for _, reached in judged if reached is not None]))
        return [
            judgement if reached is None else replace(judgement, verdict=next(made)) for judgement, reached in judged
        ]

    def _one(self, task: UndecidedTask) -> tuple[Judgement, Reached | None]:
        """Judge a task; one that is like another is judged as that was."""
        replicas = self.replicas.get(task.idx, ())
        like = likeness(task, replicas) if self.by_rows and not self.known else None
        if like is not None and like in self.alike:
            return self.alike[like].of(task, replicas)
        asked = _Asked(task, replicas, self._votes(task))
        judgement, reached = self._judgement(asked, *self._decision(asked))
        if like is not None:
            self.alike[like] = Alike.like(judgement, reached, replicas)
        return judgement, reached

    def _votes(self, task: UndecidedTask) -> list[Vote]:
        return votes_of(self.c, self.places, task.numeric_class, self.replicas.get(task.idx, ()), self.known)

    def _decision(self, asked: _Asked) -> tuple[Decision, Measuring | None]:
        """Return the decision, with outputs compared within tolerances where the job asks for it."""
        policy, votes, extra = self.places.job.quorum, asked.votes, asked.task.extra
        if not self.tolerant:
            return decide(policy, votes, placeable=self.placeable, extra=extra), None
        measuring = Measuring(self.c, self.places.job, asked.replicas, self.places.nodes)
        decision = measuring.decide(
            votes, lambda heard, close: decide(policy, heard, placeable=self.placeable, close=close, extra=extra)
        )
        for replica in asked.replicas:
            if replica.number in measuring.never_had:
                withdraw(self.c, replica)
        return decision, measuring

    def _judgement(
        self, asked: _Asked, decision: Decision, measuring: Measuring | None
    ) -> tuple[Judgement, Reached | None]:
        """Return what a decision comes to, and the verdict that is still to be signed."""
        task, replicas, votes = asked
        state = decision.state
        if state is None:
            state = TaskState.ACTIVE if replicas else TaskState(task.state)
        basis = measured = reached = None
        unneeded: list[int] = []
        if state in TASK_ENDED:
            basis = basis_of([replica.number for replica in replicas], votes)
            record = decision_record(votes, measuring, decision)
            measured = json.dumps(record) if record else None
            reached = Reached.of(task.idx, decision, votes, basis)
            # What runs already is let run: its report comes late, is compared and may name a liar.
            unneeded = [replica.id for replica in replicas if replica.execution in _NOT_STARTED]
        judgement = Judgement(
            task.idx, state.value, decision.want, decision.agree, decision.reason.stored(),
            _not_before(self.c, decision, replicas), basis, measured, None,
            worth(replicas, decision.validations), unneeded,
        )  # fmt: skip
        return judgement, reached


def decision_record(votes: Sequence[Vote], measuring: Measuring | None, decision: Decision) -> dict[str, object]:
    """Return what of a verdict cannot be worked out again from the statements, as JSON types."""
    record: dict[str, object] = {}
    if measuring is not None:
        record = measuring.record(decision.centre)
    intruded = [vote.number for vote in votes if vote.beside]
    if intruded:
        record["beside"] = intruded
    return record


def worth(
    replicas: Sequence[VotingReplica], validations: Mapping[int, Validation]
) -> list[tuple[int, str]]:
    """Return what each replica is worth, by row id, as far as that was decided."""
    judged = []
    for replica in replicas:
        validation = validations.get(replica.number)
        if validation is not None:
            judged.append((replica.id, validation.value))
    return judged


def _not_before(c: Coordinator, decision: Decision, replicas: Sequence[VotingReplica]) -> int:
    """Return when a task may be placed again, in ms: at once at first, then after waits that double with each loss."""
    if not decision.want:
        return 0
    losses = sum(replica.execution == Execution.LOST and not set_aside(replica) for replica in replicas)
    if losses <= PATIENT_LOSSES:
        return 0
    wait_s = min(MAX_BACKOFF_S, 1 << min(losses - PATIENT_LOSSES - 1, 30))
    return c.now() + wait_s * 1000
