"""Asking the quorum checker about every task with news, and writing down what it says.

Decisions are functions of the replicas alone, so a pass may be repeated or interrupted anywhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch import log
from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring, tolerant
from nexapod_batch.coordinator.evidence.recompute import decision_then, late_validations
from nexapod_batch.coordinator.evidence.signed_verdicts import Signing
from nexapod_batch.coordinator.steps.dispatch import MAX_BACKOFF_S, set_aside
from nexapod_batch.coordinator.steps.shared_accounts import strangers
from nexapod_batch.coordinator.steps.votes import Places, counted, every_vote, votes_of
from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError, TryAgainError
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState, Validation
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Decision, decide, doubt
from nexapod_batch.store.repositories.tasks import TaskDecision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Vote
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import UndecidedTask

__all__ = ["decide_news", "decide_task"]

#: Tasks decided in one transaction.
BATCH = 500
_NOT_STARTED = frozenset({Execution.CREATED, Execution.SUBMITTED, Execution.QUEUED})
#: Losses after which placing again waits.
PATIENT_LOSSES = 2


def decide_news(c: Coordinator, faults: Faults) -> int:
    """Decide every task with news; return how many. Replicas that are no longer needed are owed a stop afterwards.

    A task whose outputs must be compared and cannot be read now keeps its news for a later pass.
    """
    decided = 0
    nodes = c.nodes_by_id()
    for job_id in c.store.jobs.with_news():
        waits: dict[int, NexapodError] = {}
        while True:
            found = c.store.tasks.with_news(job_id, BATCH + len(waits))
            tasks = [task for task in found if task.idx not in waits]
            if not tasks:
                break
            with c.store.atomic(), c.store.ledger.appending():
                _decide(c, job_id, tasks, nodes, waits, placeable=True)
                c.store.jobs.finish(job_id, c.now())
            decided += len(tasks)
        decided -= len(waits)
        for task, error in waits.items():
            if not faults.knows(error):
                name = f"{job_id}_{task}"
                faults.add(Code.DECIDE_FAULT, str(job_id), task=name, error=Reason.of_error(error))
                break
    return decided


def decide_task(c: Coordinator, job_id: int, task: int, *, placeable: bool) -> None:
    """Decide one task, with the planner's word on whether another replica could be placed at all."""
    row = c.store.tasks.get(job_id, task)
    with c.store.atomic(), c.store.ledger.appending():
        _decide(c, job_id, [row], c.nodes_by_id(), {}, placeable=placeable)
        c.store.jobs.finish(job_id, c.now())


class _Batch(Struct):
    """What the decisions on some tasks of one job write."""

    job_id: int
    signing: Signing
    decisions: list[TaskDecision] = field(default_factory=list)
    quiet: list[int] = field(default_factory=list)  # tasks that are as they were
    doubts: list[tuple[int, str]] = field(default_factory=list)  # by task
    judged: list[tuple[int, str]] = field(default_factory=list)  # by row id of the replica
    unneeded: list[int] = field(default_factory=list)  # row ids of replicas

    def write(self, c: Coordinator) -> None:
        """Write everything, inside the caller's transaction."""
        tasks, replicas = c.store.tasks, c.store.replicas
        self.signing.write()
        tasks.decide(self.decisions)
        tasks.quiet(self.job_id, self.quiet)
        tasks.doubt(self.job_id, self.doubts)
        replicas.judge(self.judged)
        replicas.drop_unneeded(self.unneeded, c.now())
        replicas.owe_stops(self.unneeded)


def _decide(
    c: Coordinator,
    job_id: int,
    tasks: Sequence[UndecidedTask],
    nodes: dict[int, Node],
    waits: dict[int, NexapodError],
    *,
    placeable: bool,
) -> None:
    """Decide some tasks of one job inside the caller's transaction; what cannot be decided now is put in `waits`."""
    every = c.store.replicas.of_tasks(job_id, [task.idx for task in tasks])
    of_task: dict[int, list[VotingReplica]] = defaultdict(list)
    for replica in every:
        of_task[replica.task].append(replica)
    known = strangers(c, every, nodes)
    places = Places(c.job(job_id), nodes)
    batch = _Batch(job_id, Signing(c, job_id, [task.idx for task in tasks]))
    for task in tasks:
        replicas = of_task[task.idx]
        if TaskState(task.state) in TASK_ENDED:
            batch.quiet.append(task.idx)
            if task.state == TaskState.ACCEPTED:
                _decide_late(c, places, task, replicas, known, batch)
            continue
        votes = votes_of(c, places, task.numeric_class, replicas, known)
        try:
            _decide_open(c, places, task, replicas, votes, batch, placeable=placeable)
        except (SchedulerError, ConfigError, TryAgainError) as error:
            waits[task.idx] = error
    batch.write(c)


