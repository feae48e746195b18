"""What a node says of one replica: an in-toto Statement v1 with SLSA provenance v1, and back.

A statement has exactly one byte form: sorted keys, no white space, no field that is not read here, no value that
contradicts its copy elsewhere. `decode` refuses every other form, so that two readers cannot read two things out of
the same signed bytes: `encode(decode(payload)) == payload`. (It does not call `encode` for that, which would take a
tenth of a verification; a property test does.)
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.trust.statement_rules import MAX_SUBJECTS, check_fields, check_subjects, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nexapod_batch.model.replica import ReplicaName

__all__ = [
    "BUILD_TYPE",
    "MAX_SUBJECTS",
    "NO_DIGEST",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "ContainerUse",
    "GpuUse",
    "Machine",
    "Outcome",
    "Statement",
    "Subject",
    "encode",
    "safe_name",
    "vote_of",
    "vote_of_subjects",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:nexapod-batch:replica:1"

#: Normalised digest of an output that is compared by value (allclose): present, but no part of the equality.
NO_DIGEST = "0" * 64

MANIFEST_MEDIA = "text/vnd.nexapod.manifest"  # tells it from an output that happens to be called `manifest`
NORMALIZED = "nexapod-normalized"
SIZE = "nexapod-size"
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: everything here is UTC, and the Z is written by hand


class Outcome(StrEnum):
    """How a replica ended, in the runner's words. Only `ok` is a vote."""

    OK = "ok"
    FAILED = "failed"  # the command's exit code is not 0
    TIME = "time"  # over its own limit
    MEMORY = "memory"
    DISK = "disk"
    OUTPUT = "output"  # a declared output is missing, unsafe or not what its comparator reads
    INPUT = "input"  # an input is missing or has another digest
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"  # the infrastructure took the node away
    NODE = "node"  # the node could not run it: no fault of the task


class Subject(NamedTuple):
    """One output."""

    name: str  # relative path, or `manifest`
    sha256: str  # of the raw bytes, lower-case hex
    normalized: str | None = None  # digest after its comparator's rounding; NO_DIGEST for allclose
    size: int | None = None  # bytes


class ContainerUse(NamedTuple):
    """The container that a command ran in."""

    image: str  # as the descriptor names it
    sha256: str  # of the image file
    runtime: str  # program: apptainer | singularity
    version: str  # as the program says it
    mode: str  # which of its ways: setuid | userns | root, and what else is worth knowing after a +
    network: str  # none | host


class GpuUse(NamedTuple):
    """What a replica used one GPU for; None: nobody can tell."""

    uuid: str  # as its driver spells it; an index where no driver tells
    model: str  # as its driver calls it; "" where none tells
    time_ms: int | None = None  # in which programs of the replica ran on it
    peak_mib: int | None = None  # of its memory
    energy_mj: int | None = None  # of the whole GPU meanwhile


class Machine(NamedTuple):
    """The machine that a runner ran on, by its kernel and its system: hashes, which tell nothing to who reads them.

    They are made for one job: the same machine has others in another job.
    """

    boot: str  # of the kernel's id of this boot, which containers on one machine share; 32 hex digits
    booted_ms: int  # when that was
    id: str  # of /etc/machine-id, which outlasts boots, and which copies of one system image share; "" for none


class Statement(NamedTuple):
    """Everything a node signs about one replica. Digests are lower-case hex, times milliseconds since 1970.

    Name every field when making one.
    """

    job_uuid: str
    job_digest: str  # SHA-256 of the canonical job document
    replica: ReplicaName
    nonce: str  # 32 hex digits, from the bundle
    agree: int  # the quorum policy that the node was told
    distinct: tuple[str, ...]
    backend: str
    native_id: str  # what the scheduler calls the launch; may be empty
    host: str  # the node's own word
    isolation: str  # none | files | container
    classes: Mapping[str, str]  # numeric class -> value
    outcome: Outcome
    detail: str  # for people; may be empty
    exit_code: int | None  # None when the command did not exit by itself
    wall_ms: int
    cpu_ms: int | None  # None: nobody measured it, as of ranks that a launcher started
    max_rss_kib: int | None
    output_bytes: int
    started_ms: int
    finished_ms: int
    builder: str  # key id of the node
    subjects: tuple[Subject, ...]
    manifest: bool  # the one subject is the manifest of more than MAX_SUBJECTS outputs
    inputs: tuple[tuple[str, str], ...]  # (target, sha256)
    stdout_sha256: str
    stderr_sha256: str
    vote: str  # what is compared: see vote_of
    container: ContainerUse | None = None  # None: the command ran as it is
    gpus: tuple[GpuUse, ...] = ()  # that it had
    machine: Machine | None = None  # None: nobody could tell
    passed: tuple[tuple[str, str], ...] = ()  # variables that it had of its site's: name and SHA-256, sorted


def vote_of(entries: Iterable[tuple[str, str]]) -> str:
    """Return the hex SHA-256 of `<hex>  <name>` lines in bytewise order of the names.

    `entries` are (name, digest): the normalised digest where there is one, else the raw one, NO_DIGEST for allclose.
    With raw digests only it equals the digest of the manifest.
    """
    lines = [b"%b  %b\n" % (digest.encode(), name) for name, digest in sorted((n.encode(), d) for n, d in entries)]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def vote_of_subjects(subjects: Sequence[Subject]) -> str:
    """Return the vote that a list of outputs (not a manifest) stands for."""
    if len(subjects) == 1:  # most statements: nothing to sort
        (one,) = subjects
        return hashlib.sha256(f"{one.normalized or one.sha256}  {one.name}\n".encode()).hexdigest()
    return vote_of((subject.name, subject.normalized or subject.sha256) for subject in subjects)


def vote_told(subjects: tuple[Subject, ...], *, manifest: bool, told: str) -> str:
    """Return the vote that checked subjects stand for; a manifest carries it as its normalised digest, or is told."""
    return subjects[0].normalized or told if manifest else vote_of_subjects(subjects)


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
