"""What helpers do: the same rows, signed bytes and files as those of one process, whatever becomes of helpers."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from homes import TRUE, Home
from msgspec.structs import replace

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator, side_by_side
from nexapod_batch.coordinator.evidence import ready_reports
from nexapod_batch.coordinator.evidence.ready_reports import ReadyReport
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.steps import carried_files, judging
from nexapod_batch.coordinator.steps.decide import decide_news
from nexapod_batch.coordinator.steps.ingest import ingest
from nexapod_batch.coordinator.steps.publish import publish
from nexapod_batch.coordinator.steps.report_check import Known, check, fitting_row
from nexapod_batch.spool import segment_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = 12
#: A third of the tasks is accepted, a third fails, and a third differs.
COMMAND = '["sh", "-c", "case $((NEXAPOD_TASK % 3)) in 1) exit 7;; 2) cat /proc/sys/kernel/random/uuid;; esac"]'
JOB = TRUE.replace('["true"]', COMMAND).replace("[quorum]", f'[array]\nids = "0-{TASKS - 1}"\n[quorum]')
ROWS = (
    "SELECT * FROM task ORDER BY job_id, idx", "SELECT * FROM replica ORDER BY id",
    "SELECT * FROM verdict ORDER BY entry", "SELECT * FROM ledger_entry ORDER BY idx",
    "SELECT * FROM report ORDER BY replica_id, payload_sha256", "SELECT * FROM carried ORDER BY replica_id",
    "SELECT * FROM dictionary", "SELECT * FROM segment ORDER BY name", "SELECT * FROM quarantine ORDER BY position",
    "SELECT * FROM ledger_node ORDER BY level, idx",
)  # fmt: skip


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home of which every replica has reported, and nothing was read yet; never changed by a test."""
    made = Home(tmp_path_factory.mktemp("reported"))
    try:
        assert made.call("node", "init", "--name", "n").code == 0
        assert made.submit(JOB).code == 0
        end = time.monotonic() + 120
        while len(made.lines("n")) < 2 * TASKS:
            assert time.monotonic() < end, "all reports"
            time.sleep(0.05)
        made.end()
        yield made
    finally:
        made.end()


def let_helpers_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let helpers read, check, decide and sign the little that there is, a few kilobytes or two tasks at a time."""
    monkeypatch.setattr(segment_reader, "_BLOCK", 8_000)
    monkeypatch.setattr(ready_reports, "_MANY", 1)
    monkeypatch.setattr(judging, "_WORTH_ONE", 1)
    monkeypatch.setattr(judging, "_TOGETHER", 2)


def let_helpers_die(monkeypatch: pytest.MonkeyPatch, folder: Path, sends: int) -> None:
    """Let every helper die when it has sent so many bytes."""
    whole = side_by_side._send

    def dies(work: Any, items: Any, tickets: int, fd: int) -> None:
        sent = folder / f"sent-{fd}"
        whole(work, items, tickets, os.open(sent, os.O_WRONLY | os.O_CREAT))
        with open(fd, "wb") as sink:
            sink.write(sent.read_bytes()[:sends])

    monkeypatch.setattr(side_by_side, "_send", dies)


def published(reported: Home, folder: Path) -> dict[str, tuple[bytes, int]]:
    """Publish what was accepted in a copy of the home; return content and mode of every file of results."""
    shutil.copytree(reported.path, folder, symlinks=True)
    results = folder / "results" / "1"
    with open_coordinator(Paths.from_environment({**reported.env, "NEXAPOD_HOME": str(folder)})) as c:
        ingest(c, c.nodes(), Faults())
        decide_news(c, Faults())
        (results / ".0.partial").mkdir(parents=True)  # of a pass that was killed
        (results / ".0.partial" / "torn").touch()
        (results / "3").mkdir()  # somebody else's
        (results / "3" / "kept").touch()
        assert publish(c, Faults()) == TASKS // 3 - 1
        assert c.store.tasks.unpublished(10) == [(1, 3)]
    found = [path for path in results.rglob("*") if path.is_file()]
    return {str(path.relative_to(results)): (path.read_bytes(), path.stat().st_mode) for path in found}


def decided(reported: Home, folder: Path, more: bytes = b"") -> list[list[tuple[Any, ...]]]:
    """Take in and decide a copy of the home at one moment, with more lines behind; return what is stored."""
    shutil.copytree(reported.path, folder, symlinks=True)
    last = max(folder.glob("spool/*/reports/*.jsonl"))
    last.write_bytes(last.read_bytes() + more)
    with open_coordinator(Paths.from_environment({**reported.env, "NEXAPOD_HOME": str(folder)})) as c:
        c.clock = lambda: 2_000_000_000.0
        taken_in = ingest(c, c.nodes(), Faults())
        assert taken_in.reports + taken_in.quarantined >= 2 * TASKS
        assert decide_news(c, Faults()) == TASKS
    with closing(sqlite3.connect(folder / "state.db")) as database:
        stored = [database.execute(sql).fetchall() for sql in ROWS]
    return [*stored, [(taken_in.reports, taken_in.quarantined)]]


@pytest.mark.parametrize("sends", [None, 0, 20, 900])
def test_helpers_reach_what_one_process_reaches(
    reported: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends: int | None
) -> None:
    """Byte for byte; also where helpers die before they sent everything (after so many bytes; None: they live)."""
    alone = decided(reported, tmp_path / "alone")
    assert {row[2] for row in alone[0]} == {"accepted", "failed", "active"}
    let_helpers_work(monkeypatch)
    if sends is not None:
        let_helpers_die(monkeypatch, tmp_path, sends)
    assert decided(reported, tmp_path / "shared") == alone


LINES: dict[str, Callable[[bytes], bytes]] = {
    "again": lambda line: line,
    "again without its files": lambda line: orjson.dumps(orjson.loads(line) | {"carried": None}),
    "in another spelling": lambda line: json.dumps(orjson.loads(line)).encode(),
    "with another statement": lambda line: line.replace(b'"payload":"eyJf', b'"payload":"eyJg'),
    "with another key": lambda line: orjson.dumps(orjson.loads(line) | {"key": "A" * 43 + "="}),
    "with another signature": lambda line: re.sub(rb'"sig":"....', b'"sig":"AAAA', line),
    "with other files": lambda line: orjson.dumps(orjson.loads(line) | {"carried": {"stdout": "QQ==", "stderr": ""}}),
    "with a start note before it": lambda line: b'{"start":"1_0.1","at":1}\n' + line,
    "junk": lambda _line: b"junk",
}


@pytest.mark.parametrize("kind", LINES)
def test_helpers_take_in_of_other_lines_what_one_process_takes_in(
    reported: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Byte for byte, in every table, also what is refused."""
    segments = sorted(reported.path.glob("spool/*/reports/*.jsonl"))
    lines = [line for segment in segments for line in segment.read_bytes().split(b"\n") if b'"payload"' in line]
    more = b"".join([LINES[kind](line) + b"\n" for line in lines])
    monkeypatch.setattr(segment_reader, "_BLOCK", 8_000)
    alone = decided(reported, tmp_path / "alone", more)
    let_helpers_work(monkeypatch)
    assert decided(reported, tmp_path / "shared", more) == alone


