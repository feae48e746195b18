"""What the quorum checker says of tasks that have not ended, and what that comes to; nothing is written here.

Where much is to be decided, helpers do it side by side: they get what was read of the database, and have none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring
from nexapod_batch.coordinator.evidence.signed_verdicts import MadeVerdict, Reached
from nexapod_batch.coordinator.side_by_side import helpers_for, side_by_side
from nexapod_batch.coordinator.steps.dispatch import MAX_BACKOFF_S, set_aside
from nexapod_batch.coordinator.steps.votes import Places, votes_of
from nexapod_batch.errors import ConfigError, SchedulerError, TryAgainError
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState
from nexapod_batch.quorum import decide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.signed_verdicts import Signing
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.errors import NexapodError
    from nexapod_batch.lifecycle import Validation
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import UndecidedTask

__all__ = ["PATIENT_LOSSES", "Judge", "Judgement", "worth"]

#: Losses after which placing again waits.
PATIENT_LOSSES = 2
#: Tasks that are worth another process, and how many it judges before it sends what it has.
_WORTH_ONE, _TOGETHER = 150, 50
_NOT_STARTED = frozenset({Execution.CREATED, Execution.SUBMITTED, Execution.QUEUED})


class Judgement(NamedTuple):
    """What a decision on a task that had not ended comes to."""

    task: int
    state: str
    want: int  # replicas to place now
    agree: int  # size of the leading group, in distinct domains
    reason: str  # as it is stored
    not_before: int  # when it may be placed again, in ms
    basis: str | None  # how its replicas stood when it ended; None: it has not
    measured: str | None  # what cannot be worked out again from the statements, as JSON
    verdict: MadeVerdict | None  # None: it has not ended
    judged: list[tuple[int, str]]  # by row id of the replica
    unneeded: list[int]  # row ids of replicas


class _Asked(NamedTuple):
    """A task that is to be decided."""

    task: UndecidedTask
    replicas: Sequence[VotingReplica]
    votes: Sequence[Vote]


class Judge(Struct, frozen=True):
    """Decides on tasks of one job, by what was read of their replicas."""

    c: Coordinator
    places: Places
    replicas: Mapping[int, Sequence[VotingReplica]]  # by task
    known: Sequence[Stranger]
    signing: Signing
    placeable: bool
    tolerant: bool  # outputs are compared within tolerances

    def all(
        self, tasks: Sequence[UndecidedTask], waits: dict[int, NexapodError]
    ) -> Iterator[Sequence[Judgement]]:
        """Yield what the decisions on tasks come to, some at a time; what cannot be decided now is put in `waits`."""
        helpers = helpers_for(len(tasks), _WORTH_ONE)
        if not helpers or not self._without_database():
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

    def _without_database(self) -> bool:
        """Say whether these tasks can be judged by what was read already."""
        if self.tolerant:
            return False
        nodes = {replica.node_id for replicas in self.replicas.values() for replica in replicas}
        return not any(self.places[node].many_hosts for node in nodes)

    def _some(self, tasks: Sequence[UndecidedTask]) -> list[Judgement]:
        waits: dict[int, NexapodError] = {}
        judgements = self._each(tasks, waits)
        for error in waits.values():
            raise error
        return judgements

    def _each(self, tasks: Sequence[UndecidedTask], waits: dict[int, NexapodError]) -> list[Judgement]:
        """Judge tasks step by step for all of them, so that each step finds its code in the nearest cache."""
        asked = [_Asked(task, self.replicas.get(task.idx, ()), self._votes(task)) for task in tasks]
        decided = []
        for one in asked:
            try:
                decided.append((one, *self._decision(one)))
            except (SchedulerError, ConfigError, TryAgainError) as error:
                waits[one.task.idx] = error
        judged = [self._judgement(*each) for each in decided]
        made = iter(self.signing.make([reached for _, reached in judged if reached is not None]))
        return [
            judgement if reached is None else judgement._replace(verdict=next(made)) for judgement, reached in judged
        ]

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
            measured = _record(votes, measuring, decision)
            reached = Reached(task.idx, decision, votes, basis)
            # What runs already is let run: its report comes late, is compared and may name a liar.
            unneeded = [replica.id for replica in replicas if replica.execution in _NOT_STARTED]
        judgement = Judgement(
            task.idx, state.value, decision.want, decision.agree, decision.reason.stored(),
            _not_before(self.c, decision, replicas), basis, measured, None,
            worth(replicas, decision.validations), unneeded,
        )  # fmt: skip
        return judgement, reached


def _record(votes: Sequence[Vote], measuring: Measuring | None, decision: Decision) -> str | None:
    """Return what of a verdict cannot be worked out again from the statements, as JSON; None where nothing."""
    record: dict[str, object] = {}
    if measuring is not None:
        record = measuring.record(decision.centre)
    intruded = [vote.number for vote in votes if vote.beside]
    if intruded:
        record["beside"] = intruded
    if record:
        return json.dumps(record)
    return None


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
