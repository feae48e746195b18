"""Report segments: what is committed, in which order, and what a failing disk leaves behind."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.runner.segment import MAX_LINES, Segment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the segment will be."""
    return tmp_path / "one.jsonl"


def test_what_was_begun_is_durable_when_it_is_settled(path: Path) -> None:
    """Lines are written at once and whole; they count when the disk has them."""
    segment = Segment(path)
    segment.add(b"a", [])
    segment.add(b"b", [])
    assert segment.begin()
    assert path.read_bytes() == b"a\nb\n"
    assert segment.busy
    assert segment.settled(wait=True)
    assert not segment.busy


def test_lines_that_come_meanwhile_wait(path: Path) -> None:
    """One part is under way at a time, so that a failing one can be taken back."""
    segment = Segment(path)
    segment.add(b"a", [])
    assert segment.begin()
    segment.add(b"b", [])
    assert path.read_bytes() == b"a\n"
    segment.flush()
    assert path.read_bytes() == b"a\nb\n"
    assert not segment.busy


def test_nothing_waits_in_a_segment_without_lines(path: Path) -> None:
    """No file is made for nothing, and its end is not said."""
    segment = Segment(path)
    assert segment.begin()
    segment.flush()
    segment.end()
    assert (segment.busy, segment.due, segment.due_in) == (False, False, None)
    assert not path.exists()


def test_many_lines_are_due(path: Path) -> None:
    """They are not kept back until they are old."""
    segment = Segment(path)
    for number in range(MAX_LINES):
        assert not segment.due or number
        segment.add(b"x", [])
    assert segment.due


class Failing(Segment):
    """A segment on a disk that refuses to keep what was written, until it is repaired."""

    broken = True

    def _keep(self, fd: int) -> None:
        if self.broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._keep(fd)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_the_disk_refused_is_written_again(path: Path, meanwhile: bool) -> None:  # noqa: FBT001
    """No torn or doubtful line stays behind, none is lost, and their order is kept."""
    segment = Failing(path)
    segment.broken = False
    segment.add(b"kept", [])
    segment.flush()
    segment.broken = True
    segment.add(b"a", [])
    if meanwhile:
        assert segment.begin()
        segment.add(b"b", [])
        with pytest.raises(OSError, match="space"):
            segment.settled(wait=True)
    else:
        segment.add(b"b", [])
        with pytest.raises(OSError, match="space"):
            segment.flush()
    assert path.read_bytes() == b"kept\n"
    assert not segment.busy
    assert segment.due
    segment.broken = False
    segment.flush()
    segment.end()
    assert path.read_bytes() == b'kept\na\nb\n{"end":true}\n'


def test_the_end_is_not_said_before_everything_is_kept(path: Path) -> None:
    """Who reads the last line may forget the segment."""
    segment = Segment(path)
    segment.add(b"a", [])
    assert segment.begin()
    segment.end()
    assert path.read_bytes() == b"a\n"
    assert segment.settled(wait=True)
    segment.end()
    assert path.read_bytes().endswith(b'{"end":true}\n')


def test_files_are_kept_before_the_line_that_speaks_of_them(path: Path, tmp_path: Path) -> None:
    """A file that cannot be made durable keeps its line out of the segment."""
    segment = Segment(path)
    segment.add(b"a", [tmp_path / "gone"])
    with pytest.raises(FileNotFoundError):
        segment.begin()
    assert not path.exists()
