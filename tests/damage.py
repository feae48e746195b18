"""Homes with a past, ways to damage their databases, and processes that are killed at a chosen step."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import sys
import traceback
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from homes import Home

__all__ = ["DAMAGES", "SWEEP", "changes", "copy_home", "damage", "killed_at", "pages_of", "settle", "steps_of"]

PAGE = 4096
#: Enough tasks for tables of several pages.
SWEEP = """[job]
name = "sweep"
command = ["sh", "-c", "echo $NEXAPOD_TASK > a.txt"]
[array]
ids = "0-59"
[quorum]
distinct = "run"
[[outputs]]
path = "a.txt"
"""

#: What happens to files: by name, what it makes of the bytes of a database.
DAMAGES: dict[str, Callable[[bytearray], None]] = {}


def _kind(name: str) -> Callable[[Callable[[bytearray], None]], Callable[[bytearray], None]]:
    def keep(deed: Callable[[bytearray], None]) -> Callable[[bytearray], None]:
        DAMAGES[name] = deed
        return deed

    return keep


@_kind("header overwritten")
def _header(data: bytearray) -> None:
    data[:100] = bytes(100)


@_kind("first page missing")
def _first_page(data: bytearray) -> None:
    data[:PAGE] = bytes(PAGE)


@_kind("page in the middle missing")
def _middle(data: bytearray) -> None:
    middle = len(data) // PAGE // 2
    data[middle * PAGE : (middle + 1) * PAGE] = bytes(PAGE)


@_kind("cut off in the middle")
def _half(data: bytearray) -> None:
    del data[len(data) // 2 :]


@_kind("cut off within a page")
def _torn(data: bytearray) -> None:
    del data[-PAGE - 700 :]


@_kind("flipped bytes")
def _flipped(data: bytearray) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(200):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


@_kind("a run of rubbish")
def _rubbish(data: bytearray) -> None:
    start = len(data) // 3
    data[start : start + 3 * PAGE] = b"\xa5" * (3 * PAGE)


def settle(home: Home) -> None:
    """End the workers of a home, and leave its database without a write-ahead log."""
    home.end()
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damage(database: Path, name: str) -> None:
    """Damage a database file in one of the ways."""
    data = bytearray(database.read_bytes())
    DAMAGES[name](data)
    database.write_bytes(data)
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def pages_of(database: Path, table: str) -> list[int]:
    """Return the pages on which the rows of a table lie, as SQLite itself says."""
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as connection:
        rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,))
        return [row[0] for row in rows]


def changes(deed: Callable[[], object]) -> int:
    """Do something in a process of its own and return how many changes to the disk it made."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            counted = _count_changes(lambda _: None)
            deed()
            os.write(theirs, b"%d" % counted())
            os._exit(0)
        except Exception:  # noqa: BLE001 - said aloud, and the exit code below says it as well
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours, "rb") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return int(said)


def killed_at(step: int, deed: Callable[[], object]) -> None:
    """Do something in a process that is killed before its n-th change to the disk."""
    pid = os.fork()
    if pid == 0:
        try:
            _count_changes(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == step else None)
            deed()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it ended by itself"


def _count_changes(told: Callable[[int], None]) -> Callable[[], int]:
    """Count from now on what this process changes on the disk, telling each number before it happens."""
    number = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal number
        writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes or event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}:
            number += 1
            told(number)

    sys.addaudithook(count)
    return lambda: number


def steps_of(total: int) -> list[int]:
    """Return the steps at which to kill: every one of the last, where files get their names, and some of the others."""
    last = max(1, total - 24)
    return [*range(1, last, 8), *range(last, total + 1)]


def copy_home(home: Path, target: Path) -> Path:
    """Return a copy of a home at rest."""
    shutil.copytree(home, target)
    return target
