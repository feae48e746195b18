"""The GPUs that an executor was given by its worker: what they are, and the locks by which it holds them too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.runtimes import Device

if TYPE_CHECKING:
    import socket

__all__ = ["Granted", "receive"]

_MAX_LOCKS = 64  # that come with one message


class Granted:
    """GPUs for what runs now, or several short ones in a row."""

    def __init__(self, document: list[Any] | None = None, locks: list[int] | None = None) -> None:
        """Understand what the worker sent (`Grant.document`), with the descriptors of the locks; else it is nothing."""
        exclusive, *rows = document or [True]
        self.exclusive: bool = exclusive  # nothing else of ours is on them
        self.gpus = tuple(GrantedGpu(*row) for row in rows)
        self.devices = tuple(Device(gpu.uuid, gpu.vendor) for gpu in self.gpus)
        self._locks = locks or []

    def release(self) -> None:
        """Let go of the locks."""
        while self._locks:
            os.close(self._locks.pop())


def receive(channel: socket.socket, size: int, *, wait: bool) -> tuple[bytes, list[int]]:
    """Receive a message and the descriptors that came with it (`socket.recv_fds` ignores its flags in Python 3.11)."""
    import socket  # noqa: PLC0415 - an executor without a channel does without
    from array import array  # noqa: PLC0415

    fds = array("i")
    room, flags = socket.CMSG_SPACE(_MAX_LOCKS * fds.itemsize), 0 if wait else socket.MSG_DONTWAIT
    data, beside, _, _ = channel.recvmsg(size, room, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


class GrantedGpu(NamedTuple):
    """One of them."""

    uuid: str
    vendor: str
    model: str  # as its driver calls it; "" where none tells
    told: bool  # a driver tells how it is used
