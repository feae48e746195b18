"""A verdict as it was signed, compared with what is stored, and with the statements that it must name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.evidence.basis import SET_ASIDE
from nexapod_batch.coordinator.evidence.signed_verdicts import policy_sha256, stored_verdicts
from nexapod_batch.errors import CorruptStoreError, VerificationError
from nexapod_batch.ledger.events import Kind, encoded_digest, parse_event
from nexapod_batch.lifecycle import TaskState, Validation
from nexapod_batch.model.document import form_of
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.verdict import VERDICT_TYPE, decode_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.signed_verdicts import StoredVerdict
    from nexapod_batch.model.job import Job
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.verdict import SignedVerdict

__all__ = ["differences", "event_at", "opened", "signed_verdict_faults"]

#: Fields of a signed verdict that are kept beside it as well, and what people call them.
_KEPT = {
    "verifier": "its verifier",
    "job_uuid": "its job",
    "job_sha256": "its job's document",
    "policy_sha256": "its policy",
    "task": "its task",
    "state": "its state",
    "agree": "how many agree",
    "basis": "how its replicas stood",
}


def signed_verdict_faults(
    c: Coordinator, job_row: JobRow, job: Job, task: TaskRow, rows: Sequence[ReplicaRow]
) -> list[str]:
    """Return what is wrong with the signed verdict on a task that has ended by one; nothing for one of a time without.

    Whether the stored decision is the one that its statements make is checked elsewhere.
    """
    entry = c.store.ledger.of_task(task.job_id, task.idx)
    event = event_at(c, entry)
    if Kind.VERDICT not in {event.get("kind"), event.get("fact")} and c.store.ledger.size():
        return ["the ledger has no verdict on it where the database says that it stands"]
    if "sha256" not in event:
        return []  # reached before verdicts were signed
    try:
        verdicts = stored_verdicts(c, task.job_id, task.idx)
        signed = next((verdict for verdict in verdicts if verdict.entry == entry), None)
        if signed is None:
            return ["the ledger says that it was signed, and the signed verdict is missing"]
        verdict = opened(c, signed, str(event["sha256"]))
    except (CorruptStoreError, VerificationError) as error:
        return [" ".join(str(error).split())]
    stored = {
        "verifier": c.origin, "job_uuid": job_row.uuid,
        "job_sha256": form_of(verdict.job_sha256, job_row.digest, job),
        "policy_sha256": policy_sha256(job), "task": task.idx, "state": task.state, "agree": task.agree,
        "basis": task.basis,
    }  # fmt: skip
    faults = list(differences(verdict, stored, "stored"))
    return faults + list(_statement_faults(c, task, rows, verdict, entry or 0)) + _answer_faults(task, rows, verdict)


def differences(verdict: SignedVerdict, kept: Mapping[str, object], how: str) -> Iterator[str]:
    """Yield where a signed verdict says something else than what is kept, stored or exported, by its fields."""
    for name, what in _KEPT.items():
        signed = getattr(verdict, name)
        if signed != kept[name]:
            yield f"{what} is signed as {signed!r}, and {how} as {kept[name]!r}"


def event_at(c: Coordinator, entry: int | None) -> dict[str, str | int]:
    """Return what an entry says; nothing where there is none."""
    found = [] if entry is None else c.store.ledger.entries(entry, entry + 1)
    try:
        return dict(parse_event(found[0])) if found else {}
    except VerificationError:
        return {}


def opened(c: Coordinator, signed: StoredVerdict, digest: str) -> SignedVerdict:
    """Return what the coordinator's key signed.

    Raises:
        VerificationError: It is not what the ledger has, or the key that signed it is revoked.

    """
    public = own_key.public_at(c.store, c.signer, signed.signed_at)
    key = key_id(public)
    revoked = own_key.revoked_at(c.store, c.signer, signed.signed_at)
    if revoked is not None:
        raise VerificationError("it was signed with a key that is revoked", got=key, wanted=f"entries before {revoked}")
    payload = open_envelope(signed.envelope(key), VERDICT_TYPE, {key: public}).payload
    if encoded_digest(hashlib.sha256(payload).digest()) != digest:
        raise VerificationError("the signed verdict is not the one that the ledger has", wanted=f"SHA-256 {digest}")
    return decode_verdict(payload)


def _statement_faults(
    c: Coordinator, task: TaskRow, rows: Sequence[ReplicaRow], verdict: SignedVerdict, entry: int
) -> Iterator[str]:
    """Yield statements that are named and gone, and those that were there in time and are not named."""
    name = f"{task.job_id}_{task.idx}"
    stored = {
        (f"{name}.{number}", digest.hex()): number
        for _, number, digest in c.store.verdicts.statements(task.job_id, [task.idx])
    }
    named = set(verdict.statements)
    for replica, digest in sorted(named - stored.keys()):
        yield f"it was reached from a statement of {replica} that is gone: SHA-256 {digest}"
    letters = dict(zip([row.number for row in rows], verdict.basis, strict=False))
    first = set[int]()
    for (replica, _), number in stored.items():
        known = any(one.replica == replica for one in named)
        _, committed = c.store.ledger.of_replica(task.job_id, task.idx, number)
        in_time = committed is not None and committed < entry and letters.get(number, SET_ASIDE) != SET_ASIDE
        if in_time and not known and number not in first:
            yield f"a statement of {replica} was there, and it was left out"
        first.add(number)


def _answer_faults(task: TaskRow, rows: Sequence[ReplicaRow], verdict: SignedVerdict) -> list[str]:
    """Return that what was signed as accepted is no valid replica's answer."""
    if task.state != TaskState.ACCEPTED or task.doubt:
        return []
    answers = {row.vote.hex() for row in rows if row.validation == Validation.VALID and row.vote is not None}
    return [] if verdict.answer in answers else ["what was signed as accepted is the answer of no valid replica"]
