"""Verdicts that the coordinator signs: made of decisions, stored beside their entries in the ledger, read again."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from nexapod_batch.coordinator.evidence.basis import SET_ASIDE
from nexapod_batch.coordinator.evidence.stored_statements import Packer
from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.model.document import canonical, to_document
from nexapod_batch.model.job import Domain
from nexapod_batch.store.repositories.verdicts import NewVerdict
from nexapod_batch.trust.dsse import envelope, pae
from nexapod_batch.trust.verdict import VERDICT_TYPE, SignedVerdict, StatementRef, encode_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.verdicts import VerdictRow
    from nexapod_batch.trust.verdict import JudgedAgain

__all__ = [
    "MadeVerdict", "Reached", "Signing", "StoredVerdict", "other_policy_sha256", "policy_sha256", "stored_again",
    "stored_verdicts",
]  # fmt: skip

#: What is counted of those who agreed, by name.
_FIELDS = tuple([(field.value, field) for field in (Domain.HOST, Domain.NODE, Domain.OWNER, Domain.SITE)])
_LIMIT = 1 << 20  # bytes of a payload


class StoredVerdict(NamedTuple):
    """A verdict as it was signed."""

    entry: int  # of the ledger
    payload: bytes
    signature: bytes
    signed_at: int  # entry whose time's key signed it: its own, unless that key was revoked since

    def envelope(self, key_id: str) -> bytes:
        """Return the DSSE envelope, by the coordinator's key."""
        return envelope(VERDICT_TYPE, self.payload, key_id, self.signature)


def policy_sha256(job: Job) -> str:
    """Return the digest of a job's policy: of the canonical JSON of its quorum, as its document has it."""
    return hashlib.sha256(canonical(to_document(job)["quorum"])).hexdigest()


