"""Report segments: what is committed, in which order, and what a failing disk leaves behind."""

from __future__ import annotations

import errno
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.spool.segment_writer import MAX_LINES, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the segment will be."""
    return tmp_path / "one.jsonl"


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Refuse to let any file of this process grow over `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_nothing_is_made_for_nothing(path: Path) -> None:
    """A segment without lines has no file, and its end is not said."""
    segment = Segment(path)
    segment.flush()
    segment.end()
    assert (segment.due, segment.due_in) == (False, None)
    assert not path.exists()


def test_lines_are_kept_in_their_order_and_the_end_is_said(path: Path) -> None:
    """Every flush appends; who reads the last line may forget the segment."""
    segment = Segment(path)
    segment.add(b"a", [])
    segment.add(b"b", [])
    segment.flush()
    segment.add(b"c", [])
    segment.end()  # not yet: a line waits
    assert path.read_bytes() == b"a\nb\n"
    segment.flush()
    segment.end()
    assert path.read_bytes() == b'a\nb\nc\n{"end":true}\n'


def test_many_lines_are_due(path: Path) -> None:
    """They are not kept back until they are old."""
    segment = Segment(path)
    for _ in range(MAX_LINES):
        segment.add(b"x", [])
    assert segment.due


def test_no_torn_line_stays_on_a_full_disk(path: Path) -> None:
    """What could not be written waits, and is written when there is room again."""
    segment = Segment(path)
    segment.add(b"kept", [])
    segment.flush()
    segment.add(b"long" * 50, [])
    with full_disk(100), pytest.raises(OSError, match="large") as caught:
        segment.flush()
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"kept\n"
    segment.flush()
    assert path.read_bytes() == b"kept\n" + b"long" * 50 + b"\n"


def test_files_are_kept_before_the_line_that_speaks_of_them(path: Path, tmp_path: Path) -> None:
    """A file that cannot be made durable keeps its line out of the segment."""
    segment = Segment(path)
    segment.add(b"a", [tmp_path / "gone"])
    with pytest.raises(FileNotFoundError):
        segment.flush()
    assert not path.exists()


def test_another_segment_of_the_name_is_not_touched(path: Path) -> None:
    """A name belongs to one executor: what is there already was written by somebody else."""
    path.write_bytes(b"other\n")
    segment = Segment(path)
    segment.add(b"a", [])
    with pytest.raises(FileExistsError):
        segment.flush()
    assert path.read_bytes() == b"other\n"
