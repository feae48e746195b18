"""Waiting for changes in folders: what the kernel tells, and what does not wait for ever where it tells nothing."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.files import atomic
from nexapod_batch.files.changes import Changes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: For which nobody waits: something comes, or the test fails.
LONG_S = 120.0


def _append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is made": lambda folder: (folder / "new").touch(),
    "a file is put in place": lambda folder: atomic.write(folder / "new", b"x"),
    "a file grows": lambda folder: _append(folder / "old"),
    "its time is set": lambda folder: os.utime(folder / "old"),
    "it is removed": lambda folder: (folder / "old").unlink(),
    "it is moved away": lambda folder: (folder / "old").rename(folder.parent / "away"),
    "it is moved here": lambda folder: (folder.parent / "other").rename(folder / "other"),
    "a folder is made": lambda folder: (folder / "sub").mkdir(),
}


def folder_of(tmp_path: Path) -> Path:
    """Return a folder with a file, and one more file beside it."""
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "old").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_who_waits_hears_of_a_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """The wait ends by the change, whoever of this machine made it; what was told is told once."""
    folder = folder_of(tmp_path)
    changes = Changes([folder])
    before = changes.wait(0)
    other = threading.Thread(target=change, args=(folder,))
    other.start()
    heard = changes.wait(LONG_S)
    other.join()
    changes.take()
    assert (changes.all_told, before, heard, changes.wait(0)) == (True, False, True, False)
    changes.close()


def test_a_change_before_the_wait_ends_it(tmp_path: Path) -> None:
    """Nothing is missed between two waits, and a read of a file is no change."""
    folder = folder_of(tmp_path)
    changes = Changes([folder])
    (folder / "old").read_bytes()
    quiet = changes.wait(0)
    (folder / "new").touch()
    assert (quiet, changes.wait(LONG_S)) == (False, True)
    changes.close()


@pytest.mark.parametrize("missing", [False, True], ids=["told", "not told"])
def test_somebody_else_ends_the_wait(tmp_path: Path, missing: bool) -> None:
    """`wake` does, also where the kernel tells nothing of a folder, of which the object says so."""
    folder = folder_of(tmp_path)
    changes = Changes([folder, tmp_path / "missing"] if missing else [folder])
    other = threading.Thread(target=changes.wake)
    other.start()
    heard = changes.wait(LONG_S)
    other.join()
    assert (changes.all_told, heard, changes.wait(0)) == (not missing, True, False)
    changes.close()


def test_more_than_one_read_takes_is_told_once(tmp_path: Path) -> None:
    """However much changed, the next wait after it waits."""
    folder = folder_of(tmp_path)
    changes = Changes([folder])
    for number in range(3000):
        (folder / f"a-long-name-of-a-file-{number}").touch()
    heard = changes.wait(LONG_S)
    assert (heard, changes.wait(0)) == (True, False)
    changes.close()
