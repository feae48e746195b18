"""The fast way to read a statement: one match, for what is spelled as nearly all are.

With plain words and one output, a payload is matched against one regular expression, which is made from the encoder
itself and settles form, fields and spelling at once. That is less than half the work of `statement_decoder.read_any`,
which the bar of `bench/ingest.py` needs.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from functools import cache, lru_cache

import orjson

from nexapod_batch.model.job import Program
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.statement import (
    EPOCH,
    NORMALIZED,
    SIZE,
    Machine,
    Outcome,
    Statement,
    Subject,
    vote_of_subjects,
)
from nexapod_batch.trust.statement_encoder import encode

__all__ = ["prepare", "read_common"]

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_MS = timedelta(milliseconds=1)
_PLAIN = r"[ !#-\[\]-~]"  # printable ASCII that JSON does not escape


def read_common(payload: bytes) -> Statement | None:
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
        program, path, program_sha256,
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
    subjects = (Subject(name=name, sha256=sha256, normalized=normalized, size=None if size is None else int(size)),)
    return Statement(
        job_uuid, job_digest, ReplicaName(int(job), int(task), int(replica)), nonce, int(agree), _words(distinct),
        backend, native_id, host, isolation, known_classes, _OUTCOMES[outcome], detail,
        _number(exit_code), int(wall_ms), _number(cpu_ms), _number(max_rss_kib), int(output_bytes),
        start, end, builder, subjects,
        False, known_inputs, stdout, stderr,  # noqa: FBT003 - the order of the fields
        vote_of_subjects(subjects), machine=where,
        program=None if program is None else Program(program, path, program_sha256),
    )  # fmt: skip


def prepare() -> None:
    """Make the pattern now, which takes some milliseconds: before helpers are forked that would each make it."""
    _pattern()


def _number(text: str) -> int | None:
    if text == "null":
        return None
    return int(text)


@cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of the common spelling: a statement of marks, encoded, with every mark made a group."""
    groups = _groups()
    marks = sorted(groups, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", encode(_marks()).decode())
    return re.compile("".join([groups.get(part) or re.escape(part) for part in parts]))


def _marks() -> Statement:
    """Return a statement of the common kind, each value of which stands in it once."""
    return Statement(
        job_uuid="job-uuid", job_digest="1" * 64, replica=ReplicaName(1111, 2222, 3333), nonce="ab" * 16, agree=4444,
        distinct=("distinct-mark",), backend="backend-mark", native_id="native-mark", host="host-mark",
        isolation="none", classes={"class-mark": ""}, outcome=Outcome.OK, detail="detail-mark", exit_code=5555,
        wall_ms=6666, cpu_ms=7777, max_rss_kib=8888, output_bytes=9999, started_ms=0, finished_ms=1,
        builder="SHA256:" + "3" * 43,
        subjects=(Subject(name="name-mark", sha256="4" * 64),), manifest=False, inputs=(("input-mark", "5" * 64),),
        stdout_sha256="6" * 64, stderr_sha256="7" * 64, vote=_hex(b"4" * 64 + b"  name-mark\n"),
        machine=Machine("8" * 32, 2, "9" * 32), program=Program("program-mark", "path-mark", "a" * 64),
    )  # fmt: skip


_DIGEST, _COUNT, _POSITIVE = "([0-9a-f]{64})", "(0|[1-9][0-9]{0,14})", "([1-9][0-9]{0,14})"
_TEXT = f"({_PLAIN}{{0,1000}})"
_WORD = "[a-z0-9][a-z0-9_-]{0,63}"
_MOMENT = r"((?:19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{3})Z"
_PATH = r"[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,99}(?:/[A-Za-z0-9_][A-Za-z0-9_.+=@,-]{0,99}){0,20}"
_INPUT = rf'\{{"digest":\{{"sha256":"[0-9a-f]{{64}}"\}},"name":"{_PATH}"\}}'


def _groups() -> dict[str, str]:
    """Return for each mark what may stand in its place: no more than `check_fields` and `check_subjects` allow."""
    return {
        '"job-uuid"': '"([0-9A-Za-z-]{1,64})"',
        "1" * 64: _DIGEST,
        '"1111_2222.3333"': '"(?P=job)_(?P=task)\\.(?P=number)"',
        "1111": "(?P<job>[1-9][0-9]{0,14})",
        "2222": "(?P<task>0|[1-9][0-9]{0,14})",
        "3333": "(?P<number>[1-9][0-9]{0,14})",
        "ab" * 16: "([0-9a-f]{32})",
        "4444": _POSITIVE,
        '["distinct-mark"]': rf'\[("{_WORD}"(?:,"{_WORD}"){{0,9}})\]',
        '"backend-mark"': f'"({_WORD})"',
        '"native-mark"': f'"{_TEXT}"',
        '"host-mark"': f'"{_TEXT}"',
        '"detail-mark"': f'"{_TEXT}"',
        '"none"': '"(none|files|container)"',
        '{"class-mark":""}': r'(\{(?:"[a-z0-9_-]{1,64}":"[ !#-\[\]-~]{0,200}",?){0,9}\})',
        '"ok"': f'"({"|".join(_OUTCOMES)})"',
        f'"machine":{{"boot":"{"8" * 32}","bootedOn":"1970-01-01T00:00:00.002Z","id":"{"9" * 32}"}},':
            rf'(?:"machine":\{{"boot":"([0-9a-f]{{32}})","bootedOn":"{_MOMENT}","id":"((?:[0-9a-f]{{32}})?)"\}},)?',
        f'"program":{{"file":"program-mark","path":"path-mark","sha256":"{"a" * 64}"}},':
            rf'(?:"program":\{{"file":"({_PLAIN}{{1,1000}})","path":"({_PLAIN}{{0,4000}})",'
            rf'"sha256":"((?:[0-9a-f]{{64}})?)"\}},)?',
        "5555": "(null|0|-?[1-9][0-9]{0,14})",
        "6666": _COUNT,
        "7777": "(null|0|[1-9][0-9]{0,14})",
        "8888": "(null|0|[1-9][0-9]{0,14})",
        "9999": _COUNT,
        "1970-01-01T00:00:00.000Z": _MOMENT,
        "1970-01-01T00:00:00.001Z": _MOMENT,
        "SHA256:" + "3" * 43: "(SHA256:[A-Za-z0-9+/]{43})",
        '[{"digest":{"sha256":"' + "5" * 64 + '"},"name":"input-mark"}]': rf"(\[(?:{_INPUT},?){{0,100}}\])",
        "6" * 64: _DIGEST,
        "7" * 64: _DIGEST,
        '[{"digest":{"sha256":"' + "4" * 64 + '"},"name":"name-mark"}]':
            rf'\[\{{(?:"annotations":\{{"{SIZE}":{_COUNT}\}},)?'
            rf'"digest":\{{(?:"{NORMALIZED}":"{_DIGEST}",)?"sha256":"{_DIGEST}"\}},"name":"({_PATH})"\}}\]',
    }  # fmt: skip


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
    return tuple([(one["name"], one["digest"]["sha256"]) for one in found])


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
