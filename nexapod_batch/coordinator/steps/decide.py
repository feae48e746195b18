"""Asking the quorum checker about every task with news, and writing down what it says.

Decisions are functions of the replicas alone, so a pass may be repeated or interrupted anywhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch import log
from nexapod_batch.coordinator.evidence.closeness import tolerant
from nexapod_batch.coordinator.evidence.recompute import decision_then, late_validations
from nexapod_batch.coordinator.evidence.signed_verdicts import Signing
from nexapod_batch.coordinator.garbage import no_collection
from nexapod_batch.coordinator.steps.judging import Judge, worth
from nexapod_batch.coordinator.steps.shared_accounts import strangers
from nexapod_batch.coordinator.steps.votes import Places, counted, every_vote
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.lifecycle import TASK_ENDED, TaskState, Validation
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Decision, doubt
from nexapod_batch.store.repositories.tasks import TaskDecision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.coordinator.steps.judging import Judgement
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.errors import NexapodError
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import UndecidedTask

__all__ = ["decide_news", "decide_task"]

#: Tasks decided in one transaction, at most; where outputs are compared as many as take about so many seconds.
BATCH, _BRIEF_S = 2_000, 0.5


@no_collection()
def decide_news(c: Coordinator, faults: Faults, end: float | None = None) -> int:
    """Decide every task with news; return how many. Replicas that are no longer needed are owed a stop afterwards.

    A task whose outputs must be compared and cannot be read now keeps its news for a later pass. Jobs whose outputs are
    compared come last, another one first each time: it may take long. Behind `end`, by the monotonic clock, what is
    left waits for the next pass, but for some tasks of each other job, and one of theirs.
    """
    nodes = c.nodes_by_id()
    plain: list[int] = []
    compared: list[int] = []
    for job_id in c.store.jobs.with_news():
        (compared if tolerant(c.job(job_id)) else plain).append(job_id)
    decided = sum([_decide_job(c, job_id, nodes, faults, end) for job_id in plain])
    first = c.random(1)[0] % len(compared) if compared else 0
    for count, job_id in enumerate(compared[first:] + compared[:first]):
        if count and _is_over(end):
            break
        decided += _decide_job(c, job_id, nodes, faults, end)
    return decided


def _decide_job(c: Coordinator, job_id: int, nodes: dict[int, Node], faults: Faults, end: float | None) -> int:
    """Decide the tasks of one job that have news; return how many. None of its transactions takes long."""
    decided = 0
    waits: dict[int, NexapodError] = {}
    compares = tolerant(c.job(job_id))
    most = 1 if compares else BATCH
    while tasks := [one for one in c.store.tasks.with_news(job_id, most + len(waits)) if one.idx not in waits]:
        begun = time.monotonic()
        with c.store.atomic(), c.store.ledger.appending():
            _decide(c, job_id, tasks, nodes, waits, placeable=True)
            c.store.jobs.finish(job_id, c.now())
        decided += len(tasks)
        if _is_over(end):
            break
        if compares:
            most = min(BATCH, 4 * most) if time.monotonic() - begun < _BRIEF_S else max(1, most // 4)
    for task, error in waits.items():
        if not faults.knows(error):
            faults.add(Code.DECIDE_FAULT, str(job_id), task=f"{job_id}_{task}", error=Reason.of_error(error))
            break
    return decided - len(waits)


def _is_over(end: float | None) -> bool:
    return end is not None and time.monotonic() >= end


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

    def add(self, judgement: Judgement) -> None:
        """Add what a decision comes to; a verdict gets its place in the ledger here."""
        task, state, made = judgement.task, judgement.state, judgement.verdict
        decided = None
        if made is not None:
            decided = self.signing.append(task, made)
        self.decisions.append(
            TaskDecision(
                state, judgement.want, judgement.agree, judgement.reason, judgement.not_before, judgement.basis,
                judgement.measured, decided, self.job_id, task,
            )
        )  # fmt: skip
        self.judged += judgement.judged
        self.unneeded += judgement.unneeded
        name = f"{self.job_id}_{task}"
        log.debug(__name__, "decided", task=name, state=state, agree=judgement.agree, want=judgement.want)

    def write(self, c: Coordinator) -> None:
        """Write everything, inside the caller's transaction; it is gone from here then."""
        tasks, replicas = c.store.tasks, c.store.replicas
        self.signing.write()
        tasks.decide(self.decisions)
        tasks.quiet(self.job_id, self.quiet)
        tasks.doubt(self.job_id, self.doubts)
        replicas.judge(self.judged)
        replicas.drop_unneeded(self.unneeded, c.now())
        replicas.owe_stops(self.unneeded)
        c.store.ledger.write()  # now, while helpers still judge, and not at the end, when all would wait for it
        for rows in (self.decisions, self.quiet, self.doubts, self.judged, self.unneeded):
            rows.clear()


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
    signing = Signing(c, job_id, [task.idx for task in tasks])
    batch = _Batch(job_id, signing)
    undecided = []
    for task in tasks:
        if TaskState(task.state) not in TASK_ENDED:
            undecided.append(task)
            continue
        batch.quiet.append(task.idx)
        if task.state == TaskState.ACCEPTED:
            _decide_late(c, places, task, of_task[task.idx], known, batch)
    judge = Judge(c, places, of_task, known, signing, placeable, tolerant(places.job))
    with _readers_kept() if judge.tolerant else nullcontext():
        for judgements in judge.all(undecided, waits):
            for judgement in judgements:
                batch.add(judgement)
            batch.write(c)
    batch.write(c)


def _readers_kept() -> AbstractContextManager[None]:
    """Keep what reads files of certain formats from one task to the next."""
    from nexapod_batch.compare.formats.foreign.programs import kept  # noqa: PLC0415 - knows libraries

    return kept()


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
    batch.judged += worth(replicas, late)
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
