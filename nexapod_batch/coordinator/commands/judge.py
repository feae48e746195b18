"""`judge`: kept outputs of a task decided on again, by other rules than its job's.

The job stays as it was pinned and the task as its own verdict left it. Beside that stands another signed verdict, which
names both policies and what every replica comes to under the other one. What it accepts is kept with the results.
"""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring, tolerant
from nexapod_batch.coordinator.evidence.judged_again import (
    folder_of,
    output_documents,
    unread_alone,
    votes_again,
    with_outputs,
    with_unread,
    written_again,
)
from nexapod_batch.coordinator.evidence.kept_outputs import Answer, KeptOutputs, kept_outputs
from nexapod_batch.coordinator.evidence.signed_verdicts import Reached, Signing, other_policy_sha256, policy_sha256
from nexapod_batch.coordinator.steps.judging import decision_record
from nexapod_batch.coordinator.steps.votes import Places, counted, every_vote
from nexapod_batch.errors import NotFoundError, TryAgainError, UnsafeOutputError
from nexapod_batch.files import umask
from nexapod_batch.files.atomic import sync_files
from nexapod_batch.files.own import own_folder
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState
from nexapod_batch.quorum import decide
from nexapod_batch.store import writer
from nexapod_batch.trust.verdict import JudgedAgain
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job, Output
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["judge", "judgeable"]


class _Case(NamedTuple):
    """A task that is judged again, and what there is to judge it by."""

    task: TaskRow
    job: Job  # with the other rules
    rows: Sequence[ReplicaRow]
    every: Sequence[Vote]  # one for each row, with what they come to under the other rules
    kept: KeptOutputs
    gone: Mapping[int, str]  # why the outputs of a replica cannot be judged, by its number
    answers: Mapping[int, bytes]
    unread: Mapping[int, str]  # why outputs of those that have failed by them cannot be compared

    @property
    def name(self) -> str:
        """Return the name of the task."""
        return f"{self.task.job_id}_{self.task.idx}"


class _Decided(NamedTuple):
    """What a case comes to."""

    decision: Decision
    votes: Sequence[Vote]
    basis: str
    measured: Mapping[str, Any]


def judge(c: Coordinator, job_id: int, task: int, outputs: Sequence[Output], *, dry_run: bool) -> dict[str, Any]:
    """Decide on a task once more with other rules for its outputs; return what it comes to, as JSON types.

    With `dry_run` nothing is written.

    Raises:
        TryAgainError: The task has not ended, or a machine that has outputs is away.
        NotFoundError: Nothing of it was reported, or too little is kept to decide by.

    """
    with nullcontext() if dry_run else writer(c.store, wait_s=PATIENCE_S):
        case = _case(c, job_id, c.store.tasks.get(job_id, task), outputs)
        found = _decided(c, case)
        again = _again(c, case, found)
        document = _document(c, case, found, again)
        if dry_run:
            return document | {"entry": None, "folder": None}
        folder = _keep(c, case, again)
        with c.store.atomic(), c.store.ledger.appending():
            signing = Signing(c, job_id, [task])
            reached = replace(Reached.of(task, found.decision, found.votes, found.basis), again=again)
            entry = signing.append(task, signing.make([reached])[0], again=True)
            signing.write()
    log.info(__name__, "judged again", task=case.name, state=document["state"], entry=entry)
    return document | {"entry": entry, "folder": None if folder is None else str(folder)}


def judgeable(c: Coordinator, job_id: int) -> list[int]:
    """Return the tasks of a job that have ended and of which a replica reported."""
    answered = {row.task for row in c.store.replicas.of_job(job_id) if row.execution == Execution.REPORTED}
    return [task.idx for task in c.store.tasks.states(job_id) if task.idx in answered and task.state in TASK_ENDED]


def _case(c: Coordinator, job_id: int, task: TaskRow, outputs: Sequence[Output]) -> _Case:
    name = f"{job_id}_{task.idx}"
    state = TaskState(task.state)
    if state not in TASK_ENDED:
        hint = f"nexapod-batch wait {name}, or nexapod-batch cancel {name}"
        raise TryAgainError(f"task {name} has not ended", got=f"it is {state.value}", hint=hint)
    job, nodes = c.job(job_id), c.nodes_by_id()
    rows = c.store.replicas.of_task(job_id, task.idx)
    reported = [row for row in rows if row.execution == Execution.REPORTED and not row.voided]
    if not reported:
        hint = f"nexapod-batch explain {name}"
        raise NotFoundError(f"no replica of task {name} has an answer that could be judged", hint=hint)
    other = with_outputs(job, outputs)
    kept = kept_outputs(c, task, reported, nodes)
    found: dict[int, Answer] = {}
    gone: dict[int, str] = {}
    for row in reported:
        try:
            found[row.number] = kept.answer(row.number, other)
        except UnsafeOutputError as error:
            gone[row.number] = error.what
    answers, unread = {number: answer.vote for number, answer in found.items()}, unread_alone(found)
    votes = votes_again(every_vote(c, Places(job, nodes), task.numeric_class, rows), answers, unread)
    # What is gone could have been any answer: it counts as one that is still out.
    every = [replace(vote, execution=Execution.RUNNING) if vote.number in gone else vote for vote in votes]
    return _Case(task, other, rows, every, kept, gone, answers, unread)


