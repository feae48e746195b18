"""Verdicts under other rules than the job's own, checked: as signed, as the ledger has them, decided as they say.

What each replica comes to under the other rules is the coordinator's word, for the files may be gone: of the result,
whose files are kept, it is worked out again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.judged_again import decided, folder_of, with_documents
from nexapod_batch.coordinator.evidence.kept_outputs import answer_of_folder
from nexapod_batch.coordinator.evidence.published_results import faults_of, listed
from nexapod_batch.coordinator.evidence.signed_verdicts import other_policy_sha256, policy_sha256, stored_again
from nexapod_batch.coordinator.steps.votes import Places, every_vote
from nexapod_batch.coordinator.verification.signed_verdict import event_at, opened
from nexapod_batch.errors import CorruptStoreError, NexapodError, UnsafeOutputError, VerificationError
from nexapod_batch.ledger.events import Kind
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.signed_verdicts import StoredVerdict
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Vote
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement
    from nexapod_batch.trust.verdict import JudgedAgain, SignedVerdict

_EMPTY = hashlib.sha256(b"").hexdigest()

__all__ = ["again_faults", "decision_faults", "terms_faults"]


def again_faults(
    c: Coordinator, job_row: JobRow, job: Job, task: TaskRow, rows: Sequence[ReplicaRow], nodes: Mapping[int, Node],
    statements: Mapping[int, Sequence[Statement]],
) -> Iterator[tuple[int, str, list[str]]]:  # fmt: skip
    """Yield (number, text, what is wrong) of each verdict on a task under other rules; `statements` by replica."""
    try:
        verdicts = stored_again(c, task.job_id, task.idx)
    except CorruptStoreError as error:
        yield 0, "", [error.what]
        return
    for number, stored in enumerate(verdicts, 1):
        try:
            verdict = _signed(c, stored)
            again = verdict.again
            if again is None or again.number != number:
                yield number, "", ["it is not the verdict of this number"]
                continue
            every = every_vote(c, Places(job, nodes), task.numeric_class, rows)
            faults = terms_faults(job_row.uuid, job_row.digest, job, task.idx, verdict, again)
            faults += decision_faults(job, every, verdict, again, task.extra)
            faults += _statement_faults(c, task, verdict) + _file_faults(c, job, task, again, statements)
            yield number, f"{verdict.state} under other rules", faults
        except (CorruptStoreError, VerificationError) as error:
            yield number, "", [" ".join(str(error).split())]


def _signed(c: Coordinator, stored: StoredVerdict) -> SignedVerdict:
    event = event_at(c, stored.entry)
    if event.get("kind") != Kind.JUDGED_AGAIN.value:
        raise VerificationError(f"entry {stored.entry} of the ledger is no judgement")
    return opened(c, stored, str(event.get("sha256")))


def terms_faults(
    uuid: str, document_sha256: str, job: Job, task: int, verdict: SignedVerdict, again: JudgedAgain
) -> list[str]:
    """Return where a verdict is about another job, task or policy than it says."""
    wanted = {
        "its job": (verdict.job_uuid, uuid),
        "its job's document": (verdict.job_sha256, document_sha256),
        "its task": (verdict.task, task),
        "its policy": (verdict.policy_sha256, other_policy_sha256(job, again.outputs)),
        "the policy of the job": (again.descriptor_sha256, policy_sha256(job)),
    }
    return [f"{what} is signed as {got!r}, wanted {right!r}" for what, (got, right) in wanted.items() if got != right]


def decision_faults(
    job: Job, every: Sequence[Vote], verdict: SignedVerdict, again: JudgedAgain, extra: int
) -> list[str]:
    """Return where what a verdict says of the replicas makes another decision than it says.

    Replicas that were added since, by a retry, are not looked at.
    """
    then = every[: len(verdict.basis)]
    try:
        decision = decided(job, then, verdict, again, extra)
    except (ValueError, KeyError, TypeError, AttributeError, NexapodError) as error:
        return [f"the record of the verdict is damaged: {error}"]
    faults = []
    for what, signed, found in (("state", verdict.state, decision.state), ("agree", verdict.agree, decision.agree)):
        if signed != found:
            faults.append(f"{what} is {signed!r}, and its replicas make it {str(found)!r}: {sentence(decision.reason)}")
    answers = dict(again.answers)
    accepted = {answers.get(number, "") for number in decision.winners}
    if verdict.state == "accepted" and (verdict.answer not in accepted or again.replica not in decision.winners):
        faults.append("what was accepted is the answer of none of those who agree")
    return faults


def _statement_faults(c: Coordinator, task: TaskRow, verdict: SignedVerdict) -> list[str]:
    name = f"{task.job_id}_{task.idx}"
    stored = {
        (f"{name}.{number}", digest.hex())
        for _, number, digest in c.store.verdicts.statements(task.job_id, [task.idx])
    }
    gone = sorted(set(verdict.statements) - stored)
    return [f"it was reached from a statement of {one.replica} that is gone: SHA-256 {one.sha256}" for one in gone]


def _file_faults(
    c: Coordinator, job: Job, task: TaskRow, again: JudgedAgain, statements: Mapping[int, Sequence[Statement]]
) -> list[str]:
    """Return where the kept files of the result are not what was signed, or come to another answer."""
    number = again.replica
    if number is None:
        return []
    if len(statements.get(number, ())) != 1:
        return [f"its result is of replica {number}, which made no one statement"]
    statement = statements[number][0]
    published = task.published and number == task.published_from
    folder = folder_of(c.paths.results, task.job_id, task.idx, again.number)
    if published:
        folder = c.paths.results / str(task.job_id) / str(task.idx)
    files = listed(statement, c.store.tasks.manifest(task.job_id, task.idx) if published else None)
    faults = []
    if not published:  # logs are not among what is kept of it
        faults = faults_of(folder, statement._replace(stdout_sha256=_EMPTY, stderr_sha256=_EMPTY), files)
    if faults or files is None:
        return faults
    try:
        answer = answer_of_folder(folder, files, statement, task.idx, with_documents(job, again.outputs))
    except UnsafeOutputError as error:
        return [f"its result cannot be judged: {error.what}"]
    if answer.hex() != dict(again.answers).get(number):
        return [f"the files of replica {number} come to another answer than was signed"]
    return []