#: What is as it must not be in a report that was made ready.
OTHER: dict[str, dict[str, Any]] = {
    "no such replica": {"replica": (1, 0, 9)},
    "another replica": {"replica": (1, 1, 1)},
    "another job": {"job_uuid": "01a22c91-1486-7172-90b9-5e2f243d7754"},
    "another document": {"job_digest": "0" * 64},
    "another nonce": {"nonce": "0" * 32},
    "another node": {"builder": "SHA256:" + "A" * 43},
    "another key": {"key": b"k" * 32},
    "started long before its launch": {"started_ms": 1},
    "started after its delegation had ended": {"started_ms": 1 << 50},
    "finished in days to come": {"finished_ms": 1 << 50},
}


@pytest.mark.parametrize("kind", OTHER)
def test_a_ready_report_that_is_not_as_it_must_be_takes_the_general_way(
    reported: Home, tmp_path: Path, kind: str
) -> None:
    """Whatever is wrong with it; as it was, it fits."""
    folder = tmp_path / "copy"
    shutil.copytree(reported.path, folder, symlinks=True)
    with open_coordinator(Paths.from_environment({**reported.env, "NEXAPOD_HOME": str(folder)})) as c:
        (node,) = c.nodes()
        c.store.reports.insert_dictionary(1, b"what statements are deflated with")
        jobs, _ = ready_reports.known_jobs(c, [node])
        found = [block for path in folder.glob("spool/*/reports/*.jsonl") for block in segment_reader.blocks(path, 0)]
        read = ready_reports.read_all([ready_reports.BlockOf(node, block, {}) for block in found], jobs, 0)
        made = [line for lines in read if not isinstance(lines, OSError) for line in lines]
        (report,) = [line for line in made if isinstance(line, ReadyReport) and line.replica == (1, 0, 1)]
        rows = {(1, row.task, row.number): row for row in c.store.replicas.for_reports(1, {(0, 1), (1, 1)})}
        known = Known(rows=rows, jobs=jobs)
        assert fitting_row(c, node, report, known) == rows[1, 0, 1]
        assert check(c, node, known.whole(report), known) == rows[1, 0, 1]
        assert fitting_row(c, node, replace(report, **OTHER[kind]), known) is None


def test_tasks_that_are_decided_alike_are_signed_and_stored_as_if_each_was_decided(
    reported: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte: rows, verdicts and entries of the ledger."""
    alike = decided(reported, tmp_path / "alike")
    monkeypatch.setattr(judging, "likeness", lambda *_: None)
    assert decided(reported, tmp_path / "each") == alike


@pytest.mark.parametrize("sends", [None, 0, 20, 150])
def test_helpers_publish_what_one_process_publishes(
    reported: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends: int | None
) -> None:
    """The same files with the same modes, also where a partial folder or another one is in the way, or helpers die."""
    alone = published(reported, tmp_path / "alone")
    assert {name for name in alone if name.endswith("stdout")} == {f"{task}/stdout" for task in range(0, TASKS, 3) if task != 3}
    monkeypatch.setattr(carried_files, "_WORTH_ONE", 1)
    monkeypatch.setattr(carried_files, "_TOGETHER", 1)
    if sends is not None:
        let_helpers_die(monkeypatch, tmp_path, sends)
    assert published(reported, tmp_path / "shared") == alone


#: Somebody who takes the first answer of helpers that have more than their pipes hold, and wants no other.
ONE_OF_MANY = """
import sys
from nexapod_batch.coordinator.side_by_side import side_by_side

answers = side_by_side(lambda number: bytes([number]) * (4 << 20), range(30), bytes, int(sys.argv[1]))
assert next(answers) == bytes(4 << 20)
answers.close()
print("over")
"""


@pytest.mark.parametrize("helpers", [1, 2, 3])
def test_helpers_end_when_nobody_wants_the_rest(helpers: int) -> None:
    """Helpers that wait for room in their pipes end, and are waited for, when no further answer is taken."""
    argv = [sys.executable, "-c", ONE_OF_MANY, str(helpers)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("over\n", 0), done.stderr
