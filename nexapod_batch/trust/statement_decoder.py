"""Reading statements: `decode` returns what a payload says, or refuses it.

`encode(decode(payload)) == payload`: every other byte form is refused, so that two readers cannot read two things out
of the same signed bytes. Nearly all payloads are spelled alike, with plain words and one output: they are matched
against one regular expression, which is made from the encoder itself and settles form, fields and spelling at once.
Everything else is parsed and checked field by field. Property tests hold the two ways together.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.nesting import loads, quoted
from nexapod_batch.trust.statement import (
    BUILD_TYPE,
    EPOCH,
    MANIFEST_MEDIA,
    NORMALIZED,
    PREDICATE_TYPE,
    SIZE,
    STATEMENT_TYPE,
    ContainerUse,
    GpuUse,
    Machine,
    Outcome,
    Statement,
    Subject,
    vote_told,
)
from nexapod_batch.trust.statement_encoder import encode, rfc3339
from nexapod_batch.trust.statement_rules import check_fields, check_subjects

__all__ = ["decode"]

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_MS = timedelta(milliseconds=1)

#: How many members the objects of a statement have, in the order in which `_from_document` counts them.
_LENGTHS = (4, 2, 4, 3, 7, 9, 4, 3, 2, 1, 1, 2, 2, 1, 1)


def decode(payload: bytes) -> Statement:
    """Return the statement of a payload whose signature was verified.

    VerificationError for every payload that `encode` cannot make. Whether it belongs to the replica, node, nonce and
    job that it is offered for is the caller's question.
    """
    return _by_pattern(payload) or _by_parsing(payload)


def _by_pattern(payload: bytes) -> Statement | None:
    """Return the statement when it is spelled in the common way; None says nothing about the payload."""
    try:
        match = _pattern().fullmatch(payload.decode("ascii"))
    except UnicodeDecodeError:
        return None
    if match is None:
        return None
    (
        job_uuid, job_digest, job, nonce, agree, distinct, replica, task,
        backend, classes, detail, exit_code, host, isolation, boot, booted, booted_ms, machine, native_id, outcome,
        cpu_ms, max_rss_kib, output_bytes, wall_ms, inputs,
        builder, stdout, stderr, finished, finished_ms, started, started_ms,
        size, normalized, sha256, name,
    ) = match.groups()  # fmt: skip
    try:
        end, start = _second(finished) + int(finished_ms), _second(started) + int(started_ms)
        known_classes, known_inputs = _object(classes), _inputs(inputs)
        where = None if boot is None else Machine(boot, _second(booted) + int(booted_ms), machine)
    except ValueError:
        return None
    return Statement(
        job_uuid, job_digest, ReplicaName(int(job), int(task), int(replica)), nonce, int(agree), _words(distinct),
        backend, native_id, host, isolation, known_classes, _OUTCOMES[outcome], detail,
        _number(exit_code), int(wall_ms), _number(cpu_ms), _number(max_rss_kib), int(output_bytes),
        start, end, builder,
        (Subject(name=name, sha256=sha256, normalized=normalized, size=None if size is None else int(size)),),
        False, known_inputs, stdout, stderr,  # noqa: FBT003 - the order of the fields
        _hex(f"{normalized or sha256}  {name}\n".encode()), machine=where,
    )  # fmt: skip


def _number(text: str) -> int | None:
    return None if text == "null" else int(text)


@cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of the common spelling: a statement of marks, encoded, with every mark made a group.

    What a group takes in is no more than `check_fields` and `check_subjects` allow.
    """
    digest, count, positive = "([0-9a-f]{64})", "(0|[1-9][0-9]{0,14})", "([1-9][0-9]{0,14})"
    text = r"([ !#-\[\]-~]{0,1000})"  # printable ASCII that JSON does not escape
    word = "[a-z0-9][a-z0-9_-]{0,63}"
    moment = r"((?:19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{3})Z"
    path = r"[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,99}(?:/[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,99}){0,20}"
    one_input = rf'\{{"digest":\{{"sha256":"[0-9a-f]{{64}}"\}},"name":"{path}"\}}'
    marks = Statement(
        job_uuid="job-uuid", job_digest="1" * 64, replica=ReplicaName(1111, 2222, 3333), nonce="ab" * 16, agree=4444,
        distinct=("distinct-mark",), backend="backend-mark", native_id="native-mark", host="host-mark",
        isolation="none", classes={"class-mark": ""}, outcome=Outcome.OK, detail="detail-mark", exit_code=5555,
        wall_ms=6666, cpu_ms=7777, max_rss_kib=8888, output_bytes=9999, started_ms=0, finished_ms=1,
        builder="SHA256:" + "3" * 43,
        subjects=(Subject(name="name-mark", sha256="4" * 64),), manifest=False, inputs=(("input-mark", "5" * 64),),
        stdout_sha256="6" * 64, stderr_sha256="7" * 64, vote=_hex(b"4" * 64 + b"  name-mark\n"),
        machine=Machine("8" * 32, 2, "9" * 32),
    )  # fmt: skip
    groups = {
        '"job-uuid"': '"([0-9A-Za-z-]{1,64})"',
        "1" * 64: digest,
        '"1111_2222.3333"': '"(?P=job)_(?P=task)\\.(?P=number)"',
        "1111": "(?P<job>[1-9][0-9]{0,14})",
        "2222": "(?P<task>0|[1-9][0-9]{0,14})",
        "3333": "(?P<number>[1-9][0-9]{0,14})",
        "ab" * 16: "([0-9a-f]{32})",
        "4444": positive,
        '["distinct-mark"]': rf'\[("{word}"(?:,"{word}"){{0,9}})\]',
        '"backend-mark"': f'"({word})"',
        '"native-mark"': f'"{text}"',
        '"host-mark"': f'"{text}"',
        '"detail-mark"': f'"{text}"',
        '"none"': '"(none|files|container)"',
        '{"class-mark":""}': r'(\{(?:"[a-z0-9_-]{1,64}":"[ !#-\[\]-~]{0,200}",?){0,9}\})',
        '"ok"': f'"({"|".join(_OUTCOMES)})"',
        f'"machine":{{"boot":"{"8" * 32}","bootedOn":"1970-01-01T00:00:00.002Z","id":"{"9" * 32}"}},':
            rf'(?:"machine":\{{"boot":"([0-9a-f]{{32}})","bootedOn":"{moment}","id":"((?:[0-9a-f]{{32}})?)"\}},)?',
        "5555": "(null|0|-?[1-9][0-9]{0,14})",
        "6666": count,
        "7777": "(null|0|[1-9][0-9]{0,14})",
        "8888": "(null|0|[1-9][0-9]{0,14})",
        "9999": count,
        "1970-01-01T00:00:00.000Z": moment,
        "1970-01-01T00:00:00.001Z": moment,
        "SHA256:" + "3" * 43: "(SHA256:[A-Za-z0-9+/]{43})",
        '[{"digest":{"sha256":"' + "5" * 64 + '"},"name":"input-mark"}]': rf"(\[(?:{one_input},?){{0,100}}\])",
        "6" * 64: digest,
        "7" * 64: digest,
        '[{"digest":{"sha256":"' + "4" * 64 + '"},"name":"name-mark"}]':
            rf'\[\{{(?:"annotations":\{{"{SIZE}":{count}\}},)?'
            rf'"digest":\{{(?:"{NORMALIZED}":"{digest}",)?"sha256":"{digest}"\}},"name":"({path})"\}}\]',
    }  # fmt: skip
    parts = re.split(
        "(" + "|".join(map(re.escape, sorted(groups, key=len, reverse=True))) + ")", encode(marks).decode()
    )
    return re.compile("".join(groups.get(part) or re.escape(part) for part in parts))