def _decide_open(
    c: Coordinator, places: Places, task: UndecidedTask, replicas: Sequence[VotingReplica], votes: Sequence[Vote],
    batch: _Batch, *, placeable: bool,
) -> None:  # fmt: skip
    """Decide a task that has not ended."""
    measuring = None
    if tolerant(places.job):
        measuring = Measuring(c, places.job, replicas, places.nodes)
    decision = _ask(places.job, votes, measuring, extra=task.extra, placeable=placeable)
    state = decision.state
    if state is None:
        state = TaskState.ACTIVE if replicas else TaskState(task.state)
    basis = measured = decided = None
    name = f"{batch.job_id}_{task.idx}"
    if state in TASK_ENDED:
        basis = basis_of([replica.number for replica in replicas], votes)
        measured = _record(votes, measuring, decision)
        decided = batch.signing.sign(task.idx, decision, votes, basis)
    batch.decisions.append(
        TaskDecision(
            state=state.value,
            want=decision.want,
            agree=decision.agree,
            reason=decision.reason.stored(),
            not_before=_not_before(c, decision, replicas),
            basis=basis,
            measured=measured,
            decided=decided,
            job_id=batch.job_id,
            idx=task.idx,
        )
    )
    log.debug(__name__, "decided", task=name, state=state.value, agree=decision.agree, want=decision.want)
    batch.judged += _judged(replicas, decision.validations)
    if state in TASK_ENDED:
        # What runs already is let run: its report comes late, is compared and may name a liar.
        batch.unneeded += [replica.id for replica in replicas if replica.execution in _NOT_STARTED]


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


def _judged(
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


def _decide_late(
    c: Coordinator,
    places: Places,
    task: UndecidedTask,
    replicas: Sequence[VotingReplica],
    known: Sequence[Stranger],
    batch: _Batch,
) -> None:
    """Judge replicas that came after the verdict, and winners that were voided; note whether the quorum still holds."""
    every = every_vote(c, places, task.numeric_class, replicas, known)
    if task.basis is not None and len(task.basis) == len(replicas):
        decision = decision_then(places.job, every, task)
    else:  # of a verdict from before its basis was kept
        winners = frozenset(replica.number for replica in replicas if replica.validation == Validation.VALID)
        decision = Decision(state=TaskState.ACCEPTED, reason=Reason(code=Code.ACCEPTED), winners=winners)
    votes = counted(every, replicas)
    late = late_validations(places.job, votes, decision)
    batch.judged += _judged(replicas, late)
    why = doubt(places.job.quorum, votes, late)
    doubted = why.stored() if why else ""
    batch.doubts.append((task.idx, doubted))
    c.store.ledger.append(_late_events(c, batch.job_id, task, replicas, late, doubted))


def _late_events(
    c: Coordinator,
    job_id: int,
    task: UndecidedTask,
    replicas: Sequence[VotingReplica],
    late: Mapping[int, Validation],
    doubted: str,
) -> list[bytes]:
    """Return what is new after a verdict: replicas that are judged otherwise, and whether the quorum is in doubt."""
    events = []
    for replica in replicas:
        validation = late.get(replica.number)
        if validation is not None and validation.value != replica.validation:
            name = f"{job_id}_{task.idx}.{replica.number}"
            events.append(event(Kind.LATE, c.now(), id=name, validation=validation.value))
    if bool(doubted) != bool(task.doubt):
        events.append(event(Kind.DOUBT, c.now(), id=f"{job_id}_{task.idx}", raised=int(bool(doubted))))
    return events


def _not_before(c: Coordinator, decision: Decision, replicas: Sequence[VotingReplica]) -> int:
    """Return when a task may be placed again, in ms: at once at first, then after waits that double with each loss."""
    losses = sum(replica.execution == Execution.LOST and not set_aside(replica) for replica in replicas)
    if not decision.want or losses <= PATIENT_LOSSES:
        return 0
    wait_s = min(MAX_BACKOFF_S, 1 << min(losses - PATIENT_LOSSES - 1, 30))
    return c.now() + wait_s * 1000
