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
    vote_told,
)
from nexapod_batch.trust.statement_rules import check_fields, check_subjects

if TYPE_CHECKING:
    from nexapod_batch.trust.statement import ContainerUse, Statement, Subject

__all__ = ["encode"]


def encode(statement: Statement) -> bytes:
    """Return the one byte form of a statement; ValueError names the field that cannot be signed."""
    check_fields(statement)
    check_subjects(statement.subjects, manifest=statement.manifest)
    if statement.vote != vote_told(statement.subjects, manifest=statement.manifest, told=statement.vote):
        raise ValueError("the vote is not that of the subjects")
    try:
        return _encode(statement)
    except OverflowError as error:
        raise ValueError("started_ms or finished_ms lies behind the year 9999") from error


def _encode(s: Statement) -> bytes:
    """Build the document in sorted order of keys and dump it; sorting again costs little on sorted keys."""
    name = s.replica
    document = {
        "_type": STATEMENT_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "job": s.job_uuid,
                    "jobDigest": {"sha256": s.job_digest},
                    "jobId": name.job,
                    "nonce": s.nonce,
                    "quorum": {"agree": s.agree, "distinct": s.distinct},
                    "replica": name.number,
                    "task": name.task,
                },
                "internalParameters": {
                    "backend": s.backend,
                    "class": s.classes,
                    "detail": s.detail,
                    "exitCode": s.exit_code,
                    "host": s.host,
                    "isolation": s.isolation,
                    "nativeId": s.native_id,
                    "outcome": s.outcome.value,
                    "resources": {
                        "cpuMs": s.cpu_ms,
                        "maxRssKiB": s.max_rss_kib,
                        "outputBytes": s.output_bytes,
                        "wallMs": s.wall_ms,
                    },
                },
                "resolvedDependencies": [{"digest": {"sha256": digest}, "name": target} for target, digest in s.inputs],
            },
            "runDetails": {
                "builder": {"id": s.builder},
                "byproducts": [
                    {"digest": {"sha256": s.stdout_sha256}, "name": "stdout"},
                    {"digest": {"sha256": s.stderr_sha256}, "name": "stderr"},
                ],
                "metadata": {
                    "finishedOn": rfc3339(s.finished_ms),
                    "invocationId": str(name),
                    "startedOn": rfc3339(s.started_ms),
                },
            },
        },
        "predicateType": PREDICATE_TYPE,
        "subject": [_subject_document(subject, s) for subject in s.subjects],
    }
    if s.container is not None:
        _add_container(document["predicate"]["buildDefinition"], s.container)  # type: ignore[index]
    if s.gpus:
        internal = document["predicate"]["buildDefinition"]["internalParameters"]  # type: ignore[index]
        internal["gpus"] = [
            {
                "energyMj": one.energy_mj, "model": one.model, "peakMemoryMiB": one.peak_mib, "timeMs": one.time_ms,
                "uuid": one.uuid,
            }
            for one in s.gpus
        ]  # fmt: skip
    if s.machine is not None:
        document["predicate"]["buildDefinition"]["internalParameters"]["machine"] = {  # type: ignore[index]
            "boot": s.machine.boot, "bootedOn": rfc3339(s.machine.booted_ms), "id": s.machine.id,
        }  # fmt: skip
    if s.passed:
        document["predicate"]["buildDefinition"]["internalParameters"]["environment"] = dict(s.passed)  # type: ignore[index]
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _add_container(definition: dict[str, Any], used: ContainerUse) -> None:
    """Put the image before the inputs, which have a name and no URI, and say what ran it."""
    definition["resolvedDependencies"].insert(0, {"digest": {"sha256": used.sha256}, "uri": used.image})
    definition["internalParameters"]["runtime"] = {
        "mode": used.mode, "name": used.runtime, "network": used.network, "version": used.version,
    }  # fmt: skip


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
