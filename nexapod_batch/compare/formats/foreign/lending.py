"""Memory by which the program lends numbers: slots that are used in turn, so that they are copied nowhere on their way.

Whoever reads what is sent makes the memory, whose size nobody can change any more, and only looks at it. It gives slots
back by a byte each in a pipe. What a library that was taken over writes there meanwhile is what it might have sent.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from array import array
from typing import TYPE_CHECKING, Any

from nexapod_batch.compare.numbers import Lent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SLOT", "Borrower", "Lender"]

#: Bytes of a slot: the more, the fewer calls of a library and turns of two processes. Slots: both work at once.
SLOT, _SLOTS = 4 << 20, 4


class Borrower:
    """The side that reads."""

    def __init__(self) -> None:
        """Make the memory, and the pipe by which slots are given back."""
        self.memory = os.memfd_create("nexapod-numbers", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.free, self._freeing = -1, -1
        try:
            os.ftruncate(self.memory, SLOT * _SLOTS)
            fcntl.fcntl(self.memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._mapped = memoryview(mmap.mmap(self.memory, SLOT * _SLOTS, prot=mmap.PROT_READ))
            self.free, self._freeing = os.pipe()
            os.set_blocking(self._freeing, False)
        except BaseException:
            self.hand_over()
            raise
        self._next = 0

    def hand_over(self) -> None:
        """Close what the other side has by now."""
        for descriptor in (self.memory, self.free):
            if descriptor >= 0:
                os.close(descriptor)

    def close(self) -> None:
        """Give up everything; numbers that are still looked at keep their memory."""
        os.close(self._freeing)

    def borrowed(self, code: str, size: int) -> Iterator[Lent]:
        """Yield the numbers of the next slot, and give it back behind them.

        Raises:
            ValueError: There cannot be so many, or slots are never taken back.

        """
        begin = self._next * SLOT
        if not 0 <= size <= SLOT or size % array(code).itemsize:
            raise ValueError("more than a slot holds")
        self._next = (self._next + 1) % _SLOTS
        yield Lent(self._mapped[begin : begin + size].cast(code))  # type: ignore[call-overload] # one of array's
        try:
            os.write(self._freeing, b"\0")
        except BrokenPipeError:  # the library ended meanwhile, which shows in what it sent
            return
        except BlockingIOError:
            raise ValueError("slots that nobody takes back") from None


class Lender:
    """The side that writes."""

    def __init__(self, memory: int, free: int) -> None:
        """Take the descriptors that came with a file."""
        self._mapped = memoryview(mmap.mmap(memory, SLOT * _SLOTS))
        self._free, self._next, self._lent = free, 0, 0

    def pieces(self, numbers: memoryview[Any], flush: Callable[[], None]) -> Iterator[int]:
        """Put bytes into slots; yield how many each one has, which is to be sent before more is asked for.

        Raises:
            BrokenPipeError: Nobody reads any more.

        """
        for begin in range(0, len(numbers), SLOT):
            piece = numbers[begin : begin + SLOT]
            self.room(len(piece), flush)[:] = piece
            yield len(piece)

    def room(self, size: int, flush: Callable[[], None]) -> memoryview[Any]:
        """Return the next slot, up to a size, after waiting for it; what was sent is flushed before.

        Raises:
            BrokenPipeError: Nobody reads any more.

        """
        if self._lent == _SLOTS:
            flush()
            given = len(os.read(self._free, _SLOTS))
            if not given:
                raise BrokenPipeError
            self._lent -= given
        at = self._next * SLOT
        self._next, self._lent = (self._next + 1) % _SLOTS, self._lent + 1
        return self._mapped[at : at + size]
