"""One stored statement, checked again from its signed bytes: whose it is, what it is about, what was made of it.

`check_statement` is the one place that says whether a statement counts as evidence for a replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.coordinator.evidence.report_columns import EXECUTION_OF, failure_of, signed_reason
from nexapod_batch.coordinator.evidence.report_reader import machine_of
from nexapod_batch.errors import VerificationError
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.document import form_of
from nexapod_batch.model.reason import Code, Reason, same
from nexapod_batch.quorum.expected import Expected, Place
from nexapod_batch.trust.delegation import open_statement
from nexapod_batch.trust.keys import named_by
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.evidence.stored_statements import StoredReport
    from nexapod_batch.model.job import Job
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["OVERRULING", "check_about", "check_statement", "row_faults"]

#: Codes of reasons why a replica that has reported has no vote, though nothing is wrong with its statement.
OVERRULING = frozenset({Code.OVERRULED, Code.KEY_REVOKED, Code.NOT_POSSESSED})
#: Codes of reasons that come from statements alone.
_OF_STATEMENTS = frozenset({Code.SIGNED, Code.TWO_STATEMENTS})


def check_statement(
    job_row: JobRow, job: Job, row: ReplicaRow, keys: Mapping[str, bytes], report: StoredReport
) -> Statement:
    """Return what a stored report says of a replica; VerificationError unless its node says it, and of this one.

    `job_row` and `row` are what the database has of job and replica; `keys` are those that its node has and had.
    """
    for name, public in keys.items():
        if named_by(public) != name:
            raise VerificationError("a registered key is not what its id names", got=named_by(public), wanted=name)
    _, said = open_statement(report.envelope, report.delegation, keys)
    if report.given_by not in {"", said.builder}:  # whether a statement rests on a revoked key is asked by this id
        what = "the launch is stored as given by another key"
        raise VerificationError(what, got=report.given_by, wanted=said.builder)
    name = f"{row.job_id}_{row.task}.{row.number}"
    wanted = {
        "replica": (str(said.replica), name),
        "nonce": (said.nonce, row.nonce),
        "job": (said.job_uuid, job_row.uuid),
        "job digest": (said.job_digest, form_of(said.job_digest, job_row.digest, job)),
    }
    place = Place(backend=said.backend, host=None, given_ms=row.created_at, received_ms=report.received_ms)
    check_about(said, wanted, job, place)
    return said


def check_about(statement: Statement, wanted: Mapping[str, tuple[str, str]], job: Job, place: Place) -> None:
    """Raise VerificationError unless a statement is about this, and what an honest runner can have signed.

    `wanted` says by what it is told from others, what it says of that, and what it should say.
    """
    for what, (got, expected) in wanted.items():
        if got != expected:
            raise VerificationError(f"the statement is about another {what}", got=got, wanted=expected)
    if why := Expected(job).contradiction(statement, place):
        raise VerificationError(f"the statement contradicts the job: {sentence(why)}")


def row_faults(job: Job, row: ReplicaRow, statements: Sequence[Statement]) -> list[str]:
    """Return where the database says otherwise than the statements of a replica, in the order in which they came."""
    if not statements:
        return _unsigned_faults(row)
    wanted = _columns(job, statements[0])
    if len(statements) > 1:
        wanted |= {"voided": True, "execution": Execution.ERRORED.value}
        if not row.voided:
            return ["it signed two different statements, and is not void"]
    elif row.voided:
        return ["it is void, and the second of its statements is missing"]
    overruled = _is_overruled(row)
    if overruled and wanted["execution"] == Execution.REPORTED:  # which no node signs
        wanted["execution"] = Execution.ERRORED.value
    faults = [
        f"{column} is {_shown(getattr(row, column))}, and the statement says {_shown(value)}"
        for column, value in wanted.items()
        if getattr(row, column) != value
    ]
    if overruled:
        return faults
    signed = Reason(code=Code.TWO_STATEMENTS) if len(statements) > 1 else signed_reason(statements[0].detail)
    if not _is_reason_of(row, signed):
        found = sentence(Reason.parse(row.reason))
        faults.append(f"reason is {_shown(found)}, and the statement says {_shown(sentence(signed))}")
    return faults


def _is_overruled(row: ReplicaRow) -> bool:
    """Say whether the scheduler's word, a revocation, or a tag took the vote from a replica that has reported."""
    kept = Reason.parse(row.reason)
    return not row.voided and kept is not None and kept.code in OVERRULING


def _unsigned_faults(row: ReplicaRow) -> list[str]:
    """Return what the database says of a replica without a statement that only a statement can have told it."""
    if row.execution == Execution.REPORTED or row.wall_ms is not None:
        return ["its signed statement is missing"]
    if row.vote is not None or row.voided:
        return ["it has a vote, and no statement"]
    return []


def _is_reason_of(row: ReplicaRow, signed: Reason | None) -> bool:
    """Say whether the reason of a row is the signed one; that of a lost replica may have the backend's beside it."""
    kept = Reason.parse(row.reason)
    lost = row.execution == Execution.LOST
    if signed is None:  # then only a lost replica has a reason, and not one that comes from statements
        return kept is None or (lost and kept.code not in _OF_STATEMENTS)
    if kept is None:
        return False
    if kept.code == Code.IMPORTED:
        text, wanted = kept.parameters.get("text"), sentence(signed)
        return text == wanted or (lost and str(text).startswith(f"{wanted}; "))
    return same(_own_part(kept) if lost else kept, signed)


def _own_part(reason: Reason) -> Reason:
    """Return the reason of a lost replica without what its backend said beside it."""
    return Reason(code=reason.code, parameters={k: v for k, v in reason.parameters.items() if k != "also"})


def _columns(job: Job, statement: Statement) -> dict[str, Any]:
    """Return what a statement makes of its replica's row."""
    execution = EXECUTION_OF[statement.outcome]
    return {
        "execution": execution.value,
        "voided": False,
        "vote": bytes.fromhex(statement.vote) if execution is Execution.REPORTED else None,
        "failure": failure_of(statement),
        "exit_code": statement.exit_code,
        "host": statement.host,
        "machine": machine_of(statement),
        "numeric_class": statement.classes.get(job.quorum.numeric_class.value, ""),
        "isolation": statement.isolation,
        "wall_ms": statement.wall_ms,
        "cpu_ms": statement.cpu_ms,
        "max_rss_kib": statement.max_rss_kib,
        "output_bytes": statement.output_bytes,
        "gpus": orjson.dumps([gpu._asdict() for gpu in statement.gpus]).decode() if statement.gpus else None,
    }


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return repr(value)[:80]
