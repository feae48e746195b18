"""Whose process is at the other end of a TCP connection on this machine: the kernel says so in /proc/net."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["owner_of_peer"]

_TABLE = "/proc/net/tcp"


def owner_of_peer(connection: socket.socket) -> int | None:
    """Return the user id of the process that connected over IPv4 loopback; None where that cannot be said."""
    if connection.family != socket.AF_INET:
        return None
    peer, own = connection.getpeername(), connection.getsockname()
    wanted = (_entry(*peer), _entry(*own))
    with suppress(OSError):
        for local, remote, uid in _connections():
            if (local, remote) == wanted:
                return uid
    return None


def _entry(host: str, port: int) -> str:
    """Return an address as the kernel writes it: its bytes as a number of this machine, then the port."""
    packed = socket.inet_aton(host)
    number = int.from_bytes(packed, sys.byteorder)
    return f"{number:08X}:{port:04X}"


def _connections() -> Iterator[tuple[str, str, int]]:
    with open(_TABLE, encoding="ascii") as table:
        next(table, "")  # names of the columns
        for line in table:
            fields = line.split()
            yield fields[1], fields[2], int(fields[7])
