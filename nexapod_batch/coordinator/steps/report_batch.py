"""The rows that reports become: collected, and written together inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.report_reader import gpus_of, machine_of
from nexapod_batch.coordinator.evidence.stored_statements import Packer, dictionary_for
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.document import digests, from_document
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import failure_kind
from nexapod_batch.store.repositories.replicas import ReplicaReport
from nexapod_batch.store.repositories.reports import NewReport
from nexapod_batch.trust.statement import Outcome
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Report

__all__ = ["EXECUTION_OF", "ReportBatch", "columns_of", "signed_reason"]

#: What a signed outcome makes of the replica.
EXECUTION_OF: dict[str, Execution] = {
    Outcome.OK: Execution.REPORTED,
    Outcome.FAILED: Execution.ERRORED,
    Outcome.TIME: Execution.ERRORED,
    Outcome.MEMORY: Execution.ERRORED,
    Outcome.DISK: Execution.ERRORED,
    Outcome.OUTPUT: Execution.ERRORED,
    Outcome.INPUT: Execution.ERRORED,
    Outcome.CANCELLED: Execution.CANCELLED,
    Outcome.PREEMPTED: Execution.LOST,
    Outcome.NODE: Execution.LOST,
}


def signed_reason(detail: str) -> Reason | None:
    """Return the reason that a statement makes of its replica: what it says beside the outcome, if anything."""
    if detail:
        return Reason(code=Code.SIGNED, parameters={"text": detail})
    return None


class _New(NamedTuple):
    """A report that is to be written."""

    replica: int  # row id
    report: Report
    columns: tuple[Any, ...]  # of ReplicaReport, up to the time


class ReportBatch(Struct):
    """Rows to write; `seen` are the replicas that had a report among them, whether it is written or not."""

    started: list[tuple[int, int, int, int]] = field(default_factory=list)  # job, task, number, node
    new: list[_New] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    packers: dict[int, Packer] = field(default_factory=dict)  # by job
    classes: dict[int, str] = field(default_factory=dict)  # which kind of class counts, by job

    def add(self, c: Coordinator, replica: int, report: Report) -> None:
        """Add what a verified report makes of the replica of a row."""
        said = report.statement
        execution = EXECUTION_OF[said.outcome]
        vote = bytes.fromhex(said.vote) if execution is Execution.REPORTED else None
        failure = failure_kind(said.outcome, said.exit_code) if execution is Execution.ERRORED else ""
        reason = signed_reason(said.detail)
        numeric_class = said.classes.get(self._class_of(c, said.replica.job), "")
        columns = (
            execution.value, "" if reason is None else reason.stored(), failure, said.exit_code, said.host,
            report.machine, numeric_class, said.isolation, vote, said.wall_ms, said.cpu_ms, said.max_rss_kib,
            said.output_bytes, report.gpus,
        )  # fmt: skip
        self.seen.add(replica)
        self.new.append(_New(replica, report, columns))

    def write(self, c: Coordinator) -> None:
        """Write the rows, which are gone from here then.

        Step by step for all of them, so that each step finds its code in the nearest cache.
        """
        new, now = self.new, c.now()
        payloads = [hashlib.sha256(one.report.payload).digest() for one in new]
        packed = [self._packed(c, one.report) for one in new]
        first = c.store.ledger.append([
            event(Kind.REPORT, now, id=str(one.report.statement.replica), sha256=encoded_digest(digest))
            for one, digest in zip(new, payloads, strict=True)
        ])
        reports, replicas = c.store.reports, c.store.replicas
        replicas.start(self.started)
        reports.insert([
            NewReport(one.replica, digest, body, one.report.signature, now)
            for one, digest, body in zip(new, payloads, packed, strict=True)
        ])
        reports.insert_carried([(one.replica, one.report.carried) for one in new if one.report.carried is not None])
        replicas.report([
            ReplicaReport._make((*one.columns, now, int(one.report.carried is not None), entry, one.replica))
            for entry, one in enumerate(new, first)
        ])
        names = {one.report.statement.replica for one in new}
        c.store.tasks.note_news(sorted({(name.job, name.task) for name in names}))
        self.started.clear()
        self.new.clear()

    def _class_of(self, c: Coordinator, job: int) -> str:
        if job not in self.classes:
            self.classes[job] = c.job(job).quorum.numeric_class.value
        return self.classes[job]

    def _packed(self, c: Coordinator, report: Report) -> bytes:
        job = report.statement.replica.job
        if job not in self.packers:
            self.packers[job] = Packer(dictionary_for(c, job, report.payload))
        return self.packers[job].pack(report.payload)


def columns_of(payload: bytes, document: bytes) -> dict[str, str | int | bytes | None] | None:
    """Return the columns that a statement makes of its replica, for one whose row is lost; None for another job's."""
    try:
        said = decode(payload)
    except VerificationError:
        return None
    if said.job_digest not in digests(document):
        return None
    execution = EXECUTION_OF[said.outcome]
    reason = signed_reason(said.detail)
    numeric_class = from_document(json.loads(document)).quorum.numeric_class.value
    return {
        "job_id": said.replica.job, "task": said.replica.task, "number": said.replica.number, "nonce": said.nonce,
        "host": said.host, "class": said.classes.get(numeric_class, ""), "isolation": said.isolation,
        "execution": execution.value, "reason": "" if reason is None else reason.stored(),
        "vote": bytes.fromhex(said.vote) if execution is Execution.REPORTED else None,
        "failure": failure_kind(said.outcome, said.exit_code) if execution is Execution.ERRORED else "",
        "exit_code": said.exit_code, "wall_ms": said.wall_ms, "cpu_ms": said.cpu_ms, "max_rss_kib": said.max_rss_kib,
        "output_bytes": said.output_bytes, "gpus": gpus_of(said), "machine": machine_of(said),
        "created_at": said.started_ms,
    }  # fmt: skip
