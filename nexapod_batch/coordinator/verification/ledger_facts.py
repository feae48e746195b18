"""The facts of the database and the ledger, compared: neither has one that the other lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.audit import MAX_FAULTS, Fault
from nexapod_batch.ledger.events import Kind, encoded_digest, parse_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Facts", "compared_facts"]

_REPORT = b'"report"'


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
        if kind.value not in {said["kind"], said.get("fact")}:
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
        digest = encoded_digest(bytes.fromhex(job.digest))
        compared.look(f"job {job.id}", job.entry, Kind.SUBMITTED, {"id": f"{job.id}", "sha256": digest})
    for one in ledger.launches_with_entries():
        compared.look(f"launch {one.key}", one.entry, Kind.PLACED, {"launch": one.key, "id": f"{one.job_id}"})
    for verdict in ledger.verdicts_with_entries():
        name = f"{verdict.job_id}_{verdict.idx}"
        compared.look(f"task {name}", verdict.entry, Kind.VERDICT, {"id": name, "state": verdict.state})
    for report in ledger.reports_with_entries():
        name = f"{report.job_id}_{report.task}.{report.number}"
        compared.look(f"replica {name}", report.entry, Kind.REPORT, {"id": name})
    _statements(c, compared)
    return Facts(compared.number, tuple(compared.faults))


def _statements(c: Coordinator, compared: _Compared) -> None:
    """Find reports in the ledger whose statements are gone or changed, and statements that it does not know."""
    said = set()
    for number, entry in _reports(c.store.ledger.marked_entries()):
        event = parse_event(entry)
        key = (str(event["id"]), str(event["sha256"]))
        if key in said:
            compared.faults.append(Fault(f"entry {number}", f"the same report of {key[0]} a second time"))
        said.add(key)
    stored = set()
    for one in c.store.ledger.known_reports():
        key = (f"{one.job_id}_{one.task}.{one.number}", encoded_digest(one.payload_sha256))
        stored.add(key)
        if key not in said:
            compared.faults.append(Fault(f"replica {key[0]}", "its statement is not the one that the ledger says"))
    for name, digest in sorted(said - stored):
        compared.faults.append(Fault(f"replica {name}", f"the statement with SHA-256 {digest} is gone"))


def _reports(entries: Iterable[tuple[int, bytes, int]]) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the entries that say that somebody reported."""
    for number, entry, _ in entries:
        if _REPORT in entry:
            try:
                said = json.loads(entry)
            except ValueError:
                continue  # the audit names it
            if Kind.REPORT.value in {said["kind"], said.get("fact")}:
                yield number, entry
