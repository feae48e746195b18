"""What a node says of one replica: an in-toto Statement v1 with SLSA provenance v1, and back.

A statement has exactly one byte form: sorted keys, no white space, no field that is not read here, no value that
contradicts its copy elsewhere. `decode` refuses every other form, so that two readers cannot read two things out of
the same signed bytes: `encode(decode(payload)) == payload`. (It does not call `encode` for that, which would take a
tenth of a verification; a property test does.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.fields import MAX_SUBJECTS, check_fields, check_subjects, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "BUILD_TYPE",
    "MAX_SUBJECTS",
    "NO_DIGEST",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Outcome",
    "Statement",
    "Subject",
    "decode",
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

_MANIFEST_MEDIA = "text/vnd.nexapod.manifest"  # tells it from an output that happens to be called `manifest`
_NORMALIZED = "nexapod-normalized"
_SIZE = "nexapod-size"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: everything here is UTC, and the Z is written by hand
_MS = timedelta(milliseconds=1)


#: How many members the objects of a statement have, in the order in which `_from_document` counts them.
_LENGTHS = (4, 2, 4, 3, 7, 9, 4, 3, 2, 1, 1, 2, 2, 1, 1)


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


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One output."""

    name: str  # relative path, or `manifest`
    sha256: str  # of the raw bytes, lower-case hex
    normalized: str | None = None  # digest after its comparator's rounding; NO_DIGEST for allclose
    size: int | None = None  # bytes


