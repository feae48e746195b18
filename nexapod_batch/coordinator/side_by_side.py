"""Work on many items that several processes share: each takes the next one, and the answers come back in order.

Threads would not help: between two calls into a library, each of some 50 microseconds, they wait for the interpreter.
Forked, the helpers have everything imported. They touch neither the database nor anything that others see, and what
one that died did not send is done here: whatever becomes of them costs time only.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from contextlib import contextmanager, suppress
from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import DecodeError
from msgspec.msgpack import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["helpers_for", "side_by_side"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
#: The number of an item; and what comes before an answer: that number, and how many bytes follow.
_TICKET, _HEAD = Struct("<I"), Struct("<II")
#: Bytes that a pipe holds, where the system lets it.
_ROOM = 1 << 20
#: Bytes that a helper keeps while nobody reads them, before it waits.
_MAX_WAITING = 32 << 20
_MAX_HELPERS = 8


def helpers_for(amount: int, worth_one: int) -> int:
    """Return how many helpers to start for an amount of work, of which so much is worth starting one; 0 for none."""
    helpers = min(len(os.sched_getaffinity(0)), amount // worth_one, _MAX_HELPERS)
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:  # as with SSH: a fork may copy a lock that is held
        return 0
    if helpers < 2:
        return 0
    return helpers


def side_by_side(
    work: Callable[[_Item], _Answer], items: Sequence[_Item], kind: Any, helpers: int  # noqa: ANN401 - a type form
) -> Iterator[_Answer | OSError]:
    """Yield `work(item)` of every item, in order; an OSError that it raises in its place. Answers are of a `kind`."""
    with _forked(work, items, helpers) as answers:
        for number, item in enumerate(items):
            try:
                sent = answers.of(number)
                yield work(item) if sent is None else _decoder(kind).decode(sent)
            except DecodeError:
                yield work(item)
            except OSError as error:
                yield error


@cache
def _decoder(kind: Any) -> Decoder[Any]:  # noqa: ANN401 - a type form
    return Decoder(kind)


class _Answers:
    """What helpers send, each through a pipe of its own, in whatever order they come to it."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self.open: dict[int, bytearray] = {}  # what came and is not whole yet, by descriptor
        self._early: dict[int, bytes] = {}  # by number of the item

    def add(self, fd: int) -> None:
        """Listen to another helper."""
        self.open[fd] = bytearray()
        self.poll.register(fd, select.POLLIN)

    def of(self, number: int) -> bytes | None:
        """Return what was made of an item; None where its helper died before it sent that."""
        while number not in self._early and self.open:
            for fd, _ in self.poll.poll():
                self._read(fd)
        return self._early.pop(number, None)

    def _read(self, fd: int) -> None:
        data = os.read(fd, _ROOM)
        if not data:
            self.poll.unregister(fd)
            del self.open[fd]
            return
        came = self.open[fd]
        came += data
        while len(came) >= _HEAD.size:
            number, size = _HEAD.unpack_from(came)
            if len(came) < _HEAD.size + size:
                return
            self._early[number] = bytes(came[_HEAD.size : _HEAD.size + size])
            del came[: _HEAD.size + size]


@contextmanager
def _forked(work: Callable[[_Item], _Answer], items: Sequence[_Item], helpers: int) -> Iterator[_Answers]:
    """Start helpers, each of which takes the next item as soon as it is done with one; yield what they send."""
    answers = _Answers()
    fds, pids = [], []
    try:
        tickets = _tickets(len(items)) if helpers else -1
        for _ in range(helpers):
            ours, theirs = os.pipe()
            fds.append(ours)
            with suppress(OSError):  # room for the next answers, so that nobody waits for the other
                fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _ROOM)
            pid = os.fork()
            if pid == 0:
                with suppress(BaseException):  # whatever it is, the other side does what is missing
                    for fd in fds:  # who could read its own pipe would wait for itself when nobody else does
                        os.close(fd)
                    os.nice(5)  # who writes to the database goes first: the others wait for it at the end
                    _send(work, items, tickets, theirs)
                os._exit(0)
            os.close(theirs)
            answers.add(ours)
            pids.append(pid)
        if helpers:
            os.close(tickets)
        yield answers
    finally:
        for fd in fds:
            os.close(fd)  # a helper that still sends ends by it
        for pid in pids:
            os.waitpid(pid, 0)


def _tickets(number: int) -> int:
    """Return a descriptor from which each read of a ticket's size gives the number of another item, whoever reads."""
    fd = os.memfd_create("tickets")
    with open(fd, "wb", closefd=False) as sink:
        sink.writelines(_TICKET.pack(item) for item in range(number))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _send(work: Callable[[_Item], _Answer], items: Sequence[_Item], tickets: int, fd: int) -> None:
    encoder, waiting = Encoder(), bytearray()
    os.set_blocking(fd, False)
    try:
        while ticket := os.read(tickets, _TICKET.size):
            (number,) = _TICKET.unpack(ticket)
            answer = encoder.encode(work(items[number]))
            waiting += _HEAD.pack(number, len(answer))
            waiting += answer
            _push(waiting, fd)
            if len(waiting) > _MAX_WAITING:
                _flush(waiting, fd)
    finally:  # what was made before something could not be is sent all the same
        _flush(waiting, fd)


def _push(waiting: bytearray, fd: int) -> None:
    """Send as much as the pipe has room for: who reads it may be in a commit, and this one goes on meanwhile."""
    with suppress(BlockingIOError):
        while waiting:
            del waiting[: os.write(fd, waiting)]


def _flush(waiting: bytearray, fd: int) -> None:
    """Send everything."""
    os.set_blocking(fd, True)
    while waiting:
        del waiting[: os.write(fd, waiting)]
    os.set_blocking(fd, False)
