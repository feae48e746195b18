"""Lines of segments: read alone, read by several processes, read when one of them dies."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from nexapod_batch.coordinator import side_by_side
from nexapod_batch.coordinator.evidence import report_reader
from nexapod_batch.coordinator.evidence.common_line import read_common_line
from nexapod_batch.coordinator.evidence.ready_reports import BlockOf, read_all
from nexapod_batch.coordinator.evidence.report_reader import (
    END,
    Block,
    Ended,
    Refused,
    Report,
    Started,
    blocks,
    read_block,
)
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.reason import Code
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.spool.segment_reader import MAX_LINE, Budget
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, vote_of_subjects
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from pathlib import Path

NODE = Signer.from_seed(b"n" * 32)
KEYS = {NODE.key_id: NODE.public}
EMPTY = hashlib.sha256(b"").hexdigest()


def line(number: int) -> bytes:
    subjects = (Subject(name="stdout", sha256=EMPTY),)
    said = Statement(
        job_uuid="u", job_digest=EMPTY, replica=ReplicaName(1, number, 1), nonce="0" * 32, agree=2, distinct=("run",),
        backend="local", native_id="", host="h", isolation="none", classes={}, outcome=Outcome.OK, detail="", exit_code=0,
        wall_ms=1, cpu_ms=1, max_rss_kib=1, output_bytes=0, started_ms=1, finished_ms=2, builder=NODE.key_id,
        subjects=subjects, manifest=False, inputs=(), stdout_sha256=EMPTY, stderr_sha256=EMPTY,
        vote=vote_of_subjects(subjects),
    )  # fmt: skip
    return seal(NODE, PAYLOAD_TYPE, encode(said))


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """Return a segment of 2 MiB: good lines, a bad one, a start note, a torn end."""
    path = tmp_path / "a.jsonl"
    good = b"\n".join(line(number) for number in range(1, 31)) + b"\n"
    path.write_bytes(good * 60 + b'{"start":"1_7.1","at":1}\n{"no":1}\n' + END + b"\n" + good[:50])
    return path


NAMED = Node(
    id=1, name="n", key_id=NODE.key_id, public_key=NODE.public, site="local", owner="o", host="h", tier=Tier.CPU,
    backend="local", cpus=2, mem_mib=1,
)  # fmt: skip


def read_together(found: list[tuple[Block, dict[str, bytes]]]) -> list[Any]:
    """Read blocks by two helpers, without anything that is known of jobs."""
    return list(read_all([BlockOf(NAMED, block, keys) for block, keys in found], {}, min(2, len(found))))


def everything(found: list[Any]) -> list[Any]:
    return [one for block in found for one in block]


def test_blocks_end_with_a_line(segment: Path) -> None:
    """Blocks follow each other without a gap and stop before the torn line."""
    found = list(blocks(segment, 0))
    assert len(found) > 3
    assert [block.start for block in found] == [0, *(block.end for block in found[:-1])]
    assert segment.stat().st_size - found[-1].end == 50


def holed(path: Path, *parts: bytes | int) -> None:
    """Write bytes, and holes of so many bytes."""
    with path.open("wb") as stream:
        for part in parts:
            if isinstance(part, int):
                stream.truncate(stream.tell() + part)
                stream.seek(0, os.SEEK_END)
            else:
                stream.write(part)


TB = 1 << 40
LONG = b"x" * (MAX_LINE + 300_000)


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((b"a\n", TB), ["a"]),
        ((b"a\n", TB, b"\nb\n"), ["a", "long", "b"]),
        ((TB, b"\n", 4 * TB, b"\nb\n"), ["long", "long", "b"]),
        ((b"a\n" + LONG + b"\nb\n",), ["a", "long", "b"]),
        ((b"a\n" + LONG,), ["a"]),
        ((b"a\n", 1000, b"\nb\n"), ["a", "\0" * 1000, "b"]),
        ((b"a\nb\n" * 300_000,), ["a", "b"] * 500),
    ],
)
def test_what_has_no_end_is_passed_over(tmp_path: Path, parts: tuple[bytes | int, ...], wanted: list[str]) -> None:
    """Holes and lines without end take neither time nor memory, and what follows them is read."""
    path = tmp_path / "a.jsonl"
    holed(path, *parts)
    found = everything([read_block(block, KEYS) for block in islice(blocks(path, 0), 4)])
    said = ["long" if Code.REPORT_TOO_LONG in one.reason else one.line.decode() for one in found if isinstance(one, Refused)]
    assert wanted == said[: len(wanted)]
    assert len(wanted) in {len(said), 1_000}


def test_a_budget_ends_reading_and_the_next_goes_on(tmp_path: Path) -> None:
    """Each look reads about as much as it may; all looks together read everything, once."""
    path = tmp_path / "a.jsonl"
    path.write_bytes((b"y" * 99 + b"\n") * 20_000)
    position, looks = 0, []
    while some := list(blocks(path, position, budget := Budget(500_000))):
        looks.append(sum(block.end - block.start for block in some))
        position = some[-1].end
    assert sum(looks) == position == 2_000_000
    assert max(looks) <= 3 * 256 * 1024
    assert budget.left == 500_000


def test_several_processes_read_what_one_reads(segment: Path) -> None:
    """Order and content are the same, and each line knows where it lies."""
    found = list(blocks(segment, 0))
    alone = everything([read_block(block, KEYS) for block in found])
    assert everything(read_together([(block, KEYS) for block in found])) == alone
    assert [type(one) for one in alone[-3:]] == [Started, Refused, Ended]
    assert sum(isinstance(one, Report) for one in alone) == 1800
    assert alone[1].position == len(line(1)) + 1


@pytest.mark.parametrize("share", [0, 0.00001, 0.2, 0.5, 0.99])
def test_what_a_dead_helper_did_not_send_is_read(segment: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """A helper that dies before, between or within its blocks costs time only."""
    sends = side_by_side._send

    def dies(work: Any, found: Any, tickets: int, fd: int) -> None:
        all_of_it = segment.with_name(f"sent-{os.getpid()}")
        sends(work, found, tickets, os.open(all_of_it, os.O_WRONLY | os.O_CREAT))
        data = all_of_it.read_bytes()
        with open(fd, "wb") as sink:
            sink.write(data[: math.ceil(len(data) * share)])

    monkeypatch.setattr(side_by_side, "_send", dies)
    found = list(blocks(segment, 0))
    assert everything(read_together([(block, KEYS) for block in found])) == everything([read_block(b, KEYS) for b in found])


def test_a_segment_that_vanishes_is_an_error_in_its_place(segment: Path) -> None:
    """The other blocks are read all the same."""
    found = [(block, KEYS) for block in blocks(segment, 0)][:1]
    gone = (found[0][0]._replace(path=segment.with_name("gone.jsonl")), KEYS)
    first, second = read_together([gone, *found])
    assert isinstance(first, FileNotFoundError)
    assert not isinstance(second, OSError)


COMMON = json.loads(line(7)) | {"key": base64.b64encode(NODE.public).decode(), "carried": {"stdout": "", "stderr": ""}}
SIGNATURE = COMMON["signatures"][0]
SPELLINGS: dict[str, bytes] = {
    "as runners spell it": orjson.dumps(COMMON),
    "without files": orjson.dumps({name: COMMON[name] for name in COMMON if name != "carried"}),
    "with files that are null": orjson.dumps(COMMON | {"carried": None}),
    "in another order": orjson.dumps(dict(reversed(COMMON.items()))),
    "with blanks": json.dumps(COMMON).encode(),
    "with an escape in the payload": orjson.dumps(COMMON).replace(b'"payload":"e', b'"payload":"\\u0065'),
    "with a payload twice": orjson.dumps(COMMON)[:-1] + b',"payload":"' + COMMON["payload"].encode() + b'"}',
    "with another payload before": b'{"payload":"e30=",' + orjson.dumps(COMMON)[1:],
    "with another payload behind": orjson.dumps(COMMON)[:-1] + b',"payload":"e30="}',
    "with a field more": orjson.dumps(COMMON | {"more": [1]}),
    "with two signatures": orjson.dumps(COMMON | {"signatures": [{"keyid": "", "sig": "AA=="}, SIGNATURE]}),
    "with a signature more": orjson.dumps(COMMON | {"signatures": [SIGNATURE, SIGNATURE]}),
    "with no signature": orjson.dumps(COMMON | {"signatures": []}),
    "with a short signature": orjson.dumps(COMMON | {"signatures": [{"keyid": "", "sig": "AA=="}]}),
    "with a signature that has another end": orjson.dumps(COMMON).replace(b'=="}', b'==="}'),
    "with a signature of something else": orjson.dumps(COMMON | {"payload": base64.b64encode(b"{}").decode()}),
    "with an empty payload": orjson.dumps(COMMON | {"payload": ""}),
    "with base64 for URLs": orjson.dumps(COMMON | {"signatures": [SIGNATURE | {"sig": SIGNATURE["sig"].replace("+", "-").replace("/", "_")}]}),
    "with a key that is none": orjson.dumps(COMMON | {"key": "AAAA"}),
    "with somebody else's key": orjson.dumps(COMMON | {"key": base64.b64encode(b"x" * 32).decode()}),
    "with a key that is a number": orjson.dumps(COMMON | {"key": 7}),
    "of another type": orjson.dumps(COMMON | {"payloadType": "text/plain"}),
    "with other files": orjson.dumps(COMMON | {"carried": {"stdout": "QQ==", "stderr": ""}}),
    "with a file that is a number": orjson.dumps(COMMON | {"carried": {"stdout": 1, "stderr": ""}}),
    "with too few files": orjson.dumps(COMMON | {"carried": {"stdout": ""}}),
    "with text that is none": orjson.dumps(COMMON).replace(b"SHA256:", b"\xff\xfe"),
    "cut off": orjson.dumps(COMMON)[:-1],
    "that goes on": orjson.dumps(COMMON) + b"{}",
}  # fmt: skip


#: Spellings of a line that is good.
GOOD = {
    "as runners spell it", "without files", "with files that are null", "in another order", "with blanks",
    "with an escape in the payload", "with a payload twice", "with another payload before", "with a field more",
    "with two signatures", "with a signature more", "with base64 for URLs",
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_fast_way_says_what_the_general_way_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """Of good lines and of bad ones, to the word."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(SPELLINGS[spelling] + b"\n")
    fast = everything([read_block(block, {}) for block in blocks(path, 0)])
    assert (read_common_line(SPELLINGS[spelling]) is not None) or spelling != "as runners spell it"
    monkeypatch.setattr(report_reader, "read_common_line", lambda _line: None)
    assert everything([read_block(block, {}) for block in blocks(path, 0)]) == fast
    assert isinstance(fast[0], Report) == (spelling in GOOD)
