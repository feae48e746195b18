"""What a node says of one replica: an in-toto Statement v1 with SLSA provenance v1, and back.

A statement has exactly one byte form. `decode` re-encodes what it understood and compares, so that duplicate keys,
unknown fields, NaN, floats, odd white space and contradicting copies of a value are refused by one rule, and two readers
cannot read two things out of the same signed bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import ReplicaName

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

#: With more outputs than this the subject is the manifest alone.
MAX_SUBJECTS = 100

#: Normalised digest of an output that is compared by value (allclose): present, but no part of the equality.
NO_DIGEST = "0" * 64

MANIFEST = "manifest"
_MANIFEST_MEDIA = "text/vnd.nexapod.manifest"  # tells it from an output that happens to be called `manifest`
_NORMALIZED = "nexapod-normalized"
_SIZE = "nexapod-size"
_MAX_INT = (1 << 53) - 1  # what every JSON reader keeps exactly
_MAX_TEXT = 1000  # characters of a host name, a detail, ...
_MAX_NAME = 4096  # bytes of a path
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: everything here is UTC, and the Z is written by hand
_MS = timedelta(milliseconds=1)

_hex64 = re.compile(r"[0-9a-f]{64}").fullmatch
_word = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}").fullmatch
_bad_part = re.compile(r"(?:^|/)(?:\.{0,2})(?:/|$)").search


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


def safe_name(name: str) -> bool:
    """Say whether `name` is a relative path without `.`, `..` and control characters, at most 4,096 bytes of UTF-8."""
    # isprintable() also refuses some harmless blanks; lone surrogates (names that are no UTF-8) are not printable.
    if not name or _bad_part(name) or len(name) > _MAX_NAME:
        return False
    return (name.isascii() and name.isprintable()) or (_utf8_length(name) <= _MAX_NAME and not _control(name))


def encode(statement: Statement) -> bytes:
    """Return the one byte form of a statement; ValueError names the field that cannot be signed."""
    _check(statement)
    _check_subjects(statement.subjects, manifest=statement.manifest)
    if statement.vote != _vote(statement.subjects, manifest=statement.manifest, told=statement.vote):
        raise ValueError("the vote is not that of the subjects")
    return _encode(statement)


def decode(payload: bytes) -> Statement:
    """Return the statement of a payload whose signature was verified; VerificationError for any that `encode` cannot make.

    Whether it belongs to the replica, node, nonce and job that it is offered for is the caller's question.
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
        _check(statement)
        again = _encode(statement)
    except KeyError as error:
        raise VerificationError("statement lacks a field", got=f"no {error.args[0]!r}"[:80]) from error
    except (TypeError, AttributeError, IndexError, OverflowError) as error:
        raise VerificationError("statement has a field of the wrong type", got=str(error)[:200]) from error
    except ValueError as error:
        raise VerificationError("statement has an impossible value", got=str(error)[:200]) from error
    if again != payload:
        raise VerificationError(
            "statement is not in canonical form",
            got="unknown or repeated keys, contradicting copies of a value, or other white space, order or numbers",
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
    subjects = document["subject"]
    manifest = len(subjects) == 1 and subjects[0].get("mediaType") == _MANIFEST_MEDIA
    found = tuple([
        Subject(
            name=one["name"],
            sha256=one["digest"]["sha256"],
            normalized=one["digest"].get(_NORMALIZED),
            size=one["annotations"][_SIZE] if "annotations" in one else None,
        )
        for one in subjects
    ])
    _check_subjects(found, manifest=manifest)  # before names are encoded for the vote
    return Statement(
        job_uuid=external["job"],
        job_digest=external["jobDigest"]["sha256"],
        replica=ReplicaName(external["jobId"], external["task"], external["replica"]),
        nonce=external["nonce"],
        agree=quorum["agree"],
        distinct=tuple(quorum["distinct"]),
        backend=internal["backend"],
        native_id=internal["nativeId"],
        host=internal["host"],
        isolation=internal["isolation"],
        classes=internal["class"],
        outcome=Outcome(internal["outcome"]),
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
        inputs=tuple([(one["name"], one["digest"]["sha256"]) for one in definition["resolvedDependencies"]]),
        stdout_sha256=stdout["digest"]["sha256"],
        stderr_sha256=stderr["digest"]["sha256"],
        vote=_vote(found, manifest=manifest, told=""),
    )


_INTEGERS = (
    "replica.job", "replica.task", "replica.number", "agree", "wall_ms", "cpu_ms", "max_rss_kib", "output_bytes",
    "started_ms", "finished_ms",
)  # fmt: skip
_TEXTS = ("job_uuid", "native_id", "host", "detail")
_SPELLED = {  # field -> the one way to spell it; no pattern takes a newline, so that all can be tried in one match
    "job_digest": r"[0-9a-f]{64}",
    "stdout_sha256": r"[0-9a-f]{64}",
    "stderr_sha256": r"[0-9a-f]{64}",
    "vote": r"[0-9a-f]{64}",
    "nonce": r"[0-9a-f]{32}",
    "builder": r"SHA256:[A-Za-z0-9+/]{43}",
    "backend": r"[a-z0-9][a-z0-9_-]{0,63}",
    "isolation": r"none|container",
}
_integers, _texts, _spelled = attrgetter(*_INTEGERS), attrgetter(*_TEXTS), attrgetter(*_SPELLED)
_all_spelled = re.compile("\n".join(f"(?:{pattern})" for pattern in _SPELLED.values())).fullmatch


def _check(s: Statement) -> None:
    """Raise ValueError or TypeError unless every value but the subjects may be signed: used on both sides.

    Every statement that is ingested passes here, so that values are tried together and one by one only to name a fault.
    """
    numbers = _integers(s)
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > _MAX_INT:
        fault = next(f"{f} is {n!r:.40}" for f, n in zip(_INTEGERS, numbers, strict=True) if not _whole(n))
        raise ValueError(f"{fault}, wanted a whole number from 0 to 2^53 - 1")
    texts = _texts(s)
    if not "".join(texts).isprintable() or max(map(len, texts)) > _MAX_TEXT:
        fault = next(f"{f} is {text!r:.40}" for f, text in zip(_TEXTS, texts, strict=True) if not _printable(text))
        raise ValueError(f"{fault}, wanted at most {_MAX_TEXT} printable characters")
    words = _spelled(s)
    if not _all_spelled("\n".join(words)):
        pairs = zip(_SPELLED.items(), words, strict=True)
        fault = next(f"{f} is {word!r:.80}" for (f, pattern), word in pairs if not re.fullmatch(pattern, word))
        raise ValueError(f"{fault}, which is not how one is spelled")
    if not (s.replica.job and s.replica.number and s.agree and s.job_uuid):
        raise ValueError("job, replica and agree start at 1, and a job has a uuid")
    if s.exit_code is not None and not _whole(abs(s.exit_code)):
        raise ValueError(f"exit_code is {s.exit_code!r:.40}, wanted a whole number or nothing")
    if not s.distinct or not all(map(_word, s.distinct)):
        raise ValueError("distinct is empty or holds something that is no word")
    if type(s.classes) is not dict:
        raise TypeError("class is no object")
    for key, value in s.classes.items():
        if not _word(key) or not _printable(value):
            raise ValueError(f"class {key!r:.40} is {value!r:.40}, wanted printable text")
    for target, digest in s.inputs:
        if not safe_name(target) or not _hex64(digest):
            raise ValueError(f"input {target!r:.80} has an unsafe name or no digest")


def _whole(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT


def _printable(value: object) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT and value.isprintable()


def _check_subjects(subjects: tuple[Subject, ...], *, manifest: bool) -> None:
    for subject in subjects:
        _check_subject(subject)
    if manifest:
        if len(subjects) != 1 or subjects[0].name != MANIFEST:
            raise ValueError("a manifest is the only subject, and is called manifest")
    elif not 0 < len(subjects) <= MAX_SUBJECTS:
        raise ValueError(f"{len(subjects)} subjects, wanted 1 to {MAX_SUBJECTS}, or the manifest")
    elif len(subjects) > 1 and len({subject.name for subject in subjects}) != len(subjects):
        raise ValueError("two subjects have the same name")


def _check_subject(subject: Subject) -> None:
    if not safe_name(subject.name):
        raise ValueError(f"subject {subject.name!r:.80} is no plain relative path")
    if not _hex64(subject.sha256) or not (subject.normalized is None or _hex64(subject.normalized)):
        raise ValueError(f"subject {subject.name!r:.80} has a digest that is not 64 lower-case hex digits")
    if subject.size is not None and not _whole(subject.size):
        raise ValueError(f"subject {subject.name!r:.80} has an impossible size")


def _control(name: str) -> bool:
    """Say whether a name holds C0, DEL, C1, a line separator, or a character that turns the writing direction."""
    return any(
        char < " " or "\x7f" <= char <= "\x9f" or "\u2028" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"
        for char in name
    )


def _utf8_length(name: str) -> int:
    try:
        return len(name.encode())
    except UnicodeEncodeError:  # a lone surrogate: the name was no UTF-8
        return _MAX_NAME + 1


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
    return (moment - _EPOCH) // _MS