def other_policy_sha256(job: Job, outputs: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest of a policy that is not the job's own: of its quorum with other rules for the outputs."""
    return hashlib.sha256(canonical({"outputs": list(outputs), "quorum": to_document(job)["quorum"]})).hexdigest()


class MadeVerdict(Struct, frozen=True, array_like=True):
    """A verdict that is signed, and not stored yet."""

    entry: bytes  # of the ledger
    packed: bytes  # the payload, deflated
    signature: bytes


class Reached(Struct, frozen=True):
    """A verdict on a task: all that is signed of it beside the statements that it was reached from."""

    task: int
    state: str
    agree: int
    basis: str
    answer: str  # what was accepted, in hex; "" for nothing
    domains: tuple[tuple[str, int], ...]  # how many different ones agreed, by the name of the field
    again: JudgedAgain | None = None  # under other rules than the job's own

    @classmethod
    def of(cls, task: int, decision: Decision, votes: Sequence[Vote], basis: str) -> Reached:
        """Return the verdict that a decision on a task's votes is."""
        won = [vote for vote in votes if vote.number in decision.winners]
        return cls(task, _state(decision), decision.agree, basis, _answer(decision, votes, won), _domains(won))


class Signing:
    """The verdicts on some tasks of one job that are reached together.

    After `prepare`, `make` needs no database, so that helpers that have none can call it.
    """

    def __init__(self, c: Coordinator, job_id: int, tasks: Sequence[int]) -> None:
        """Take the tasks that may end."""
        self._c, self._job_id, self._tasks = c, job_id, tasks
        self._row, self._policy = c.store.jobs.get(job_id), policy_sha256(c.job(job_id))
        self._verifier = c.origin
        self._statements: dict[int, list[tuple[int, bytes]]] | None = None
        self._packer: Packer | None = None
        self._new: list[NewVerdict] = []

    def prepare(self) -> bool:
        """Read what `make` needs of the database; say whether there is the job's first verdict to deflate with."""
        if self._statements is None:
            self._statements = defaultdict(list)
            for task, number, digest in self._c.store.verdicts.statements(self._job_id, self._tasks):
                self._statements[task].append((number, digest))
        if self._packer is None:
            first = self._c.store.verdicts.first(self._job_id)
            if first is not None:
                self._packer = Packer(zlib.decompressobj().decompress(first[1], _LIMIT))
        return self._packer is not None

    def make(self, reached: Sequence[Reached]) -> list[MadeVerdict]:
        """Sign verdicts; the job's first one becomes the dictionary of the others.

        Step by step for all of them, so that each step finds its code in the nearest cache.
        """
        if self._packer is None or self._statements is None:
            self.prepare()
        now = self._c.now()
        payloads = [encode_verdict(self._verdict(one, now)) for one in reached]
        entries = [self._entry(one, now, payload) for one, payload in zip(reached, payloads, strict=True)]
        packed = [self._packed(payload) for payload in payloads]
        signatures = [self._c.signer.sign(pae(VERDICT_TYPE, payload)) for payload in payloads]
        return list(map(MadeVerdict, entries, packed, signatures))

    def _verdict(self, reached: Reached, now: int) -> SignedVerdict:
        again, policy = reached.again, self._policy
        if again is not None:
            policy = other_policy_sha256(self._c.job(self._job_id), again.outputs)
        return SignedVerdict(
            verifier=self._verifier, time_ms=now, job_uuid=self._row.uuid, job_sha256=self._row.digest,
            policy_sha256=policy, task=reached.task, state=reached.state, agree=reached.agree,
            basis=reached.basis, answer=reached.answer, reached=reached.domains,
            statements=tuple(self._refs(reached.task, reached.basis)), again=again,
        )  # fmt: skip

    def _entry(self, reached: Reached, now: int, payload: bytes) -> bytes:
        """Return the entry of the ledger that says that a verdict was reached."""
        name = f"{self._job_id}_{reached.task}"
        digest = encoded_digest(hashlib.sha256(payload).digest())
        kind = Kind.VERDICT if reached.again is None else Kind.JUDGED_AGAIN
        return event(kind, now, id=name, state=reached.state, sha256=digest)

    def append(self, task: int, made: MadeVerdict, *, again: bool = False) -> int:
        """Append the verdict on a task to the ledger; return the number of its entry."""
        number = self._c.store.ledger.append([made.entry])
        self._new.append(NewVerdict(number, self._job_id, task, made.packed, made.signature, again))
        return number

    def write(self) -> None:
        """Store what was appended, in the transaction of the decisions."""
        self._c.store.verdicts.insert(self._new)
        self._new.clear()

    def _refs(self, task: int, basis: str) -> list[StatementRef]:
        """Return the statements of a task; of replicas that a retry set aside none."""
        return [
            StatementRef(f"{self._job_id}_{task}.{number}", digest.hex())
            for number, digest in (self._statements or {}).get(task, ())
            if basis[number - 1 : number] != SET_ASIDE
        ]

    def _packed(self, payload: bytes) -> bytes:
        if self._packer is None:
            self._packer = Packer(payload)
            return zlib.compress(payload)
        return self._packer.pack(payload)


def _state(decision: Decision) -> str:
    return "" if decision.state is None else decision.state.value


def _domains(won: Sequence[Vote]) -> tuple[tuple[str, int], ...]:
    """Return how many different hosts, nodes, owners and sites agreed, by name."""
    domains = [vote.domain for vote in won]
    return tuple([(name, len({domain.get(field, "") for domain in domains})) for name, field in _FIELDS])


def _answer(decision: Decision, votes: Sequence[Vote], won: Sequence[Vote]) -> str:
    """Return what was accepted, in hex: within tolerances the centre's answer; "" where nothing was."""
    answers = {vote.answer for vote in won if vote.answer is not None}
    if decision.centre is not None:
        answers = {vote.answer for vote in votes if vote.number == decision.centre and vote.answer is not None}
    accepted = _state(decision) == "accepted" and len(answers) == 1
    return next(iter(answers)).hex() if accepted else ""


def stored_verdicts(c: Coordinator, job_id: int, task: int) -> list[StoredVerdict]:
    """Return the signed verdicts on a task, the latest last; CorruptStoreError for what cannot be read."""
    return _opened(c, job_id, task, c.store.verdicts.of_task(job_id, task))


def stored_again(c: Coordinator, job_id: int, task: int) -> list[StoredVerdict]:
    """Return the verdicts on a task under other rules than the job's own; as `stored_verdicts`."""
    return _opened(c, job_id, task, c.store.verdicts.of_task(job_id, task, again=True))


def _opened(c: Coordinator, job_id: int, task: int, rows: Sequence[VerdictRow]) -> list[StoredVerdict]:
    first = c.store.verdicts.first(job_id)
    if not rows or first is None:
        return []
    try:
        dictionary = zlib.decompressobj().decompress(first[1], _LIMIT)
        found = []
        for row in rows:
            signed_at = row.entry if row.confirmed is None else row.confirmed
            opener = zlib.decompressobj() if row.entry == first[0] else zlib.decompressobj(-15, dictionary)
            found.append(StoredVerdict(row.entry, opener.decompress(row.packed, _LIMIT), row.signature, signed_at))
    except zlib.error as error:
        raise CorruptStoreError(f"the signed verdict on task {job_id}_{task} is damaged") from error
    return found
