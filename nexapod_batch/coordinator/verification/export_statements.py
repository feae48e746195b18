"""The statements of one exported task: whose they are, what they are about, and what votes they make.

Signatures, job, replica and answer come from the statements; where a replica counts, and what became of one without a
statement, is the coordinator's word.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.evidence.report_columns import EXECUTION_OF, failure_of
from nexapod_batch.coordinator.evidence.report_reader import machine_of
from nexapod_batch.coordinator.verification.statements import OVERRULING, check_about
from nexapod_batch.errors import VerificationError
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.document import form_of
from nexapod_batch.model.job import Domain, Isolation
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Vote
from nexapod_batch.quorum.expected import Place, isolation_at_least
from nexapod_batch.quorum.machines import Boot
from nexapod_batch.trust.delegation import open_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.evidence.export_format import ExportedReplica, ExportedVerdict
    from nexapod_batch.coordinator.verification.export_files import ExportedFiles
    from nexapod_batch.model.job import Job
    from nexapod_batch.trust.statement import Statement

__all__ = ["FoundStatement", "domain_faults", "open_statements", "reason_of", "vote_faults", "vote_of_replica"]


class FoundStatement(NamedTuple):
    """A statement that its node signed."""

    said: Statement
    sha256: str  # of the bytes that were signed


def open_statements(
    files: ExportedFiles,
    word: ExportedVerdict,
    job: Job,
    task: int,
    replica: ExportedReplica,
    keys: Mapping[str, bytes],
) -> list[FoundStatement]:
    """Return the statements of a replica; VerificationError unless its node says them of it, and of nothing else."""
    name = f"{word.job}_{task}.{replica.number}"
    known = {key: keys[key] for key in replica.keys if key in keys}
    delegation = files.read(f"{name}.delegation.json") if f"{name}.delegation.json" in files.names else None
    found: list[FoundStatement] = []
    for number in range(1, replica.statements + 1):
        file = f"{name}.dsse.json" if number == 1 else f"{name}.{number}.dsse.json"
        if file not in files.names:
            raise VerificationError(f"{file} is missing, and {replica.statements} statements had come in")
        opened, said = open_statement(files.read(file).rstrip(b"\n"), delegation, known)
        _check(said, word, name, job)
        found.append(FoundStatement(said, hashlib.sha256(opened.payload).hexdigest()))
    if len({one.sha256 for one in found}) < len(found):
        raise VerificationError("two of its statements are the same one")
    return found


def _check(said: Statement, word: ExportedVerdict, name: str, job: Job) -> None:
    """Raise VerificationError unless a statement is about this replica, and what an honest runner can have signed."""
    wanted = {
        "replica": (str(said.replica), name),
        "job": (said.job_uuid, word.uuid),
        "job digest": (said.job_digest, form_of(said.job_digest, word.digest, job)),
    }
    # when it was given and when it reported is not exported
    place = Place(backend=said.backend, host=None, given_ms=said.started_ms, received_ms=said.finished_ms)
    check_about(said, wanted, job, place)


def vote_faults(replica: ExportedReplica, statements: Sequence[FoundStatement]) -> list[str]:
    """Return where the coordinator's word on a replica is not what its node signed."""
    if not statements:
        if replica.execution == Execution.REPORTED:
            return ["it is said to have reported, and there is no statement"]
        return []
    wanted = EXECUTION_OF[statements[0].said.outcome]
    overruled = replica.why is not None and replica.why.get("code") in OVERRULING
    if len(statements) > 1 or (overruled and wanted is Execution.REPORTED):
        wanted = Execution.ERRORED
    if replica.execution == wanted:
        return []
    return [f"it is said to have {replica.execution}, and its node signed that it {wanted}"]


def domain_faults(
    replicas: Sequence[ExportedReplica], statements: Mapping[int, Sequence[FoundStatement]]
) -> list[str]:
    """Return which replicas are said to count at different nodes, sites or owners, and were signed for by one key."""
    known: dict[str, tuple[int, dict[str, str]]] = {}
    faults = []
    for replica in replicas:
        where = {name: replica.domain.get(name, "") for name in ("node", "site", "owner")}
        for one in statements[replica.number]:
            number, other = known.setdefault(one.said.builder, (replica.number, where))
            if where != other:
                faults.append(f"replicas {number} and {replica.number} are of one key, and are said to be of two nodes")
    return faults


def vote_of_replica(job: Job, replica: ExportedReplica, statements: Sequence[FoundStatement]) -> Vote:
    """Return a replica as the quorum checker sees it; ValueError for a word that is none of ours."""
    vote = Vote(
        number=replica.number,
        domain={Domain(name): value for name, value in replica.domain.items()},
        execution=Execution(replica.execution),
        detail=reason_of(replica.why),
        no_vote=reason_of(replica.no_vote),
        account=replica.account,
        beside=replica.beside,
        run_by=replica.run_by,
    )
    if not statements:
        return vote
    said, fields = statements[0].said, vote.__struct_fields__
    values = {name: getattr(vote, name) for name in fields}
    execution = EXECUTION_OF[said.outcome]
    values["voided"] = len(statements) > 1
    values["where"] = said.host
    values["machine"] = Boot.parse(machine_of(said))
    if execution is Execution.REPORTED:
        values["answer"] = bytes.fromhex(said.vote)
    values["failure"] = failure_of(said)
    least = job.quorum.min_isolation
    if execution is Execution.REPORTED and not isolation_at_least(said.isolation or Isolation.NONE, least):
        parameters = {"isolation": said.isolation, "wanted": least}
        values["no_vote"] = Reason(code=Code.TOO_LITTLE_ISOLATION, parameters=parameters)
    return Vote(**values)


def reason_of(data: Mapping[str, object] | None) -> Reason | None:
    """Return a reason of an export; ValueError for what is none."""
    if data is None:
        return None
    code, parameters = data.get("code"), data.get("parameters")
    if not isinstance(code, str) or not isinstance(parameters, dict):
        raise ValueError("a reason has a code and parameters")  # noqa: TRY004 - whatever JSON spells
    return Reason(code=code, parameters=parameters)
