"""Folders that are kept apart: the mark is set where the file system knows it, and nothing else changes anywhere."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.files.apart import keep_apart

if TYPE_CHECKING:
    from homes import Home

GET_FLAGS, TOP, NO_DUMP, SET_FLAGS = 0x80086601, 0x20000, 0x40, 0x40086602
with_marks = pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="other numbers")


def flags(folder: Path) -> int:
    """Return the attributes of a folder, as `lsattr` shows them; the test is skipped where there are none."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        found = bytearray(8)
        fcntl.ioctl(fd, GET_FLAGS, found)
        return int.from_bytes(found, "little")
    except OSError:
        pytest.skip("this file system has no attributes")
    finally:
        os.close(fd)


def is_ext4(folder: Path) -> bool:
    """Say whether a folder lies on ext4, by the mount that is nearest to it."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    nearest = max((row for row in mounts if folder.resolve().is_relative_to(row[4])), key=lambda row: len(row[4]))
    return nearest[nearest.index("-") + 1] == "ext4"


@with_marks
@pytest.mark.parametrize("other", [0, NO_DUMP], ids=["no other mark", "a mark that somebody else set"])
def test_a_folder_gets_the_mark_and_keeps_others(tmp_path: Path, other: int) -> None:
    """On ext4 the mark is there, beside what was there before; a second time changes nothing."""
    if not is_ext4(tmp_path):
        pytest.skip("only ext4 knows the mark")
    before = flags(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.ioctl(fd, SET_FLAGS, (before | other).to_bytes(8, "little"))
    os.close(fd)
    keep_apart(tmp_path)
    keep_apart(tmp_path)
    assert flags(tmp_path) == before | other | TOP


@pytest.mark.parametrize("place", ["/dev/shm", "/proc/self", "missing", "a file", "a link"])  # noqa: S108 - nothing is made there
def test_what_cannot_have_the_mark_is_left_as_it_is(tmp_path: Path, place: str) -> None:
    """In memory, in /proc, for what is no folder or a link to one: no error, and the same mode and entries as before."""
    (tmp_path / "a file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "a link").symlink_to("target")
    before = sorted(os.listdir(tmp_path))
    keep_apart(tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == before
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o777 & ~current_umask()
    assert not (is_ext4(tmp_path) and flags(tmp_path / "target") & TOP)


def current_umask() -> int:
    """Return the umask of this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@with_marks
def test_a_home_and_its_results_are_kept_apart(home: Home) -> None:
    """After the first job: what lies in the home, and what in `results`, but not the tasks of one job."""
    assert home.submit('[job]\nname = "x"\ncommand = ["true"]\n[quorum]\nagree = 1\n', "--wait").code == 0
    if not is_ext4(home.path):
        pytest.skip("only ext4 knows the mark")
    assert flags(home.path) & TOP
    assert flags(home.path / "results") & TOP
    assert not flags(home.path / "results" / "1") & TOP
