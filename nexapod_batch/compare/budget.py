"""How much processor time comparing may take, and how much may come out of what is packed.

A file can be made so that reading it takes hours: the bound grows with its size, at a twentieth of the speed at which
the slowest format is read. Processor time is counted, of the thread that compares and of the programs that read for it,
so that a busy machine changes nothing. Whoever compares opens a budget (`within`), and readers ask it at each block.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from time import thread_time
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from nexapod_batch.errors import CompareTimeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Budget", "allowing", "current", "earned_by", "most_of", "size_of", "within"]

#: Seconds for everything, for each file, and for each MiB of it.
_BASE_S, _FILE_S, _MIB_S = 60.0, 2.0, 10.0
#: Seconds for each MiB that comes out of a packed file, and for all of them together.
_OUT_S, _MOST_OUT_S = 1.0, 600.0
#: Bytes that may come out of a file, however small it is, and times its own size where that is more.
_MOST, _TIMES = 4 << 30, 1_000
_MIB = 1 << 20


def most_of(size: int) -> int:
    """Return how many bytes may come out of a file of a size: a bomb ends there."""
    return max(_MOST, _TIMES * size)


def earned_by(size: int) -> float:
    """Return the seconds that are allowed for bytes that came out of a packed file, if these were all."""
    return min(_MOST_OUT_S, _OUT_S * size / _MIB)


class Budget:
    """Seconds of processor time that comparing may take, on the thread that makes it."""

    def __init__(self, seconds: float = _BASE_S, *, grows: bool = True) -> None:
        """Begin now, within the budget that is open; one that does not `grow` is the same whatever is compared."""
        self._seconds, self._grows = seconds, grows
        self._out = 0  # bytes that came out of packed files
        self._elsewhere = 0.0  # seconds that programs took
        self._outer = _open.get()
        self._begun = thread_time()

    def allow(self, size: int) -> None:
        """Allow for one more file of so many bytes."""
        if self._grows:
            self._seconds += _FILE_S + _MIB_S * size / _MIB

    def came_out(self, size: int) -> None:
        """Allow for bytes that came out of a packed file."""
        if self._grows:
            self._seconds += earned_by(self._out + size) - earned_by(self._out)
            self._out += size

    def charge(self, seconds: float) -> None:
        """Count what a program took."""
        self._elsewhere += seconds
        if self._outer is not None:
            self._outer.charge(seconds)

    def left(self) -> float:
        """Return how many seconds are left, which may be fewer than none."""
        own = self._seconds - self._elsewhere - (thread_time() - self._begun)
        return own if self._outer is None else min(own, self._outer.left())

    def check(self, name: str) -> None:
        """Raise CompareTimeError, which names the file that is compared, where nothing is left."""
        if self.left() < 0:
            self.exceeded(name)

    def exceeded(self, name: str) -> NoReturn:
        """Raise CompareTimeError."""
        raise CompareTimeError(
            f"not compared: {name}",
            got=f"more than {self._bound():.0f} s of processor time",
            wanted='less, or compare = "exact" or "none": the bound grows with the size of what is compared',
        )

    def _bound(self) -> float:
        """Return the seconds of the budget that is spent: this one, or one that it lies in."""
        own = self._seconds - self._elsewhere - (thread_time() - self._begun)
        if self._outer is None or own <= self._outer.left():
            return self._seconds
        return self._outer._bound()  # noqa: SLF001 - of this class


_open: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current() -> Budget:
    """Return the budget that is open; one without end where none is."""
    return _open.get() or Budget(math.inf, grows=False)


@contextmanager
def within(budget: Budget) -> Iterator[Budget]:
    """Have all that is compared take its time from a budget."""
    before = _open.set(budget)
    try:
        yield budget
    finally:
        _open.reset(before)


@contextmanager
def allowing(*streams: BinaryIO) -> Iterator[None]:
    """Compare files within the budget that is open, or one of their own."""
    budget = _open.get() or Budget()
    for stream in streams:
        budget.allow(size_of(stream))
    with within(budget):
        yield


def size_of(stream: BinaryIO) -> int:
    """Return the bytes of a file, or of all files of a store; 0 where that cannot be said."""
    if isinstance(known := getattr(stream, "size", None), int):
        return known
    stream = getattr(stream, "source", stream)  # of one that digests what is read
    try:
        at = stream.tell()
        size = stream.seek(0, 2)
        stream.seek(at)
    except (AttributeError, OSError, ValueError):
        return 0
    return size