class Statement(NamedTuple):
    """Everything a node signs about one replica. Digests are lower-case hex, times milliseconds since 1970.

    A NamedTuple, not a frozen dataclass: of 27 fields the latter takes 5 us longer to make, a tenth of a verification.
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
    isolation: str  # none | container
    classes: Mapping[str, str]  # numeric class -> value
    outcome: Outcome
    detail: str  # for people; may be empty
    exit_code: int | None  # None when the command did not exit by itself
    wall_ms: int
    cpu_ms: int
    max_rss_kib: int
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


def _vote(subjects: tuple[Subject, ...], *, manifest: bool, told: str) -> str:
    """Return the vote that checked subjects stand for; a manifest carries it as its normalised digest, or is told."""
    return subjects[0].normalized or told if manifest else vote_of_subjects(subjects)


def encode(statement: Statement) -> bytes:
    """Return the one byte form of a statement; ValueError names the field that cannot be signed."""
    check_fields(statement)
    check_subjects(statement.subjects, manifest=statement.manifest)
    if statement.vote != _vote(statement.subjects, manifest=statement.manifest, told=statement.vote):
        raise ValueError("the vote is not that of the subjects")
    try:
        return _encode(statement)
    except OverflowError as error:
        raise ValueError("started_ms or finished_ms lies behind the year 9999") from error


def decode(payload: bytes) -> Statement:
    """Return the statement of a payload whose signature was verified.

    VerificationError for every payload that `encode` cannot make. Whether it belongs to the replica, node, nonce and
    job that it is offered for is the caller's question.
    """
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise VerificationError("statement is not JSON", got=str(error)) from error
    try:
        _expect(document, "_type", STATEMENT_TYPE)
        _expect(document, "predicateType", PREDICATE_TYPE)
        _expect(document["predicate"]["buildDefinition"], "buildType", BUILD_TYPE)
        statement = _from_document(document)
        check_fields(statement)
    except KeyError as error:
        raise VerificationError("statement lacks a field or a known word", got=f"{error.args[0]!r}"[:80]) from error
    except (TypeError, AttributeError, IndexError, OverflowError) as error:
        raise VerificationError("statement has a field of the wrong type", got=str(error)[:200]) from error
    except ValueError as error:
        raise VerificationError("statement has an impossible value", got=str(error)[:200]) from error
    if orjson.dumps(document, option=orjson.OPT_SORT_KEYS) != payload:
        raise VerificationError(
            "statement is not in canonical form", got="repeated keys, or another white space, order or spelling"
        )
    return statement


def _expect(document: Any, key: str, wanted: str) -> None:  # noqa: ANN401 - parsed JSON
    if document[key] != wanted:
        raise VerificationError(f"wrong {key}", got=repr(document[key])[:80], wanted=repr(wanted))


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
                    "finishedOn": _rfc3339(s.finished_ms),
                    "invocationId": str(name),
                    "startedOn": _rfc3339(s.started_ms),
                },
            },
        },
        "predicateType": PREDICATE_TYPE,
        "subject": [_subject_document(subject, s) for subject in s.subjects],
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _subject_document(subject: Subject, statement: Statement) -> dict[str, Any]:
    digest = {"sha256": subject.sha256}
    if statement.manifest:
        digest[_NORMALIZED] = statement.vote
    elif subject.normalized is not None:
        digest[_NORMALIZED] = subject.normalized
    document: dict[str, Any] = {"digest": digest, "name": subject.name}
    if subject.size is not None:
        document["annotations"] = {_SIZE: subject.size}
    if statement.manifest:
        document["mediaType"] = _MANIFEST_MEDIA
    return document


def _from_document(document: Any) -> Statement:  # noqa: ANN401 - parsed JSON
    definition, details = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    external, internal = definition["externalParameters"], definition["internalParameters"]
    resources, metadata, quorum = internal["resources"], details["metadata"], external["quorum"]
    stdout, stderr = details["byproducts"]
    subjects, inputs = document["subject"], definition["resolvedDependencies"]
    lengths = (
        len(document), len(document["predicate"]), len(definition), len(details), len(external), len(internal),
        len(resources), len(metadata), len(quorum), len(external["jobDigest"]), len(details["builder"]),
        len(stdout), len(stderr), len(stdout["digest"]), len(stderr["digest"]),
    )  # fmt: skip
    if lengths != _LENGTHS or not (type(subjects) is type(inputs) is type(quorum["distinct"]) is list):
        raise VerificationError("statement is not in canonical form", got="unknown fields")
    if stdout["name"] != "stdout" or stderr["name"] != "stderr":
        raise ValueError("byproducts are stdout and stderr, in this order")
    replica = ReplicaName(external["jobId"], external["task"], external["replica"])
    if metadata["invocationId"] != str(replica):
        raise ValueError(f"invocationId is {metadata['invocationId']!r:.40}, wanted {replica!s:.80}")
    manifest = len(subjects) == 1 and subjects[0].get("mediaType") == _MANIFEST_MEDIA
    found = tuple([_subject(one, manifest=manifest) for one in subjects])
    check_subjects(found, manifest=manifest)  # before names are encoded for the vote
    return Statement(
        job_uuid=external["job"],
        job_digest=external["jobDigest"]["sha256"],
        replica=replica,
        nonce=external["nonce"],
        agree=quorum["agree"],
        distinct=tuple(quorum["distinct"]),
        backend=internal["backend"],
        native_id=internal["nativeId"],
        host=internal["host"],
        isolation=internal["isolation"],
        classes=internal["class"],
        outcome=_OUTCOMES[internal["outcome"]],
        detail=internal["detail"],
        exit_code=internal["exitCode"],
        wall_ms=resources["wallMs"],
        cpu_ms=resources["cpuMs"],
        max_rss_kib=resources["maxRssKiB"],
        output_bytes=resources["outputBytes"],
        started_ms=_milliseconds(metadata["startedOn"]),
        finished_ms=_milliseconds(metadata["finishedOn"]),
        builder=details["builder"]["id"],
        subjects=found,
        manifest=manifest,
        inputs=tuple([_input(one) for one in inputs]),
        stdout_sha256=stdout["digest"]["sha256"],
        stderr_sha256=stderr["digest"]["sha256"],
        vote=_vote(found, manifest=manifest, told=""),
    )


def _subject(document: Any, *, manifest: bool) -> Subject:  # noqa: ANN401 - parsed JSON
    digest, size = document["digest"], None
    normalized = digest.get(_NORMALIZED)
    known = 3 if manifest else 2
    if "annotations" in document:
        size = document["annotations"][_SIZE]
        known += 1
        if len(document["annotations"]) != 1 or size is None:
            raise VerificationError("statement is not in canonical form", got="unknown annotations")
    if len(document) != known or len(digest) != (1 if normalized is None else 2):
        raise VerificationError("statement is not in canonical form", got="unknown fields of a subject")
    return Subject(name=document["name"], sha256=digest["sha256"], normalized=normalized, size=size)


def _input(document: Any) -> tuple[str, str]:  # noqa: ANN401 - parsed JSON
    if len(document) != 2 or len(document["digest"]) != 1:
        raise VerificationError("statement is not in canonical form", got="unknown fields of an input")
    return document["name"], document["digest"]["sha256"]


def _rfc3339(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1024)  # replicas that ran together share their seconds
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


def _milliseconds(text: str) -> int:
    """Return the time that `_rfc3339` wrote; other spellings fail here or in the comparison of bytes."""
    moment = datetime.fromisoformat(text[:-1]) if text.endswith("Z") else None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(f"time {text!r:.40}, wanted 2026-11-23T11:00:20.123Z")
    ms = (moment - _EPOCH) // _MS
    if text != _rfc3339(ms):
        raise ValueError(f"time {text!r:.40}, wanted {_rfc3339(ms)}")
    return ms
