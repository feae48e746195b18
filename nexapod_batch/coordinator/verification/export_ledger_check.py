"""The proofs of the ledger in an exported folder: what is here stands in it, and what it has of that is here.

Every proof is against one head. That the head itself is not of a rewritten ledger shows only to those who compare it
with one that they kept, or who trust a witness that signed it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.evidence.basis import SET_ASIDE
from nexapod_batch.coordinator.evidence.export_format import (
    CHECKPOINT,
    LEDGER_KEY,
    PROOF,
    job_proof,
    judged_file,
    judged_proof,
    publication_proof,
    statement_proof,
    verdict_proof,
)
from nexapod_batch.coordinator.ledger_start import origin_of
from nexapod_batch.coordinator.verification.ledger_facts import publication_of
from nexapod_batch.coordinator.verification.publication import publication_differences
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import open_checkpoint, parse_proof
from nexapod_batch.ledger.events import Kind, encoded_digest, parse_event, says
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.ledger.tree import leaf_hash, verify_inclusion
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.trust.dsse import open_envelope
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.verdict import VERDICT_TYPE, decode_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.evidence.export_format import ExportedTask, ExportedVerdict
    from nexapod_batch.coordinator.verification.export_files import ExportedFiles
    from nexapod_batch.coordinator.verification.export_statements import FoundStatement
    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.trust.verdict import SignedVerdict

__all__ = ["MAX_JUDGED", "LedgerProofs", "proof_names"]

#: Verdicts under other rules on one task that are looked for.
MAX_JUDGED = 1000


class _Entry(NamedTuple):
    """An entry that was proved."""

    number: int
    event: Mapping[str, str | int]

    def says(self, kind: Kind) -> bool:
        """Say whether this is what it says, be it that it was known before there was a ledger."""
        return says(self.event, kind)

    @property
    def in_order(self) -> bool:
        """Whether its number says when it happened: not of what was imported."""
        return self.event["kind"] != Kind.IMPORTED.value


def proof_names(word: ExportedVerdict) -> set[str]:
    """Return what the proofs of an export may be called."""
    names = {job_proof()}
    for task in word.tasks:
        names |= {verdict_proof(word.job, task.task), publication_proof(word.job, task.task)}
        names |= {judged_proof(word.job, task.task, number) for number in range(1, min(task.judged, MAX_JUDGED) + 1)}
        for replica in task.replicas:
            numbers = range(1, min(replica.statements, 100) + 1)
            names |= {statement_proof(word.job, task.task, replica.number, number) for number in numbers}
    return names


class LedgerProofs:
    """The head of an exported folder, and the proofs against it."""

    def __init__(self, files: ExportedFiles, word: ExportedVerdict, witnesses: Sequence[NoteKey] = ()) -> None:
        """Take a folder whose files are as they were signed; nothing is read yet."""
        self._files, self._word, self._witnesses = files, word, witnesses
        origin = origin_of(key_id(files.coordinators[0]))
        self._keys = [NoteKey(origin, public) for public in files.coordinators]
        self._text = ""
        self.head: Head | None = None  # once it was checked, and is good

    def head_faults(self) -> list[str]:
        """Check the head, and that the job was submitted; return what is wrong."""
        missing = sorted({CHECKPOINT, LEDGER_KEY} - self._files.names)
        if missing:
            return [f"{name} is missing: exported by an early version, or left out" for name in missing]
        signer = self._files.read(LEDGER_KEY)
        by = [key for key in self._keys if f"{key}\n".encode() == signer]
        if not by:
            return [f"{LEDGER_KEY} is not the coordinator's"]
        try:
            self._text = self._files.read(CHECKPOINT).decode()
            head, seen = open_checkpoint(notes.parse(self._text), by[0], self._witnesses)
        except (VerificationError, ValueError) as error:
            return [f"{CHECKPOINT}: {_shown(error)}"]
        self.head = head
        faults = [f"{CHECKPOINT}: {key.name} did not cosign it" for key in self._witnesses if key not in seen]
        names = {name for name in self._files.names if name.endswith(PROOF)}
        faults += [f"{name} proves nothing that is here" for name in sorted(names - proof_names(self._word))]
        return faults + self._job_faults()

    def described(self) -> str:
        """Return what head the proofs are against, for people."""
        if self.head is None:
            return ""
        witnessed = "".join([f", cosigned by {key.name}" for key in self._witnesses])
        return f"head of {self.head.size} entries of {self.head.origin}{witnessed}"

    def task_faults(self, task: ExportedTask, statements: Mapping[int, Sequence[FoundStatement]]) -> list[str]:
        """Return where the ledger has another verdict, statement or publication of a task than is here."""
        name = f"{self._word.job}_{task.task}"
        try:
            reports = self._reports(task, statements)
            faults = [*self._verdict_faults(name, task, reports), *self._publication_faults(name, task, statements)]
            return faults + list(self._judged_faults(name, task))
        except VerificationError as error:
            return [_shown(error)]

    def _entry(self, name: str, kind: Kind) -> _Entry:
        """Return the entry that a proof proves; VerificationError unless it is proved, and says this kind of thing."""
        if name not in self._files.names:
            raise VerificationError(f"{name} is missing: nothing shows that the ledger has it")
        if self.head is None:
            raise VerificationError(f"there is no head that {name} could be against")
        try:
            proof = parse_proof(self._files.read(name).decode())
            if str(proof.checkpoint) != self._text:
                raise VerificationError(f"it is against another head than {CHECKPOINT}")
            verify_inclusion(leaf_hash(proof.content), proof.entry, self.head.size, list(proof.path), self.head.root)
            entry = _Entry(proof.entry, parse_event(proof.content))
        except (VerificationError, ValueError) as error:
            raise VerificationError(f"{name}: {_shown(error)}") from error
        if not entry.says(kind):
            raise VerificationError(f"{name}: its entry is not a {kind.value}", got=str(entry.event["kind"])[:40])
        return entry

    def _job_faults(self) -> list[str]:
        digest = encoded_digest(bytes.fromhex(self._word.digest))
        wanted = {"id": f"{self._word.job}", "uuid": self._word.uuid, "sha256": digest}
        try:
            return _differences(job_proof(), self._entry(job_proof(), Kind.SUBMITTED), wanted)
        except VerificationError as error:
            return [_shown(error)]

    def _reports(
        self, task: ExportedTask, statements: Mapping[int, Sequence[FoundStatement]]
    ) -> dict[tuple[int, str], _Entry]:
        """Return the entry of each statement, by replica and digest; VerificationError where one is another's."""
        found = {}
        for number, ones in statements.items():
            for at, statement in enumerate(ones, 1):
                name = statement_proof(self._word.job, task.task, number, at)
                entry = self._entry(name, Kind.REPORT)
                digest = encoded_digest(bytes.fromhex(statement.sha256))
                faults = _differences(name, entry, {"id": f"{self._word.job}_{task.task}.{number}", "sha256": digest})
                if faults:
                    raise VerificationError(faults[0])
                found[number, statement.sha256] = entry
        return found

    def _verdict_faults(
        self, name: str, task: ExportedTask, reports: Mapping[tuple[int, str], _Entry]
    ) -> Iterator[str]:
        """Yield where the latest verdict of the ledger is not the one that is here, or left a statement out."""
        if task.state == TaskState.CANCELLED:
            return
        entry = self._entry(verdict_proof(self._word.job, task.task), Kind.VERDICT)
        yield from _differences(verdict_proof(self._word.job, task.task), entry, {"id": name, "state": task.state})
        if "sha256" not in entry.event:
            return  # reached before verdicts were signed
        file = f"{name}.vsa.json"
        if file not in self._files.names:
            yield f"the ledger has a signed verdict on it, and {file} is missing"
            return
        payload = self._verdict(file)
        if encoded_digest(hashlib.sha256(payload).digest()) != entry.event["sha256"]:
            yield f"{file} is not the verdict that the ledger has: SHA-256 {entry.event['sha256']}"
        elif entry.in_order:
            yield from _order_faults(name, entry.number, decode_verdict(payload), reports)

    def _judged_faults(self, name: str, task: ExportedTask) -> Iterator[str]:
        """Yield where the ledger has another verdict under other rules than is here."""
        for number in range(1, min(task.judged, MAX_JUDGED) + 1):
            proof, file = (of(self._word.job, task.task, number) for of in (judged_proof, judged_file))
            digest = encoded_digest(hashlib.sha256(self._verdict(file)).digest())
            yield from _differences(proof, self._entry(proof, Kind.JUDGED_AGAIN), {"id": name, "sha256": digest})

    def _verdict(self, file: str) -> bytes:
        keys = {key_id(public): public for public in self._files.coordinators}
        return open_envelope(self._files.read(file).rstrip(b"\n"), VERDICT_TYPE, keys).payload

    def _publication_faults(
        self, name: str, task: ExportedTask, statements: Mapping[int, Sequence[FoundStatement]]
    ) -> Iterator[str]:
        """Yield where the ledger says another publication, or there is one that the coordinator's word leaves out."""
        proof, number = publication_proof(self._word.job, task.task), task.published_from
        if number is None:
            if proof in self._files.names:
                yield f"{proof} is here, and nothing of it is said to have been published"
            return
        source = statements.get(number)
        digest = bytes.fromhex(source[0].sha256) if source else None
        entry = self._entry(proof, Kind.PUBLISHED)
        yield from publication_differences(entry.event, publication_of(name, number, digest))


def _order_faults(
    name: str, decided: int, verdict: SignedVerdict, reports: Mapping[tuple[int, str], _Entry]
) -> Iterator[str]:
    """Yield statements that were in the ledger before the verdict and not named, or named and came after it."""
    letters = dict(enumerate(verdict.basis, 1))
    named = {(statement.replica, statement.sha256) for statement in verdict.statements}
    replicas = {replica for replica, _ in named}
    for (number, sha256), entry in reports.items():
        replica = f"{name}.{number}"
        if not entry.in_order or letters.get(number, SET_ASIDE) == SET_ASIDE:
            continue
        if (replica, sha256) in named and entry.number > decided:
            yield f"a statement of {replica} is named by the verdict, and came after it"
        if replica not in replicas and entry.number < decided:
            yield f"a statement of {replica} was there before the verdict, and was left out"


def _differences(name: str, entry: _Entry, wanted: Mapping[str, str]) -> list[str]:
    """Return where an entry says something else than is here; what was imported does not say everything."""
    return [
        f"{name}: the ledger says {field} {entry.event[field]}, and here it is {value}"
        for field, value in wanted.items()
        if field in entry.event and entry.event[field] != value
    ]


def _shown(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
