"""Where the lines of a report segment lie: cut into blocks that are read at once, never more than was allowed for.

A segment is read up to its last complete line; the line is the commit of its writer. What lies in its place, or in it,
may be hostile: it is opened carefully, holes are jumped over, and a line without end is passed over, not waited for.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.files import careful
from nexapod_batch.trust.dsse import MAX_ENVELOPE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KEEP", "MAX_LINE", "Block", "Budget", "beginning", "blocks", "count_lines", "first_line"]

#: Longest report line: the envelope and the small files carried with it.
MAX_LINE = MAX_ENVELOPE + 64 * 1024
#: How much of a bad line is kept.
KEEP = 4096
#: Bytes read at once: some hundred reports.
_BLOCK = 256 * 1024
#: Bytes in which a newline is looked for first: some reports.
_NEAR = 16 * 1024


class Block(NamedTuple):
    """Complete lines of a segment, and where they lie."""

    path: Path
    start: int
    end: int
    endless: bool = False  # it is the beginning of a line that is too long to be a report, or a hole


class Budget:
    """Bytes that may still be read."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        """Begin with so many."""
        self.left = left


def blocks(path: Path, position: int, budget: Budget | None = None) -> Iterator[Block]:
    """Yield what is complete from a position on, in blocks that are short enough to be read at once.

    When the budget is used up by the end, there may be more. OSError when the segment is no plain file any more.
    """
    fd = careful.open_plain(path)
    try:
        size = os.fstat(fd).st_size
        start = end = position  # of the block, and of what was looked at
        endless = False  # the end of a line that is too long was not seen yet
        while end < size and (budget is None or budget.left > 0):
            end = _behind_hole(fd, end, size)
            length = min(_BLOCK, size - end)
            if budget is not None:
                budget.left -= _BLOCK
            newline = _last_newline(fd, end, length)
            endless = endless or end - start > MAX_LINE
            if endless and newline >= 0:
                first = end + os.pread(fd, length, end).find(b"\n") + 1
                yield Block(path, start, first, endless=True)
                start, endless = first, False
            if newline >= 0 and start < end + newline + 1:
                yield Block(path, start, end + newline + 1)
                start = end + newline + 1
            end += length
            endless = endless or end - start > MAX_LINE
        if endless and end < size:  # one that may still end is looked at again
            yield Block(path, start, end, endless=True)
    finally:
        os.close(fd)


def count_lines(block: Block) -> int:
    """Return how many lines a block has; OSError when it cannot be read."""
    if block.endless:
        return 1
    fd = careful.open_plain(block.path)
    try:
        places = range(block.start, block.end, _BLOCK)
        return sum(os.pread(fd, min(_BLOCK, block.end - place), place).count(b"\n") for place in places)
    finally:
        os.close(fd)


def first_line(block: Block) -> Block:
    """Return the first line of a block; OSError when it cannot be read."""
    if block.endless:
        return block
    fd = careful.open_plain(block.path)
    try:
        newline = os.pread(fd, block.end - block.start, block.start).find(b"\n")
    finally:
        os.close(fd)
    return block._replace(end=block.start + newline + 1)


def _last_newline(fd: int, position: int, length: int) -> int:
    """Return how far behind a position the last newline of so many bytes lies; -1 for none. The end is read first."""
    near = max(0, length - _NEAR)
    newline = os.pread(fd, length - near, position + near).rfind(b"\n")
    if newline >= 0:
        return near + newline
    return os.pread(fd, near, position).rfind(b"\n")


def _behind_hole(fd: int, position: int, size: int) -> int:
    """Return where the next data lies, if no report could span what is between; else the position."""
    try:
        data = os.lseek(fd, position, os.SEEK_DATA)
    except OSError as error:
        data = size if error.errno == errno.ENXIO else position  # nothing but a hole; or the file system knows none
    if data - position > MAX_LINE:
        return data
    return position


def beginning(path: Path, position: int) -> bytes:
    """Return the beginning of the line at a position, for the quarantine; nothing where it cannot be read any more."""
    try:
        fd = careful.open_plain(path)
    except OSError:
        return b""
    try:
        return os.pread(fd, KEEP, position).partition(b"\n")[0]
    finally:
        os.close(fd)
