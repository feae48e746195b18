"""The GPUs that an executor was given by its worker: what they are, and the locks by which it holds them too."""

from __future__ import annotations

import os
import socket
from array import array
from typing import Any, NamedTuple

from nexapod_batch.runtimes import Device

__all__ = ["Granted", "receive"]

_MAX_LOCKS = 64  # that come with one message
_LOCK = array("i").itemsize


class Granted:
    """GPUs for what runs now, or several short ones in a row."""

    def __init__(self, document: list[Any] | None = None, locks: list[int] | None = None) -> None:
        """Understand what the worker sent (`Grant.document`), with the descriptors of the locks; else it is nothing."""
        exclusive, *rows = document or [True]
        self.exclusive: bool = exclusive  # nothing else of ours is on them
        self.gpus = tuple(GrantedGpu(*row) for row in rows)
        self.devices = tuple(Device(one.uuid, one.vendor) for one in self.gpus)
        self._locks = locks or []

    def release(self) -> None:
        """Let go of the locks."""
        while self._locks:
            os.close(self._locks.pop())


def receive(channel: socket.socket, size: int, flags: int) -> tuple[bytes, list[int]]:
    """Receive a message and the descriptors that came with it (`socket.recv_fds` ignores its flags in Python 3.11)."""
    room = socket.CMSG_SPACE(_MAX_LOCKS * _LOCK)
    data, beside, _, _ = channel.recvmsg(size, room, flags | socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % _LOCK])
    return data, list(fds)


class GrantedGpu(NamedTuple):
    """One of them."""

    uuid: str
    vendor: str
    model: str  # as its driver calls it; "" where none tells
    told: bool  # a driver tells how it is used
