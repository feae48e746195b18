"""From statement to signed bytes.

A statement has exactly one byte form: sorted keys, no white space, no field that is not read here, no value that
contradicts its copy elsewhere. `decode` refuses every other form, so that two readers cannot read two things out of
the same signed bytes: `encode(decode(payload)) == payload`. (It does not call `encode` for that, which would take a
tenth of a verification; a property test does.)
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.trust.statement import (
    BUILD_TYPE,
    EPOCH,
    MANIFEST_MEDIA,
    NORMALIZED,
    PREDICATE_TYPE,
    SIZE,
    STATEMENT_TYPE,
    vote_stated,
)
from nexapod_batch.trust.statement_rules import check_fields, check_subjects

if TYPE_CHECKING:
    from nexapod_batch.trust.statement import GpuUse, Statement, Subject

__all__ = ["encode"]


def encode(statement: Statement) -> bytes:
    """Return the one byte form of a statement; ValueError names the field that cannot be signed."""
    check_fields(statement)
    check_subjects(statement.subjects, manifest=statement.manifest)
    if statement.vote != vote_stated(statement.subjects, manifest=statement.manifest, vote=statement.vote):
        raise ValueError("the vote is not that of the subjects")
    try:
        return _encode(statement)
    except OverflowError as error:
        raise ValueError("started_ms or finished_ms lies behind the year 9999") from error


def _encode(s: Statement) -> bytes:
    """Build the document in sorted order of keys and dump it; sorting again costs little on sorted keys."""
    document = {
        "_type": STATEMENT_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(s),
                "internalParameters": _internal(s),
                "resolvedDependencies": _dependencies(s),
            },
            "runDetails": {
                "builder": {"id": s.builder},
                "byproducts": [
                    {"digest": {"sha256": s.stdout_sha256}, "name": "stdout"},
                    {"digest": {"sha256": s.stderr_sha256}, "name": "stderr"},
                ],
                "metadata": {
                    "finishedOn": rfc3339(s.finished_ms),
                    "invocationId": str(s.replica),
                    "startedOn": rfc3339(s.started_ms),
                },
            },
        },
        "predicateType": PREDICATE_TYPE,
        "subject": [_subject_document(subject, s) for subject in s.subjects],
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _external(s: Statement) -> dict[str, Any]:
    """Return which replica of which job it was."""
    found: dict[str, Any] = {
        "job": s.job_uuid,
        "jobDigest": {"sha256": s.job_digest},
        "jobId": s.replica.job,
        "nonce": s.nonce,
        "quorum": {"agree": s.agree, "distinct": s.distinct},
        "replica": s.replica.number,
        "task": s.replica.task,
    }
    if s.continues is not None:
        found["continues"] = {"files": dict(s.continues.files), "replica": s.continues.number}
    return found


def _resources(s: Statement) -> dict[str, int | None]:
    """Return what it took."""
    return {"cpuMs": s.cpu_ms, "maxRssKiB": s.max_rss_kib, "outputBytes": s.output_bytes, "wallMs": s.wall_ms}


def _internal(s: Statement) -> dict[str, Any]:
    """Return where and how it ran; what there was not is left out."""
    found: dict[str, Any] = {
        "backend": s.backend,
        "class": s.classes,
        "detail": s.detail,
        "exitCode": s.exit_code,
        "host": s.host,
        "isolation": s.isolation,
        "nativeId": s.native_id,
        "outcome": s.outcome.value,
        "resources": _resources(s),
    }
    if s.container is not None:
        used = s.container
        found["runtime"] = {
            "mode": used.mode, "name": used.runtime, "network": used.network, "version": used.version,
        }  # fmt: skip
    if s.machine is not None:
        found["machine"] = {"boot": s.machine.boot, "bootedOn": rfc3339(s.machine.booted_ms), "id": s.machine.id}
    if s.program is not None:
        found["program"] = {"file": s.program.file, "path": s.program.path, "sha256": s.program.sha256}
    return found | _seldom(s)


def _seldom(s: Statement) -> dict[str, Any]:
    """Return what few statements have of how it ran."""
    found: dict[str, Any] = {}
    if s.gpus:
        found["gpus"] = [_gpu(gpu) for gpu in s.gpus]
    if s.trail is not None:
        found["logTrail"] = {"head": s.trail.head, "notes": s.trail.notes}
    if s.possession:
        found["possession"] = s.possession
    if s.normalizers:
        found["normalizers"] = [
            {"command": list(command), "image": image, "output": output} for output, command, image in s.normalizers
        ]
    if s.passed:
        found["environment"] = dict(s.passed)
    if s.saved:
        found["saved"] = [saved._asdict() for saved in s.saved]
    return found


def _gpu(used: GpuUse) -> dict[str, Any]:
    return {
        "energyMj": used.energy_mj, "model": used.model, "peakMemoryMiB": used.peak_mib, "timeMs": used.time_ms,
        "uuid": used.uuid,
    }  # fmt: skip


def _dependencies(s: Statement) -> list[dict[str, Any]]:
    """Return the inputs; before them the image, which has a URI and no name."""
    found: list[dict[str, Any]] = [{"digest": {"sha256": digest}, "name": target} for target, digest in s.inputs]
    if s.container is not None:
        found.insert(0, {"digest": {"sha256": s.container.sha256}, "uri": s.container.image})
    return found


def _subject_document(subject: Subject, statement: Statement) -> dict[str, Any]:
    digest = {"sha256": subject.sha256}
    if statement.manifest:
        digest[NORMALIZED] = statement.vote
    elif subject.normalized is not None:
        digest[NORMALIZED] = subject.normalized
    document: dict[str, Any] = {"digest": digest, "name": subject.name}
    if subject.size is not None:
        document["annotations"] = {SIZE: subject.size}
    if statement.manifest:
        document["mediaType"] = MANIFEST_MEDIA
    return document


def rfc3339(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1024)  # replicas that ran together share their seconds
def _second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()
