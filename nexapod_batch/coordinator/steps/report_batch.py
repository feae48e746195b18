"""The rows that reports become: collected, and written together inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.coordinator.evidence.report_reader import gpus_of, machine_of
from nexapod_batch.coordinator.evidence.stored_statements import Packer, dictionary_for
from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.document import digest, from_document
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


class ReportBatch(Struct):
    """Rows to write; `seen` are the replicas that had a report among them, whether it is written or not."""

    started: list[tuple[int, int, int, int]] = field(default_factory=list)  # job, task, number, node
    reports: list[NewReport] = field(default_factory=list)
    carried: list[tuple[int, bytes]] = field(default_factory=list)
    replicas: list[ReplicaReport] = field(default_factory=list)
    news: set[tuple[int, int]] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    packers: dict[int, Packer] = field(default_factory=dict)  # by job

    def add(self, c: Coordinator, replica: int, report: Report) -> None:
        """Add what a verified report makes of the replica of a row."""
        said, now = report.statement, c.now()
        job = said.replica.job
        sha256 = hashlib.sha256(report.payload).digest()
        if job not in self.packers:
            self.packers[job] = Packer(dictionary_for(c, job, report.payload))
        packed = self.packers[job].pack(report.payload)
        self.seen.add(replica)
        self.reports.append(NewReport(replica, sha256, packed, report.signature, now))
        if report.carried is not None:
            self.carried.append((replica, report.carried))
        self.news.add((job, said.replica.task))
        entry = event(Kind.REPORT, now, id=str(said.replica), sha256=encoded_digest(sha256))
        committed = c.store.ledger.append([entry])
        execution = EXECUTION_OF[said.outcome]
        vote = bytes.fromhex(said.vote) if execution is Execution.REPORTED else None
        failure = failure_kind(said.outcome, said.exit_code) if execution is Execution.ERRORED else ""
        reason = signed_reason(said.detail)
        numeric_class = said.classes.get(c.job(job).quorum.numeric_class.value, "")
        self.replicas.append(
            ReplicaReport(
                execution.value, "" if reason is None else reason.stored(), failure, said.exit_code, said.host,
                report.machine, numeric_class, said.isolation, vote, said.wall_ms, said.cpu_ms, said.max_rss_kib,
                said.output_bytes, report.gpus, now, int(report.carried is not None), committed, replica,
            )
        )  # fmt: skip

    def write(self, c: Coordinator) -> None:
        """Write the rows, which are gone from here then."""
        reports, replicas = c.store.reports, c.store.replicas
        replicas.start(self.started)
        reports.insert(self.reports)
        reports.insert_carried(self.carried)
        replicas.report(self.replicas)
        c.store.tasks.note_news(sorted(self.news))
        for rows in (self.started, self.reports, self.carried, self.replicas, self.news):
            rows.clear()


def columns_of(payload: bytes, document: bytes) -> dict[str, str | int | bytes | None] | None:
    """Return the columns that a statement makes of its replica, for one whose row is lost; None for another job's."""
    try:
        said = decode(payload)
    except VerificationError:
        return None
    if said.job_digest != digest(document):
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