@lru_cache(maxsize=1024)  # the replicas of a job share their words, and those that ran together their seconds
def _second(text: str) -> int:
    """Return milliseconds since 1970; ValueError for a moment that there never was."""
    return (datetime.fromisoformat(text) - EPOCH) // _MS


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    return tuple(orjson.loads(f"[{text}]"))


@lru_cache(maxsize=256)
def _object(text: str) -> dict[str, str]:
    """Return the classes; ValueError unless the text is their one spelling. Callers must not change what they get."""
    found: dict[str, str] = orjson.loads(text)
    if orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode() != text or any(key[0] in "_-" for key in found):
        raise ValueError("not the one spelling")
    return found


@lru_cache(maxsize=256)
def _inputs(text: str) -> tuple[tuple[str, str], ...]:
    """Return (target, sha256) of every input; ValueError unless the text is their one spelling."""
    found = orjson.loads(text)
    if orjson.dumps(found).decode() != text:
        raise ValueError("not the one spelling")
    return tuple([_input(one) for one in found])


def _by_parsing(payload: bytes) -> Statement:
    """Parse and check a payload field by field."""
    try:
        document = loads(payload)
    except ValueError as error:
        raise VerificationError("statement is not JSON", got=str(error)) from error
    try:
        _expect(document, "_type", STATEMENT_TYPE)
        _expect(document, "predicateType", PREDICATE_TYPE)
        _expect(document["predicate"]["buildDefinition"], "buildType", BUILD_TYPE)
        statement = _from_document(document)
        check_fields(statement)
    except KeyError as error:
        raise VerificationError("statement lacks a field or a known word", got=quoted(error.args[0])) from error
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
        raise VerificationError(f"wrong {key}", got=quoted(document[key]), wanted=repr(wanted))