def _decided(c: Coordinator, case: _Case) -> _Decided:
    """Ask the quorum checker; NotFoundError where what is gone could change the verdict."""
    votes = counted(case.every, case.rows)
    measuring = None
    if tolerant(case.job):
        measuring = _measuring(c, case)
        decision = measuring.decide(votes, lambda heard, close: _ask(case, heard, close=close))
    else:
        decision = _ask(case, votes)
    if decision.state is None:
        raise _too_little(case, decision)
    basis = basis_of([row.number for row in case.rows], votes)
    return _Decided(decision, votes, basis, with_unread(decision_record(votes, measuring, decision), case.unread))


def _ask(case: _Case, votes: Sequence[Vote], **how: Any) -> Decision:  # noqa: ANN401 - how outputs are compared
    policy, extra = case.job.quorum, case.task.extra
    decision = decide(policy, votes, extra=extra, **how)
    if decision.state is None:  # no more replicas are placed for a judgement
        decision = decide(policy, votes, extra=extra, placeable=False, **how)
    return decision


def _measuring(c: Coordinator, case: _Case) -> Measuring:
    """Return what compares outputs within tolerances: wherever they are kept, by the other rules."""
    rows = [replace(row, vote=case.answers.get(row.number, row.vote)) for row in case.rows]
    kept = {number: case.kept.files_of(number) for number in case.answers}
    return Measuring(c, case.job, rows, c.nodes_by_id(), kept)


def _too_little(case: _Case, decision: Decision) -> NotFoundError:
    """Return that a verdict needs outputs that are not there: of which replicas, and what would have kept them."""
    if not case.gone:
        text = f"{sentence(decision.reason)}; some replicas may still report"
        return NotFoundError(f"task {case.name} cannot be judged now", got=text, hint=f"nexapod-batch show {case.name}")
    missing = "; ".join(f"replica {number}: {why}" for number, why in sorted(case.gone.items()))
    key = "work" if case.task.state == TaskState.ACCEPTED else "failed"
    return NotFoundError(
        f"too little is kept of task {case.name} to judge it by",
        got=missing,
        wanted="outputs whose answers decide",
        hint=f"{key} in [retention] of the settings says how long work folders stay; docs/how-to/judge.md",
    )


def _again(c: Coordinator, case: _Case, found: _Decided) -> JudgedAgain:
    number = len(written_again(c, case.task.job_id, case.task.idx)) + 1
    return JudgedAgain(
        number=number,
        descriptor_sha256=policy_sha256(c.job(case.task.job_id)),
        outputs=output_documents(case.job),
        answers=tuple(sorted((replica, answer.hex()) for replica, answer in case.answers.items())),
        measured=found.measured,
        replica=_result_of(case, found.decision),
    )


def _result_of(case: _Case, decision: Decision) -> int | None:
    """Return whose files are the result: what is published, if that won as well, else the lowest number."""
    if decision.state is not TaskState.ACCEPTED:
        return None
    winners = decision.winners
    if decision.centre is not None:
        files = case.kept.files_of(decision.centre).files
        same = {number for number in winners if case.kept.files_of(number).files == files}
        winners = frozenset(same | {decision.centre})
    if case.task.published and case.task.published_from in winners:
        return case.task.published_from
    if decision.centre is not None:
        return decision.centre
    return min(winners & case.answers.keys())


def _keep(c: Coordinator, case: _Case, again: JudgedAgain) -> Path | None:
    """Copy the files of the result to the results of the job; return their folder, the published one if it is that.

    UnsafeOutputError where a file of it is kept nowhere any more.
    """
    job_id, task = case.task.job_id, case.task.idx
    if again.replica is None:
        return None
    if case.task.published and again.replica == case.task.published_from:
        return c.paths.results / str(job_id) / str(task)
    final = folder_of(c.paths.results, job_id, task, again.number)
    own_folder(final.parent, below=c.paths.results.parent, mode=umask.folder_mode())
    partial = final.with_name(f".{final.name}.partial")
    for left in (partial, final):  # of a judgement that a crash ended before it was written down
        shutil.rmtree(left, ignore_errors=True)
    with umask.as_given():
        partial.mkdir()
        files = case.kept.copy(again.replica, partial)
    sync_files(files)
    os.rename(partial, final)
    return final


def _document(c: Coordinator, case: _Case, found: _Decided, again: JudgedAgain) -> dict[str, Any]:
    """Return what a judgement comes to, as JSON types."""
    job = c.job(case.task.job_id)
    state = found.decision.state
    return {
        "task": case.name,
        "number": again.number,
        "before": {"state": case.task.state, "policy": again.descriptor_sha256, "outputs": output_documents(job)},
        "state": "" if state is None else state.value,
        "agree": found.decision.agree,
        "reason": sentence(found.decision.reason),
        "why": found.decision.reason.document(),
        "policy": other_policy_sha256(job, again.outputs),
        "outputs": again.outputs,
        "replica": again.replica,
        "agreeing": sorted(found.decision.winners),
        "gone": {str(number): why for number, why in sorted(case.gone.items())},
    }
