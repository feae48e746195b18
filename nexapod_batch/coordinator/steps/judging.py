"""What the quorum checker says of tasks that have not ended, and what that comes to; nothing is written here.

Where much is to be decided, helpers do it side by side: they get what was read of the database, and have none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring, tolerant
from nexapod_batch.coordinator.evidence.signed_verdicts import MadeVerdict  # noqa: TC001 - helpers' answers are decoded by it
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
    from nexapod_batch.model.job import Job
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


class Judge(Struct, frozen=True):
    """Decides on tasks of one job, by what was read of their replicas."""

    c: Coordinator
    places: Places
    replicas: Mapping[int, Sequence[VotingReplica]]  # by task
    known: Sequence[Stranger]
    signing: Signing
    placeable: bool

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
        if tolerant(self.places.job):
            return False
        nodes = {replica.node_id for replicas in self.replicas.values() for replica in replicas}
        return not any(self.places[node].many_hosts for node in nodes)

    def _each(self, tasks: Sequence[UndecidedTask], waits: dict[int, NexapodError]) -> list[Judgement]:
        judgements = []
        for task in tasks:
            try:
                judgements.append(self.judge(task))
            except (SchedulerError, ConfigError, TryAgainError) as error:
                waits[task.idx] = error
        return judgements

    def _some(self, tasks: Sequence[UndecidedTask]) -> list[Judgement]:
        return [self.judge(task) for task in tasks]

    def judge(self, task: UndecidedTask) -> Judgement:
        """Return what the decision on a task comes to.

        Raises:
            SchedulerError, ConfigError, TryAgainError: It cannot be decided now.

        """
        job, replicas = self.places.job, self.replicas.get(task.idx, ())
        votes = votes_of(self.c, self.places, task.numeric_class, replicas, self.known)
        measuring = None
        if tolerant(job):
            measuring = Measuring(self.c, job, replicas, self.places.nodes)
        decision = _ask(job, votes, measuring, extra=task.extra, placeable=self.placeable)
        state = decision.state
        if state is None:
            state = TaskState.ACTIVE if replicas else TaskState(task.state)
        basis = measured = verdict = None
        unneeded: list[int] = []
        if state in TASK_ENDED:
            basis = basis_of([replica.number for replica in replicas], votes)
            measured = _record(votes, measuring, decision)
            verdict = self.signing.make(task.idx, decision, votes, basis)
            # What runs already is let run: its report comes late, is compared and may name a liar.
            unneeded = [replica.id for replica in replicas if replica.execution in _NOT_STARTED]
        return Judgement(
            task.idx, state.value, decision.want, decision.agree, decision.reason.stored(),
            _not_before(self.c, decision, replicas), basis, measured, verdict,
            worth(replicas, decision.validations), unneeded,
        )  # fmt: skip


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


def _ask(job: Job, votes: Sequence[Vote], measuring: Measuring | None, *, extra: int, placeable: bool) -> Decision:
    """Return the decision, with outputs compared within tolerances where the job asks for it."""
    if measuring is None:
        return decide(job.quorum, votes, placeable=placeable, extra=extra)
    return measuring.decide(
        votes, lambda heard, close: decide(job.quorum, heard, placeable=placeable, close=close, extra=extra)
    )


def _not_before(c: Coordinator, decision: Decision, replicas: Sequence[VotingReplica]) -> int:
    """Return when a task may be placed again, in ms: at once at first, then after waits that double with each loss."""
    losses = sum(replica.execution == Execution.LOST and not set_aside(replica) for replica in replicas)
    if not decision.want or losses <= PATIENT_LOSSES:
        return 0
    wait_s = min(MAX_BACKOFF_S, 1 << min(losses - PATIENT_LOSSES - 1, 30))
    return c.now() + wait_s * 1000
