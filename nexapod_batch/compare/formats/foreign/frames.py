"""What the program sends: pairs in MessagePack, (kind, content), each behind its length in four bytes.

`begun` is the first, and has the number of the process; `tokens` has a list of them; a code of `array` has the number
of bytes that follow, numbers as they lie in memory; `refused`, `missing` and `end` are the last.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, BinaryIO

import msgspec

if TYPE_CHECKING:
    from typing import Any

    from nexapod_batch.compare.numbers import Batch

    #: Tokens, or numbers as a library holds them.
    Sent = Batch | memoryview[Any]

__all__ = ["MOST", "NUMBERS", "send", "send_batch"]

#: Bytes of a frame, at most.
MOST = 256 << 20
#: Bytes of numbers that are sent together: what is made of them stays in the processor's cache.
_TOGETHER = 1 << 18
#: Codes of `array` that numbers are sent by.
NUMBERS = frozenset("bBhHiIqQfd")

_encode = msgspec.msgpack.Encoder().encode


def send(stream: BinaryIO, kind: str, content: object) -> int:
    """Write a frame; return its length."""
    data = _encode((kind, content))
    stream.write(len(data).to_bytes(4, "big") + data)
    return len(data)


def send_batch(stream: BinaryIO, batch: Sent) -> int:
    """Write tokens; numbers of an array, or of a view of one, are copied nowhere. Return how many bytes they are."""
    if isinstance(batch, list):
        return send(stream, "tokens", batch)
    view = memoryview(batch)
    kind, content = batch.typecode if isinstance(batch, array) else view.format, view.cast("B")
    for begin in range(0, len(content), _TOGETHER):
        piece = content[begin : begin + _TOGETHER]
        send(stream, kind, len(piece))
        stream.write(piece)
    return len(content)