def _from_document(document: Any) -> Statement:  # noqa: ANN401 - parsed JSON
    definition, details = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    external, internal = definition["externalParameters"], definition["internalParameters"]
    resources, metadata, quorum = internal["resources"], details["metadata"], external["quorum"]
    stdout, stderr = details["byproducts"]
    subjects, inputs = document["subject"], definition["resolvedDependencies"]
    runtime = internal.get("runtime")
    lengths = (
        len(document), len(document["predicate"]), len(definition), len(details), len(external),
        len(internal) - (runtime is not None) - ("gpus" in internal) - ("machine" in internal)
        - ("environment" in internal),
        len(resources), len(metadata), len(quorum), len(external["jobDigest"]), len(details["builder"]),
        len(stdout), len(stderr), len(stdout["digest"]), len(stderr["digest"]),
    )  # fmt: skip
    if lengths != _LENGTHS or not (type(subjects) is type(inputs) is type(quorum["distinct"]) is list):
        raise VerificationError("statement is not in canonical form", got="unknown fields")
    if stdout["name"] != "stdout" or stderr["name"] != "stderr":
        raise ValueError("byproducts are stdout and stderr, in this order")
    replica = ReplicaName(external["jobId"], external["task"], external["replica"])
    if metadata["invocationId"] != str(replica):
        raise ValueError(f"invocationId is {quoted(metadata['invocationId'], 40)}, wanted {replica!s:.80}")
    manifest = len(subjects) == 1 and subjects[0].get("mediaType") == MANIFEST_MEDIA
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
        inputs=tuple([_input(one) for one in (inputs if runtime is None else inputs[1:])]),
        stdout_sha256=stdout["digest"]["sha256"],
        stderr_sha256=stderr["digest"]["sha256"],
        vote=vote_told(found, manifest=manifest, told=""),
        container=None if runtime is None else _container(inputs[0], runtime),
        gpus=_gpus(internal["gpus"]) if "gpus" in internal else (),
        machine=_machine(internal["machine"]) if "machine" in internal else None,
        passed=_passed(internal["environment"]) if "environment" in internal else (),
    )


def _container(image: Any, runtime: Any) -> ContainerUse:  # noqa: ANN401 - parsed JSON
    if (len(image), len(image["digest"]), len(runtime)) != (2, 1, 4):
        raise VerificationError("statement is not in canonical form", got="unknown fields of the container")
    return ContainerUse(
        image=image["uri"],
        sha256=image["digest"]["sha256"],
        runtime=runtime["name"],
        version=runtime["version"],
        mode=runtime["mode"],
        network=runtime["network"],
    )


def _gpus(documents: Any) -> tuple[GpuUse, ...]:  # noqa: ANN401 - parsed JSON
    if type(documents) is not list or not documents or any(len(one) != 5 for one in documents):
        raise VerificationError("statement is not in canonical form", got="unknown fields of a GPU, or no GPU")
    return tuple(
        GpuUse(one["uuid"], one["model"], one["timeMs"], one["peakMemoryMiB"], one["energyMj"]) for one in documents
    )


def _machine(document: Any) -> Machine:  # noqa: ANN401 - parsed JSON
    if len(document) != 3:
        raise VerificationError("statement is not in canonical form", got="unknown fields of the machine")
    return Machine(document["boot"], _milliseconds(document["bootedOn"]), document["id"])


def _passed(document: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - parsed JSON
    if type(document) is not dict or not document:
        raise VerificationError("statement is not in canonical form", got="an environment without variables")
    return tuple(sorted(document.items()))


def _subject(document: Any, *, manifest: bool) -> Subject:  # noqa: ANN401 - parsed JSON
    digest, size = document["digest"], None
    normalized = digest.get(NORMALIZED)
    known = 3 if manifest else 2
    if "annotations" in document:
        size = document["annotations"][SIZE]
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


def _milliseconds(text: str) -> int:
    """Return the time that `rfc3339` wrote; other spellings fail here or in the comparison of bytes."""
    moment = datetime.fromisoformat(text[:-1]) if text.endswith("Z") else None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(f"time {quoted(text, 40)}, wanted 2026-11-23T11:00:20.123Z")
    ms = (moment - EPOCH) // _MS
    if text != rfc3339(ms):
        raise ValueError(f"time {quoted(text, 40)}, wanted {rfc3339(ms)}")
    return ms


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
