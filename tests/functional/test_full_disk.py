"""Homes on a disk that is really full, or read-only: what looks works, `gc` makes room, and nothing is half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from damage import settle
from homes import TRUE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

LOOKING = (
    ("ls",), ("show", "1"), ("explain", "1"), ("doctor",), ("gc", "--dry-run"), ("db", "check"), ("usage",), ("node", "ls"),
    ("config", "show"), ("key", "ls"), ("results", "1"), ("verify", "1"), ("reconcile", "--dry-run"),
)  # fmt: skip
BIG = TRUE.replace('["true"]', '["sh", "-c", "seq 30000 > a.txt"]') + '[[outputs]]\npath = "a.txt"\n'


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a file system of four MiB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    """Leave no room at all."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0


def leave_a_log(database: Path) -> None:
    """Leave a write-ahead log beside a database, as a writer that was killed."""
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA wal_autocheckpoint = 0');"
        "c.execute('UPDATE fault SET seen_at = 1'); c.execute('INSERT INTO fault VALUES (?, ?, 1, 1)', ('x', 'y'));"
        "c.commit(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, database], check=False)
    assert done.returncode == -signal.SIGKILL
    database.with_name(database.name + "-shm").unlink()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Home]:
    """Yield a home on a full disk: a job was accepted, and its work folders are kept no longer."""
    with small_disk(tmp_path / "disk") as disk:
        home = Home(disk)
        home.path.mkdir()
        (home.path / "config.toml").write_text('[retention]\nwork = "1-0"\n')
        try:
            assert home.submit(BIG, "--wait=30s").code == 0
            settle(home)
            (home.path / "config.toml").unlink()
            fill(disk)
            yield home
        finally:
            home.end()


@pytest.mark.parametrize("logged", [False, True])
def test_who_looks_sees_everything_and_gc_makes_room(full: Home, logged: bool) -> None:
    """With and without a log that only SQLite could take in: then room is made, and the next job runs."""
    if logged:
        (full.folder / "filler").unlink()
        leave_a_log(full.path / "state.db")
        fill(full.folder)
    for command in LOOKING:
        done = full.call(*command)
        assert done.code == int(command == ("doctor",)), (command, done.err)
    assert "nexapod-batch gc" in full.call("doctor").out
    assert full.call("reconcile").code == 75
    assert full.json("gc")["work_folders"] == 2
    assert os.statvfs(full.folder).f_bavail > 0
    assert full.json("gc")["work_folders"] == 0
    (full.folder / "filler").unlink()
    assert full.submit(TRUE, "--wait=30s").code == 0
    assert full.call("verify", "1").code == 0


def test_gc_that_can_remove_nothing_says_so(full: Home) -> None:
    """What is kept stays, and the next step is named."""
    (full.folder / "filler").unlink()
    (full.path / "config.toml").write_text('[retention]\nwork = "1-0"\n')
    fill(full.folder)
    done = full.call("gc")
    assert done.code == 75
    assert "nothing that is kept here is over yet" in done.err
    assert len([one for one in (full.path / "work").rglob("a.txt")]) == 2


def test_a_backup_can_leave_a_full_disk(full: Home, tmp_path: Path) -> None:
    """It is written elsewhere; onto the full disk it is refused, and leaves nothing behind."""
    assert full.call("backup", tmp_path / "b.tar").code == 0
    before = sorted(os.listdir(full.folder))
    done = full.call("backup", full.folder / "b.tar")
    assert (done.code, "no space left" in done.err) == (75, True)
    assert sorted(os.listdir(full.folder)) == before


def test_a_restore_onto_a_full_disk_changes_nothing(full: Home, tmp_path: Path) -> None:
    """The old state goes on, and the same command succeeds when there is room."""
    assert full.call("backup", tmp_path / "b.tar").code == 0
    done = full.call("db", "restore", tmp_path / "b.tar")
    assert (done.code, "no space left" in done.err) == (75, True)
    assert full.json("show", "1")["job"]["state"] == "accepted"
    (full.folder / "filler").unlink()
    assert full.call("db", "restore", tmp_path / "b.tar").code == 0
    assert full.json("show", "1")["job"]["state"] == "accepted"


def test_a_home_that_is_read_only_is_looked_at(tmp_path: Path) -> None:
    """Doctor names it, gc and reconcile say what to do, and nothing breaks."""
    home = Home(tmp_path)
    assert home.submit(TRUE, "--wait=30s").code == 0
    settle(home)
    subprocess.run(["mount", "--bind", home.path, home.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", home.path], check=True)
        for command in LOOKING:
            done = home.call(*command)
            assert done.code == int(command == ("doctor",)), (command, done.err)
        assert "cannot be written" in home.call("doctor").out
        for command in (("gc",), ("reconcile",), ("submit", "job.toml"), ("db", "salvage"), ("db", "init")):
            done = home.call(*command)
            assert done.code != 0, command
            assert "->" in done.err, (command, done.err)
        assert home.call("backup", tmp_path / "b.tar").code == 0
        assert home.call("db", "restore", tmp_path / "b.tar").code != 0
    finally:
        subprocess.run(["umount", home.path], check=True)
    home.end()


def test_doctor_sees_results_that_were_altered(tmp_path: Path) -> None:
    """A changed byte, a file that is gone, one too many, a folder that is gone: each is named with its task."""
    home = Home(tmp_path)
    array = '[array]\nids = "0-4"\n'
    assert home.submit(BIG + array, "--wait=30s").code == 0
    home.end()
    results = home.path / "results/1"
    assert "5 published tasks read, as they were signed" in home.call("doctor").out
    text = (results / "0/a.txt").read_bytes()
    (results / "0/a.txt").write_bytes(b"2" + text[1:])
    (results / "1/a.txt").unlink()
    (results / "2/more.txt").write_text("x")
    for file in (results / "3").iterdir():
        file.unlink()
    (results / "3").rmdir()
    done = home.json("doctor", code=1)
    bad = {one["text"].split(":")[0]: one["text"] for one in done["checks"] if one["check"] == "results"}
    assert sorted(bad) == ["1_0", "1_1", "1_2", "1_3"]
    assert all("nexapod-batch verify 1" in one for one in bad.values())
