"""Homes in which nothing can be written: whoever only looks sees everything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOKING = (
    ("ls",), ("show", "1"), ("explain", "1"), ("results", "1"), ("logs", "1"), ("report", "1"), ("verify", "1"),
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with a job that was accepted, at rest."""
    one = Home(tmp_path)
    assert one.submit(TRUE, "--wait=90s").code == 0
    one.end()
    yield one
    one.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("logged", [False, True])
def test_whoever_looks_needs_no_writing(home: Home, logged: bool) -> None:
    """On a read-only file system, with and without a write-ahead log, every command that only looks works."""
    database = home.path / "state.db"
    if logged:  # as after a writer that was killed: the last commit lies in the log alone
        beside = home.folder / "copy.db"
        with closing(sqlite3.connect(database)) as writer:
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute("UPDATE job SET name = 'from the log'")
            writer.commit()
            shutil.copyfile(f"{database}-wal", f"{beside}-wal")
        shutil.copyfile(f"{beside}-wal", f"{database}-wal")
    subprocess.run(["mount", "--bind", home.path, home.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", home.path], check=True)
        for command in LOOKING[:-1] if logged else LOOKING:  # `verify` sees that somebody changed a row
            done = home.call(*command)
            assert done.code == 0, (command, done.err)
        assert ("from the log" in home.call("ls").out) == logged
    finally:
        subprocess.run(["umount", home.path], check=True)


def test_a_folder_that_is_gone_is_named(home: Home) -> None:
    """Who stands in a folder that was removed is told so where it matters, and not where it does not."""
    script = 'mkdir gone && cd gone && rmdir "$PWD" && exec "$@"'
    assert home.call("ls", before=("sh", "-c", script, "sh")).code == 0
    done = home.call("submit", "job.toml", before=("sh", "-c", script, "sh"))
    assert done.code == 65
    assert "the current folder is gone" in done.err
