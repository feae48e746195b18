"""What is asked of the program that reads files: lists in MessagePack, each behind its length in four bytes.

(number, how, ignored, (seconds, size)) has a file read, which comes beside the length with the pipe that its tokens go
to, and with what numbers are lent by (`lending`). (number, "", (), (0, 0)) ends that; nothing is answered.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Asked", "Bounds", "ask", "received"]

_LENGTH = 4
#: A file, a pipe, memory, and the pipe by which it is given back.
_DESCRIPTORS = 4


class Bounds(NamedTuple):
    """How much reading may take, but for what is allowed for what comes out of the file."""

    seconds: int = 0  # of processor time
    size: int = 0  # bytes of what is read


class Asked(NamedTuple):
    """What is to be done."""

    number: int  # of the reading
    how: str  # the function that reads; empty where reading is to end
    ignored: tuple[str, ...]
    bounds: Bounds
    descriptors: list[int]  # of the file, of the pipe, of memory and of the pipe by which it is given back


_NONE = Bounds()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, str, tuple[str, ...], Bounds]).decode


def ask(
    channel: socket.socket, number: int, how: str = "", ignored: Sequence[str] = (), bounds: Bounds = _NONE,
    descriptors: Sequence[int] = (),
) -> None:  # fmt: skip
    """Send one list.

    Raises:
        OSError: The program is gone.

    """
    data = _encode((number, how, ignored, bounds))
    socket.send_fds(channel, [len(data).to_bytes(_LENGTH, "big")], descriptors)
    channel.sendall(data)


def received(channel: socket.socket) -> Asked | None:
    """Return the next one; None when whoever asks is gone."""
    length, descriptors, _, _ = socket.recv_fds(channel, _LENGTH, _DESCRIPTORS)
    size, data = int.from_bytes(length, "big"), b""
    while len(data) < size and (part := channel.recv(size - len(data))):
        data += part
    if not data or len(data) < size:
        return None
    return Asked(*_decode(data), descriptors)
