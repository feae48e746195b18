"""The facts of the database and the ledger, compared: neither has one that the other lacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.verification.key_facts import KeyEvents, key_faults, keys_of_database
from nexapod_batch.coordinator.verification.node_facts import NodeEvents, node_faults
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.audit import MAX_FAULTS, Fault
from nexapod_batch.ledger.events import Kind, encoded_digest, parse_event, says

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Facts", "compared_facts", "publication_of"]

#: What is in every entry that says something of reports, publications, keys, nodes or owners.
_WORDS = (b'"report"', b'"published"', b'"key":', b'"profile"', b'"network":', b'"owner-state"')


class Facts(NamedTuple):
    """What a comparison found."""

    number: int
    faults: tuple[Fault, ...]


class _Compared:
    """Facts that were looked up so far, and what was wrong."""

    def __init__(self) -> None:
        self.number = 0
        self.faults: list[Fault] = []

    def look(self, place: str, entry: bytes | None, kind: Kind, wanted: Mapping[str, str | int]) -> None:
        """Compare one fact of the database with the entry that is to say it."""
        self.number += 1
        if len(self.faults) >= MAX_FAULTS:
            return
        if entry is None:
            self.faults.append(Fault(place, f"the database knows it, and the ledger has no {kind.value} of it"))
            return
        try:
            said = parse_event(entry)
        except VerificationError as error:
            self.faults.append(Fault(place, str(error)))
            return
        if not says(said, kind):
            self.faults.append(Fault(place, f"its entry in the ledger is not a {kind.value}"))
            return
        for name, value in wanted.items():
            if name in said and said[name] != value:
                self.faults.append(Fault(place, f"the ledger says {name} {said[name]}, the database {value}"))
                return


def compared_facts(c: Coordinator) -> Facts:
    """Look up every job, placed replica, statement and verdict of the database in the ledger, and the other way."""
    compared = _Compared()
    ledger = c.store.ledger
    for job in ledger.jobs_with_entries():
        digest = _from_hex(job.digest)
        submitted: dict[str, str | int] = {"id": f"{job.id}", "uuid": job.uuid, "tasks": job.n_tasks, "sha256": digest}
        compared.look(f"job {job.id}", job.entry, Kind.SUBMITTED, submitted)
    for launch in ledger.launches_with_entries():
        if launch.key is None:
            compared.faults.append(Fault(f"launch {launch.id}", "it is gone, or of another node than its replicas"))
            continue
        placed: dict[str, str | int] = {"launch": launch.key, "id": f"{launch.job_id}"}
        compared.look(f"launch {launch.key}", launch.entry, Kind.PLACED, placed)
    for verdict in ledger.verdicts_with_entries():
        name = f"{verdict.job_id}_{verdict.idx}"
        compared.look(f"task {name}", verdict.entry, Kind.VERDICT, {"id": name, "state": verdict.state})
    for _, job_id, task, body in c.store.verdicts.every_again():
        compared.look(f"judgement on task {job_id}_{task}", body, Kind.JUDGED_AGAIN, {"id": f"{job_id}_{task}"})
    for published in ledger.publications_with_entries():
        name = f"{published.job_id}_{published.idx}"
        said = publication_of(name, published.number, published.payload_sha256)
        compared.look(f"publication of {name}", published.entry, Kind.PUBLISHED, said)
    _reports(c, compared)
    return Facts(compared.number, tuple(compared.faults))


def _from_hex(digest: str) -> str:
    """Return a digest as it stands in entries; "none" for what is no digest."""
    try:
        return encoded_digest(bytes.fromhex(digest))
    except ValueError:
        return "none"


def publication_of(task: str, replica: int, payload_sha256: bytes | None) -> dict[str, str | int]:
    """Return what an entry says of a task's publication: whose files they are, and by which statement."""
    digest = "none" if payload_sha256 is None else encoded_digest(payload_sha256)
    return {"id": task, "replica": replica, "sha256": digest}


class _Said:
    """What a scan of all entries finds: how many reports there are, and what is said of keys."""

    def __init__(self, entries: Iterable[tuple[int, bytes, int]]) -> None:
        self.reports = 0
        self.published: set[str] = set()  # tasks
        self.statements: Counter[tuple[str, str]] = Counter()  # of replicas that reported more than once
        self.keys = KeyEvents()
        self.nodes = NodeEvents()
        self._entries = entries

    def scan(self, twice: Collection[str]) -> None:
        """Look at every entry; `twice` are the replicas with more than one statement."""
        for _, entry, _ in self._entries:
            if any(word in entry for word in _WORDS):  # what it is about it says itself
                self._take(_read(entry), twice)

    def _take(self, said: Mapping[str, str | int], twice: Collection[str]) -> None:
        """Take in what one entry says."""
        if says(said, Kind.REPORT):
            self.reports += 1
            if said.get("id") in twice:
                self.statements[str(said["id"]), str(said.get("sha256"))] += 1
        elif says(said, Kind.PUBLISHED):
            self.published.add(str(said.get("id")))
        else:
            if "key" in said:
                self.keys.add(said)
            self.nodes.add(said)


def _read(entry: bytes) -> Mapping[str, str | int]:
    """Return the fields of an entry; none for what is no entry, which the audit names."""
    try:
        return parse_event(entry)
    except VerificationError:
        return {}


def _reports(c: Coordinator, compared: _Compared) -> None:
    """Compare statements and keys of nodes with the entries that say them, and count what entries there are."""
    stored, last = 0, ""
    twice: dict[str, list[str]] = defaultdict(list)
    for report in c.store.ledger.reports_with_entries():
        stored += 1
        name, digest = f"{report.job_id}_{report.task}.{report.number}", encoded_digest(report.payload_sha256)
        if name == last:
            twice[name].append(digest)
            continue
        compared.look(f"replica {name}", report.entry, Kind.REPORT, {"id": name, "sha256": digest})
        last = name
    said = _Said(c.store.ledger.marked_entries())
    said.scan(twice)
    for name, digests in twice.items():
        for digest in digests:
            if not said.statements[name, digest]:
                compared.faults.append(Fault(f"replica {name}", "its second statement is not in the ledger"))
    if said.reports != stored:
        what = f"the ledger has {said.reports} reports, the database {stored} statements"
        compared.faults.append(Fault("statements", what))
    for job_id, task in c.store.ledger.accepted_of_no_replica():
        if f"{job_id}_{task}" in said.published:
            what = "the ledger says which replica was published, and the database does not"
            compared.faults.append(Fault(f"publication of {job_id}_{task}", what))
    keys = keys_of_database(c)
    compared.number += sum(map(len, keys))
    compared.faults += key_faults(keys, said.keys)
    compared.faults += node_faults(c, said.nodes)
