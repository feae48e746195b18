"""What the program sends: frames of a length in four bytes, and a pair in MessagePack, (kind, content).

`tokens` has a list of them; a code of `array` has numbers as bytes; `refused`, `missing` and `end` are the last.
"""

from __future__ import annotations

from typing import BinaryIO

import msgspec

__all__ = ["MOST", "NUMBERS", "send"]

#: Bytes of a frame, at most.
MOST = 256 << 20
#: Codes of `array` that numbers are sent by.
NUMBERS = frozenset("bBhHiIqQfd")

_encode = msgspec.msgpack.Encoder().encode


def send(stream: BinaryIO, kind: str, content: object) -> None:
    """Write a frame."""
    data = _encode((kind, content))
    stream.write(len(data).to_bytes(4, "big") + data)
