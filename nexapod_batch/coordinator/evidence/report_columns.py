"""What a signed statement makes of the row of its replica."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from nexapod_batch.coordinator.evidence.report_reader import gpus_of, machine_of
from nexapod_batch.errors import VerificationError
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.document import digests, from_document
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import failure_kind
from nexapod_batch.trust.statement import Outcome, Statement, is_unread
from nexapod_batch.trust.statement_decoder import decode

__all__ = ["EXECUTION_OF", "Columns", "columns_of", "failure_of", "reported_columns", "signed_reason"]

#: Those of `ReplicaReport`, up to the time.
Columns: TypeAlias = tuple[Any, ...]

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


def failure_of(statement: Statement) -> str:
    """Return which kind of failure a node signed, as `quorum.failure_kind` spells it; "" for none.

    A replica that ended well has one where an output cannot be compared.
    """
    execution = EXECUTION_OF[statement.outcome]
    if execution is Execution.ERRORED:
        return failure_kind(statement.outcome, statement.exit_code)
    if execution is Execution.REPORTED and is_unread(statement.subjects):
        return failure_kind(Outcome.OUTPUT, None)
    return ""


def reported_columns(statement: Statement, machine: str, gpus: str | None, class_kind: str) -> Columns:
    """Return what a statement makes of its replica, where this kind of class counts; machine and GPUs as stored."""
    execution = EXECUTION_OF[statement.outcome]
    vote = bytes.fromhex(statement.vote) if execution is Execution.REPORTED else None
    reason = signed_reason(statement.detail)
    return (
        execution.value, "" if reason is None else reason.stored(), failure_of(statement), statement.exit_code,
        statement.host, machine, statement.classes.get(class_kind, ""), statement.isolation, vote, statement.wall_ms,
        statement.cpu_ms, statement.max_rss_kib, statement.output_bytes, gpus,
    )  # fmt: skip


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
        "failure": failure_of(said),
        "exit_code": said.exit_code, "wall_ms": said.wall_ms, "cpu_ms": said.cpu_ms, "max_rss_kib": said.max_rss_kib,
        "output_bytes": said.output_bytes, "gpus": gpus_of(said), "machine": machine_of(said),
        "created_at": said.started_ms,
    }  # fmt: skip
