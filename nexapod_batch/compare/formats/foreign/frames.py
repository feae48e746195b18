"""What the program sends: pairs in MessagePack, (kind, content), each behind its length in four bytes.

`begun` is the first, and has the number of the process; `tokens` has a list of them; a code of `array` has the number
of bytes of numbers, which lie in the next slot (`lending`); `stored` has the code, the place and the bytes of numbers
that lie in the file itself (`stored`); `refused`, `missing` and `end` are the last. `want` has the
name of a file of a store, or "" for what there is; it is answered by eight bytes with a length and so many bytes, or by
the largest length where there is no such file.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from nexapod_batch.compare.formats.foreign.lending import Lender
    from nexapod_batch.compare.numbers import Batch

    #: Tokens, numbers as a library holds them, or such as it is still to read.
    Sent: TypeAlias = "Batch | memoryview[Any] | Stored | Unread"

__all__ = ["MOST", "NUMBERS", "Stored", "Unread", "answer", "answered", "send", "send_batch"]

#: Bytes of a frame, at most.
MOST = 256 << 20
#: Codes of `array` that numbers are sent by.
NUMBERS = frozenset("bBhHiIqQfd")
#: Bytes of the length of an answer, and the length that says that there is nothing.
_ANSWER, _NOTHING = 8, (1 << 64) - 1


class Stored(NamedTuple):
    """Numbers in one piece of a file, which nobody needs a library for."""

    code: str  # of array
    begin: int  # byte of the file
    size: int  # bytes


class Unread(NamedTuple):
    """Numbers that fit into a slot, and are read right into it."""

    code: str  # of array
    size: int  # bytes
    read: Callable[[memoryview[Any]], None]  # into a slot


_encode = msgspec.msgpack.Encoder().encode


def send(stream: BinaryIO, kind: str, content: object) -> int:
    """Write a frame; return its length."""
    data = _encode((kind, content))
    stream.write(len(data).to_bytes(4, "big") + data)
    return len(data)


def send_batch(stream: BinaryIO, batch: Sent, lender: Lender) -> int:
    """Write tokens; numbers are put into slots, and are to be read while the next ones are. Return how many bytes."""
    if isinstance(batch, list):
        return send(stream, "tokens", batch)
    if isinstance(batch, Stored):
        send(stream, "stored", batch)
        stream.flush()
        return batch.size
    if isinstance(batch, Unread):
        batch.read(lender.room(batch.size, stream.flush))
        send(stream, batch.code, batch.size)
        stream.flush()
        return batch.size
    view = memoryview(batch)
    kind, content = batch.typecode if isinstance(batch, array) else view.format, view.cast("B")
    for size in lender.pieces(content, stream.flush):
        send(stream, kind, size)
        stream.flush()
    return len(content)


def answer(stream: BinaryIO, content: bytes | None) -> None:
    """Write what was wanted; None: there is no such file."""
    stream.write((_NOTHING if content is None else len(content)).to_bytes(_ANSWER, "big"))
    stream.write(content or b"")
    stream.flush()


def answered(stream: BinaryIO) -> bytes | None:
    """Return what was wanted; None: there is no such file.

    Raises:
        ValueError: Whoever answers is gone.

    """
    size = int.from_bytes(stream.read(_ANSWER), "big")
    if size == _NOTHING:
        return None
    content = stream.read(size)
    if len(content) != size:
        raise ValueError("nobody answers any more")
    return content
