"""What a worker and its executors tell one another without a message: some memory that all of them share.

Every number has one writer, and is written at one stroke. It tells the truth about an executor that was stopped or
killed, which can send no message any more. A command cannot reach it: it goes with the program that a process runs.

Times are those of the clock that only runs forward, which is the same for all processes; 0 is never.
"""

from __future__ import annotations

import mmap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SEATS", "Seat", "Slate"]

#: Executors that can be told apart at once.
SEATS = 4096
_WIDTH = 8  # numbers of a seat: a line of the cache of its own


class Slate:
    """The shared memory, made before executors are forked."""

    def __init__(self) -> None:
        """Make it; all numbers are 0."""
        self._numbers = memoryview(mmap.mmap(-1, 8 * _WIDTH * (SEATS + 1))).cast("d")

    def seat(self, number: int) -> Seat:
        """Return the seat of an executor by its number; what one before it left there is wiped out."""
        self._numbers[2] = max(self._numbers[2], number % SEATS + 1)
        found = Seat(self, self._numbers, number % SEATS)
        found.clear()
        return found

    def look_at(self, number: int) -> Seat:
        """Return the seat of an executor for whoever only reads it."""
        return Seat(self, self._numbers, number % SEATS)

    def others(self, seat: Seat) -> Iterator[Seat]:
        """Yield every other seat that was ever taken."""
        for number in range(int(self._numbers[2])):
            if number != seat.number:
                yield Seat(self, self._numbers, number)

    @property
    def full_at(self) -> float:
        """When the disk was full last, as the worker saw it."""
        return self._numbers[0]

    @full_at.setter
    def full_at(self, when: float) -> None:
        self._numbers[0] = when

    @property
    def careful_until(self) -> float:
        """Until when replicas are to run one after the other."""
        return self._numbers[1]

    @careful_until.setter
    def careful_until(self, when: float) -> None:
        self._numbers[1] = when


class Seat:
    """What one executor does."""

    __slots__ = ("_at", "_numbers", "_slate", "number")

    def __init__(self, slate: Slate, numbers: memoryview[float], number: int) -> None:
        """Remember where its numbers are."""
        self._slate, self._numbers, self.number = slate, numbers, number
        self._at = _WIDTH * (number + 1)

    def clear(self) -> None:
        """Begin anew."""
        for at in range(self._at, self._at + _WIDTH):
            self._numbers[at] = 0.0

    def turn(self) -> None:
        """Say that the next replica is at hand."""
        self._numbers[self._at + 4] += 1

    def begin(self) -> None:
        """Say that a command starts."""
        self._numbers[self._at] = time.monotonic()

    def end(self) -> None:
        """Say that nothing of the command lives."""
        self._numbers[self._at + 1] = time.monotonic()

    @property
    def slate(self) -> Slate:
        """The slate that it is part of."""
        return self._slate

    @property
    def began(self) -> float:
        """When its last command started."""
        return self._numbers[self._at]

    @property
    def ended(self) -> float:
        """When its last command had ended."""
        return self._numbers[self._at + 1]

    @property
    def running(self) -> bool:
        """Whether a command runs now."""
        return self.began > self.ended

    @property
    def count(self) -> int:
        """How many replicas it has taken up."""
        return int(self._numbers[self._at + 4])

    @property
    def deadline(self) -> float:
        """When the command must be told to end; 0: no time is set, or it stands still."""
        return self._numbers[self._at + 2]

    @deadline.setter
    def deadline(self, when: float) -> None:
        self._numbers[self._at + 2] = when

    @property
    def killed_at(self) -> float:
        """When a command of its was itself killed by the kernel last."""
        return self._numbers[self._at + 3]

    @killed_at.setter
    def killed_at(self, when: float) -> None:
        self._numbers[self._at + 3] = when
