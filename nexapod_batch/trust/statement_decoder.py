"""Reading statements: `decode` returns what a payload says, or refuses it.

`encode(decode(payload)) == payload`: every other byte form is refused, so that two readers cannot read two things out
of the same signed bytes. What is spelled as nearly all payloads are is read by one pattern (`common_statement`);
everything else by the types of its fields (`statement_document`). Property tests hold the two ways together.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import UNSET, DecodeError, UnsetType, ValidationError

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.job import Program
from nexapod_batch.model.replica import Continuation, ReplicaName
from nexapod_batch.trust.common_statement import read_common
from nexapod_batch.trust.nesting import MAX_DEPTH, depth_within, quoted
from nexapod_batch.trust.statement import (
    EPOCH,
    ContainerUse,
    GpuUse,
    LogTrail,
    Machine,
    Normalizer,
    SavedFile,
    Statement,
    Subject,
    vote_stated,
)
from nexapod_batch.trust.statement_document import read, write
from nexapod_batch.trust.statement_encoder import rfc3339
from nexapod_batch.trust.statement_rules import check_fields, check_subjects

if TYPE_CHECKING:
    from nexapod_batch.trust.statement_document import (
        ContinuationObject,
        Dependency,
        Document,
        Gpu,
        LogTrailObject,
        MachineObject,
        NormalizerObject,
        Output,
        ProgramObject,
        RuntimeObject,
        SavedFileObject,
    )

__all__ = ["decode", "read_any"]

_MS = timedelta(milliseconds=1)


def decode(payload: bytes) -> Statement:
    """Return the statement of a payload whose signature was verified.

    VerificationError for every payload that `encode` cannot make. Whether it belongs to the replica, node, nonce and
    job that it is offered for is the caller's question.
    """
    return read_common(payload) or read_any(payload)


def read_any(payload: bytes) -> Statement:
    """Read a payload by the types of its fields, and hold the values to the rules.

    Raises:
        VerificationError: It is no statement, or has a value that no statement has.

    """
    if not depth_within(payload):
        raise VerificationError("statement is not JSON", got=f"nested more than {MAX_DEPTH} deep")
    try:
        document = read(payload)
    except ValidationError as error:
        got = quoted(str(error), 200)
        raise VerificationError("statement lacks a field, or has an unknown one or another type", got=got) from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise VerificationError("statement is not JSON", got=quoted(str(error), 200)) from error
    try:
        statement = _statement(document)
        check_fields(statement)
    except (ValueError, OverflowError) as error:
        raise VerificationError("statement has an impossible value", got=str(error)[:200]) from error
    if write(document) != payload:
        raise VerificationError(
            "statement is not in canonical form", got="repeated keys, or another white space, order or spelling"
        )
    return statement


def _statement(document: Document) -> Statement:
    """Return the statement that a document is; ValueError for what contradicts itself, or cannot be.

    Subjects are checked here: before names are encoded for the vote.
    """
    definition, details = document.predicate.build_definition, document.predicate.run_details
    external, internal = definition.external_parameters, definition.internal_parameters
    resources, metadata = internal.resources, details.metadata
    stdout, stderr = details.byproducts
    replica = ReplicaName(external.job_id, external.task, external.replica)
    if metadata.invocation_id != str(replica):
        raise ValueError(f"invocationId is {quoted(metadata.invocation_id, 40)}, wanted {replica!s:.80}")
    manifest = len(document.subject) == 1 and document.subject[0].media_type is not UNSET
    subjects = tuple([_subject(one, manifest=manifest) for one in document.subject])
    check_subjects(subjects, manifest=manifest)
    container, inputs = _dependencies(definition.resolved_dependencies, internal.runtime)
    return Statement(
        job_uuid=external.job,
        job_digest=external.job_digest.sha256,
        replica=replica,
        nonce=external.nonce,
        agree=external.quorum.agree,
        distinct=tuple(external.quorum.distinct),
        backend=internal.backend, native_id=internal.native_id, host=internal.host, isolation=internal.isolation,
        classes=internal.classes,
        outcome=internal.outcome, detail=internal.detail, exit_code=internal.exit_code,
        wall_ms=resources.wall_ms, cpu_ms=resources.cpu_ms, max_rss_kib=resources.max_rss_kib,
        output_bytes=resources.output_bytes,
        started_ms=_milliseconds(metadata.started_on), finished_ms=_milliseconds(metadata.finished_on),
        builder=details.builder.id,
        subjects=subjects, manifest=manifest, inputs=inputs,
        stdout_sha256=stdout.digest.sha256, stderr_sha256=stderr.digest.sha256,
        vote=vote_stated(subjects, manifest=manifest, vote=""),
        container=container,
        gpus=_gpus(internal.gpus), machine=_machine(internal.machine),
        passed=_passed(internal.environment), program=_program(internal.program),
        trail=_trail(internal.log_trail),
        continues=_continuation(external.continues), saved=_saved(internal.saved),
        possession=_possession(internal.possession), normalizers=_normalizers(internal.normalizers),
    )  # fmt: skip


def _subject(output: Output, *, manifest: bool) -> Subject:
    if (output.media_type is not UNSET) != manifest:
        raise ValueError("a manifest is the only subject")
    normalized, annotations = output.digest.normalized, output.annotations
    return Subject(
        name=output.name,
        sha256=output.digest.sha256,
        normalized=None if isinstance(normalized, UnsetType) else normalized,
        size=None if isinstance(annotations, UnsetType) else annotations.size,
    )


def _dependencies(
    listed: list[Dependency], runtime: RuntimeObject | UnsetType
) -> tuple[ContainerUse | None, tuple[tuple[str, str], ...]]:
    """Return the container and the inputs: with a container its image comes first."""
    container = None
    if not isinstance(runtime, UnsetType):
        if not listed or isinstance(listed[0].uri, UnsetType) or listed[0].name is not UNSET:
            raise ValueError("the first dependency is not the image of the container")
        container = ContainerUse(
            image=listed[0].uri,
            sha256=listed[0].digest.sha256,
            runtime=runtime.name,
            version=runtime.version,
            mode=runtime.mode,
            network=runtime.network,
        )
        listed = listed[1:]
    inputs = []
    for one in listed:
        if isinstance(one.name, UnsetType) or one.uri is not UNSET:
            raise ValueError("an input has no name, or a URI")
        inputs.append((one.name, one.digest.sha256))
    return container, tuple(inputs)


def _gpus(listed: list[Gpu] | UnsetType) -> tuple[GpuUse, ...]:
    if isinstance(listed, UnsetType):
        return ()
    if not listed:
        raise ValueError("gpus is empty")
    return tuple([GpuUse(one.uuid, one.model, one.time_ms, one.peak_memory_mib, one.energy_mj) for one in listed])


def _machine(machine: MachineObject | UnsetType) -> Machine | None:
    if isinstance(machine, UnsetType):
        return None
    return Machine(machine.boot, _milliseconds(machine.booted_on), machine.id)


def _program(program: ProgramObject | UnsetType) -> Program | None:
    if isinstance(program, UnsetType):
        return None
    return Program(program.file, program.path, program.sha256)


def _trail(trail: LogTrailObject | UnsetType) -> LogTrail | None:
    if isinstance(trail, UnsetType):
        return None
    return LogTrail(trail.notes, trail.head)


def _continuation(continues: ContinuationObject | UnsetType) -> Continuation | None:
    if isinstance(continues, UnsetType):
        return None
    return Continuation(continues.replica, tuple(sorted(continues.files.items())))


def _saved(listed: list[SavedFileObject] | UnsetType) -> tuple[SavedFile, ...]:
    if isinstance(listed, UnsetType):
        return ()
    if not listed:
        raise ValueError("saved is empty")
    return tuple([SavedFile(one.name, one.sha256, one.size) for one in listed])


def _possession(tag: str | UnsetType) -> str:
    if isinstance(tag, UnsetType):
        return ""
    if not tag:
        raise ValueError("possession is empty")
    return tag


def _normalizers(listed: list[NormalizerObject] | UnsetType) -> tuple[Normalizer, ...]:
    if isinstance(listed, UnsetType):
        return ()
    if not listed:
        raise ValueError("normalizers is empty")
    return tuple([Normalizer(one.output, tuple(one.command), one.image) for one in listed])


def _passed(variables: dict[str, str] | UnsetType) -> tuple[tuple[str, str], ...]:
    if isinstance(variables, UnsetType):
        return ()
    if not variables:
        raise ValueError("environment is empty")
    return tuple(sorted(variables.items()))


def _milliseconds(text: str) -> int:
    """Return the time that `rfc3339` wrote; other spellings fail here or in the comparison of bytes."""
    moment = datetime.fromisoformat(text[:-1]) if text.endswith("Z") else None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(f"time {quoted(text, 40)}, wanted 2026-11-23T11:00:20.123Z")
    ms = (moment - EPOCH) // _MS
    if text != rfc3339(ms):
        raise ValueError(f"time {quoted(text, 40)}, wanted {rfc3339(ms)}")
    return ms
