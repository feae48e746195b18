"""The rows that reports become: collected, and written together inside the caller's transaction."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.report_columns import reported_columns
from nexapod_batch.coordinator.evidence.stored_statements import Packer, dictionary_for
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.store.repositories.replicas import ReplicaReport
from nexapod_batch.store.repositories.reports import NewReport

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.ready_reports import ReadyReport
    from nexapod_batch.coordinator.evidence.report_columns import Columns
    from nexapod_batch.coordinator.evidence.report_reader import Report

__all__ = ["ReportBatch"]


class _New(NamedTuple):
    """A report that is to be written."""

    row: int  # id of the replica's
    name: tuple[int, int, int]  # of the replica: job, task, number
    digest: bytes  # SHA-256 of the payload
    packed: bytes  # the payload as it is stored
    signature: bytes
    carried: bytes | None
    columns: Columns


class ReportBatch(Struct):
    """Rows to write; `seen` are the replicas that had a report among them, whether it is written or not."""

    started: list[tuple[int, int, int, int]] = field(default_factory=list)  # job, task, number, node
    new: list[_New] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    packers: dict[int, Packer] = field(default_factory=dict)  # by job
    classes: dict[int, str] = field(default_factory=dict)  # which kind of class counts, by job

    def add(self, c: Coordinator, row: int, report: Report) -> None:
        """Add what a verified report makes of the replica of a row."""
        said = report.statement
        name = (said.replica.job, said.replica.task, said.replica.number)
        columns = reported_columns(said, report.machine, report.gpus, self._class_of(c, said.replica.job))
        digest = hashlib.sha256(report.payload).digest()
        packed = self._packed(c, said.replica.job, report.payload)
        self.seen.add(row)
        self.new.append(_New(row, name, digest, packed, report.signature, report.carried, columns))

    def add_ready(self, row: int, report: ReadyReport) -> None:
        """Add what a report makes of the replica of a row when it was made ready."""
        self.seen.add(row)
        self.new.append(
            _New(row, report.replica, report.digest, report.packed, report.signature, report.carried, report.columns)
        )

    def write(self, c: Coordinator) -> None:
        """Write the rows, which are gone from here then.

        Step by step for all of them, so that each step finds its code in the nearest cache.
        """
        new, now = self.new, c.now()
        first = c.store.ledger.append([
            event(Kind.REPORT, now, id=str(ReplicaName(*one.name)), sha256=encoded_digest(one.digest)) for one in new
        ])
        reports, replicas = c.store.reports, c.store.replicas
        replicas.start(self.started)
        reports.insert([NewReport(one.row, one.digest, one.packed, one.signature, now) for one in new])
        reports.insert_carried([(one.row, one.carried) for one in new if one.carried is not None])
        replicas.report([
            ReplicaReport._make((*one.columns, now, int(one.carried is not None), entry, one.row))
            for entry, one in enumerate(new, first)
        ])
        c.store.tasks.note_news(sorted({one.name[:2] for one in new}))
        self.started.clear()
        self.new.clear()

    def _class_of(self, c: Coordinator, job: int) -> str:
        if job not in self.classes:
            self.classes[job] = c.job(job).quorum.numeric_class.value
        return self.classes[job]

    def _packed(self, c: Coordinator, job: int, payload: bytes) -> bytes:
        if job not in self.packers:
            self.packers[job] = Packer(dictionary_for(c, job, payload))
        return self.packers[job].pack(payload)
