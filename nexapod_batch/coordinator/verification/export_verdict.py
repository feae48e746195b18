"""The signed verdict on one exported task, compared with the coordinator's word, the job, and the statements here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.basis import REPORTED
from nexapod_batch.coordinator.evidence.export_format import judged_file
from nexapod_batch.coordinator.evidence.signed_verdicts import policy_sha256
from nexapod_batch.coordinator.ledger_start import origin_of
from nexapod_batch.coordinator.verification.judged_again import decision_faults, terms_faults
from nexapod_batch.coordinator.verification.signed_verdict import differences
from nexapod_batch.errors import VerificationError
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.document import form_of
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.verdict import VERDICT_TYPE, decode_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.evidence.export_format import ExportedTask, ExportedVerdict
    from nexapod_batch.coordinator.verification.export_files import ExportedFiles
    from nexapod_batch.coordinator.verification.export_statements import FoundStatement
    from nexapod_batch.model.job import Job
    from nexapod_batch.quorum import Vote
    from nexapod_batch.trust.verdict import JudgedAgain, SignedVerdict

__all__ = ["exported_again_faults", "opened_again", "signed_faults"]


def signed_faults(
    files: ExportedFiles,
    word: ExportedVerdict,
    job: Job,
    task: ExportedTask,
    statements: Mapping[int, Sequence[FoundStatement]],
) -> list[str]:
    """Return what is wrong with the signed verdict on a task; nothing for one of a time when none was signed.

    Whether the decision is the one that the statements make is checked elsewhere.
    """
    name = f"{word.job}_{task.task}"
    if f"{name}.vsa.json" not in files.names:
        return []
    keys = {key_id(public): public for public in files.coordinators}
    try:
        opened = open_envelope(files.read(f"{name}.vsa.json").rstrip(b"\n"), VERDICT_TYPE, keys)
        verdict = decode_verdict(opened.payload)
    except VerificationError as error:
        return [" ".join(str(error).split())]
    exported = {
        "verifier": origin_of(key_id(files.coordinators[0])), "job_uuid": word.uuid,
        "job_sha256": form_of(verdict.job_sha256, word.digest, job),
        "policy_sha256": policy_sha256(job), "task": task.task, "state": task.state, "agree": task.agree,
        "basis": task.basis,
    }  # fmt: skip
    faults = list(differences(verdict, exported, "exported"))
    return faults + list(_statement_faults(name, task, verdict, statements)) + _answer_faults(task, verdict, statements)


def opened_again(files: ExportedFiles, job: int, task: int, number: int) -> tuple[SignedVerdict, JudgedAgain]:
    """Return a verdict on a task under other rules.

    Raises:
        VerificationError: It is not signed by the coordinator, or cannot be read; also OSError.

    """
    keys = {key_id(public): public for public in files.coordinators}
    opened = open_envelope(files.read(judged_file(job, task, number)).rstrip(b"\n"), VERDICT_TYPE, keys)
    verdict = decode_verdict(opened.payload)
    if verdict.again is None or verdict.again.number != number:
        raise VerificationError("it is not the verdict of this number")
    return verdict, verdict.again


def exported_again_faults(
    word: ExportedVerdict,
    job: Job,
    task: ExportedTask,
    verdict: SignedVerdict,
    again: JudgedAgain,
    votes: Sequence[Vote],
    statements: Mapping[int, Sequence[FoundStatement]],
) -> list[str]:
    """Return what is wrong with a verdict on a task under other rules, given a vote for each replica."""
    name = f"{word.job}_{task.task}"
    faults = terms_faults(word.uuid, word.digest, job, task.task, verdict, again)
    faults += decision_faults(job, votes, verdict, again, task.extra)
    here = {(f"{name}.{replica}", one.sha256) for replica, ones in statements.items() for one in ones}
    missing = sorted(set(verdict.statements) - here)
    return faults + [f"it was reached from a statement of {replica} that is not here" for replica, _ in missing]


def _statement_faults(
    name: str, task: ExportedTask, verdict: SignedVerdict, statements: Mapping[int, Sequence[FoundStatement]]
) -> Iterator[str]:
    """Yield statements that the verdict names and that are not here, and votes of which it names no statement."""
    here = {(f"{name}.{number}", one.sha256) for number, ones in statements.items() for one in ones}
    for missing, digest in sorted(set(verdict.statements) - here):
        yield f"it was reached from a statement of {missing} that is not here: SHA-256 {digest}"
    named = {one.replica for one in verdict.statements}
    for replica, letter in zip(task.replicas, verdict.basis, strict=False):
        if letter == REPORTED and f"{name}.{replica.number}" not in named:
            yield f"replica {replica.number} counted, and the verdict names no statement of it"


def _answer_faults(
    task: ExportedTask, verdict: SignedVerdict, statements: Mapping[int, Sequence[FoundStatement]]
) -> list[str]:
    """Return that what was signed as accepted is no valid replica's answer."""
    if task.state != TaskState.ACCEPTED or task.doubt:
        return []
    valid = [replica.number for replica in task.replicas if replica.validation == "valid"]
    answers = {one.said.vote for number in valid for one in statements.get(number, ())}
    return [] if verdict.answer in answers else ["what was signed as accepted is the answer of no valid replica"]
