"""Numbers that lie in one piece in a file, as this machine has them: whoever compares reads them there itself.

The program only says where. It could have sent any numbers: to name another place of the same file is no new lie.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

from nexapod_batch.compare.numbers import Lent

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["numbers_at"]

#: Bytes that are read at once: those of two files stay in the processor's cache while they are compared.
_PIECE = 1 << 18


def numbers_at(file: int, code: str, begin: int, size: int) -> Iterator[Lent]:
    """Yield numbers of a kind of `array`, which are `size` bytes at a place of a file.

    Raises:
        OSError: The file cannot be read.
        ValueError: There are no such numbers in it.

    """
    if begin < 0 or size < 0 or size % array(code).itemsize or begin + size > os.fstat(file).st_size:
        raise ValueError("nothing lies there")
    room = memoryview(bytearray(min(size, _PIECE)))
    for at in range(begin, begin + size, _PIECE):
        piece = room[: begin + size - at]
        _read(file, piece, at)
        yield Lent(piece.cast(code))  # type: ignore[call-overload] # one of array's


def _read(file: int, into: memoryview, at: int) -> None:
    """Fill memory from a place of a file."""
    filled = 0
    while filled < len(into):
        count = os.preadv(file, [into[filled:]], at + filled)
        if not count:
            raise ValueError("the file has become shorter")
        filled += count
