"""What helpers do: the same rows, signed bytes and files as those of one process, whatever becomes of helpers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from homes import TRUE, Home

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator, side_by_side
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.steps import carried_files, judging
from nexapod_batch.coordinator.steps.decide import decide_news
from nexapod_batch.coordinator.steps.ingest import ingest
from nexapod_batch.coordinator.steps.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS = 12
#: A third of the tasks is accepted, a third fails, and a third differs.
COMMAND = '["sh", "-c", "case $((NEXAPOD_TASK % 3)) in 1) exit 7;; 2) cat /proc/sys/kernel/random/uuid;; esac"]'
JOB = TRUE.replace('["true"]', COMMAND).replace("[quorum]", f'[array]\nids = "0-{TASKS - 1}"\n[quorum]')
ROWS = (
    "SELECT * FROM task ORDER BY job_id, idx", "SELECT id, execution, validation FROM replica ORDER BY id",
    "SELECT * FROM verdict ORDER BY entry", "SELECT * FROM ledger_entry ORDER BY idx",
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


def decided(reported: Home, folder: Path) -> list[list[tuple[Any, ...]]]:
    """Take in and decide a copy of the home at one moment; return what is stored."""
    shutil.copytree(reported.path, folder, symlinks=True)
    with open_coordinator(Paths.from_environment({**reported.env, "NEXAPOD_HOME": str(folder)})) as c:
        c.clock = lambda: 2_000_000_000.0
        assert ingest(c, c.nodes(), Faults()).reports == 2 * TASKS
        assert decide_news(c, Faults()) == TASKS
    with closing(sqlite3.connect(folder / "state.db")) as database:
        return [database.execute(sql).fetchall() for sql in ROWS]


@pytest.mark.parametrize("sends", [None, 0, 20, 900])
def test_helpers_reach_what_one_process_reaches(
    reported: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends: int | None
) -> None:
    """Byte for byte; also where helpers die before they sent everything (after so many bytes; None: they live)."""
    alone = decided(reported, tmp_path / "alone")
    assert {row[2] for row in alone[0]} == {"accepted", "failed", "active"}
    monkeypatch.setattr(judging, "_WORTH_ONE", 1)
    monkeypatch.setattr(judging, "_TOGETHER", 2)
    if sends is not None:
        let_helpers_die(monkeypatch, tmp_path, sends)
    assert decided(reported, tmp_path / "shared") == alone


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
