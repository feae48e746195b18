"""Deciding on kept outputs by other rules than the job's own: the job with these rules, and its votes under them.

The decision is that of the same pure checker on the same replicas. What a replica comes to under other rules cannot be
worked out from its statement, so it stands in the verdict; `decided` needs nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.closeness import without_unusable
from nexapod_batch.coordinator.evidence.export_format import judged_folder
from nexapod_batch.coordinator.evidence.recompute import decision_then
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_again
from nexapod_batch.model.document import from_document, to_document
from nexapod_batch.trust.verdict import decode_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.kept_outputs import Answer
    from nexapod_batch.model.job import Job, Output
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.trust.verdict import JudgedAgain, SignedVerdict

__all__ = [
    "AgainRecord", "decided", "folder_of", "output_documents", "unread_alone", "votes_again", "with_documents",
    "with_outputs", "with_unread", "written_again",
]  # fmt: skip


class AgainRecord(NamedTuple):
    """What a verdict under other rules was reached from, as `decision_then` takes it."""

    basis: str | None
    measured: str | None
    extra: int


def with_outputs(job: Job, outputs: Sequence[Output]) -> Job:
    """Return a job whose outputs are compared by other rules."""
    return replace(job, outputs=tuple(outputs))


def output_documents(job: Job) -> tuple[Mapping[str, Any], ...]:
    """Return the outputs of a job with their rules, as its document has them."""
    return tuple(to_document(job)["outputs"])


def with_documents(job: Job, outputs: Sequence[Mapping[str, Any]]) -> Job:
    """Return a job with the outputs of a verdict; KeyError, TypeError or ValueError for what are none."""
    return from_document({**to_document(job), "outputs": list(outputs)})


def votes_again(
    every: Sequence[Vote], answers: Mapping[int, bytes], unread: Mapping[int, str] | None = None
) -> list[Vote]:
    """Return the votes with what they come to under other rules; `unread` are those that have failed by them."""
    votes = [
        replace(vote, answer=answers[vote.number], failure="") if vote.number in answers else vote for vote in every
    ]
    return [without_unusable(vote, {}, unread or {}) for vote in votes]


def unread_alone(answers: Mapping[int, Answer]) -> dict[int, str]:
    """Return why outputs cannot be compared, of the replicas that no other one has the same bytes as."""
    shared = Counter(answer.vote for answer in answers.values())
    return {number: one.unread for number, one in sorted(answers.items()) if one.unread and shared[one.vote] == 1}


def with_unread(record: Mapping[str, object], unread: Mapping[int, str]) -> dict[str, Any]:
    """Return the record of a decision with why outputs cannot be compared, as it is kept with a verdict."""
    if not unread:
        return dict(record)
    within_tolerances = record.get("unread", {})
    assert isinstance(within_tolerances, dict)  # noqa: S101 - as `Measuring.record` makes it
    return {**record, "unread": {**within_tolerances, **{str(number): why for number, why in unread.items()}}}


def decided(job: Job, every: Sequence[Vote], verdict: SignedVerdict, again: JudgedAgain, extra: int) -> Decision:
    """Return the decision on replicas by what a verdict says of them; `every` is a vote for each replica.

    Raises:
        KeyError: What the verdict says of them is damaged; also TypeError, ValueError.

    """
    answers = {number: bytes.fromhex(digest) for number, digest in again.answers}
    record = AgainRecord(verdict.basis, json.dumps(dict(again.measured)), extra)
    return decision_then(with_documents(job, again.outputs), votes_again(every, answers), record)


def folder_of(results: Path, job_id: int, task: int, number: int) -> Path:
    """Return where the files of the result of a judgement lie, unless they are the published ones."""
    return results / str(job_id) / judged_folder(task, number)


def written_again(c: Coordinator, job_id: int, task: int) -> list[tuple[int, SignedVerdict]]:
    """Return every verdict on a task under other rules, with its entry of the ledger.

    CorruptStoreError or VerificationError where one cannot be read.
    """
    return [(stored.entry, decode_verdict(stored.payload)) for stored in stored_again(c, job_id, task)]
