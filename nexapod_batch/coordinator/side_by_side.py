"""Work on many items that several processes share: each does every so-manieth, and the answers come back in order.

Threads would not help: between two calls into a library, each of some 50 microseconds, they wait for the interpreter.
Forked, the helpers have everything imported. They touch neither the database nor anything that others see, and what
one that died did not send is done here: whatever becomes of them costs time only.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from msgspec import DecodeError
from msgspec.msgpack import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["helpers_for", "side_by_side"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
#: Bytes that say how many follow, in what helpers send.
_SIZE_BYTES = 4
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
    with _forked(work, items, helpers) as streams:
        for number, item in enumerate(items):
            try:
                yield _received(streams[number % helpers], kind) if streams else work(item)
            except (EOFError, DecodeError):
                streams.clear()
                yield work(item)
            except OSError as error:
                yield error


def _received(stream: BinaryIO, kind: Any) -> Any:  # noqa: ANN401 - what the caller said
    """Return the next answer of a helper; EOFError or DecodeError where it died before."""
    size = int.from_bytes(stream.read(_SIZE_BYTES))
    sent = stream.read(size)
    if not size or len(sent) < size:
        raise EOFError
    return _decoder(kind).decode(sent)


@cache
def _decoder(kind: Any) -> Decoder[Any]:  # noqa: ANN401 - a type form
    return Decoder(kind)


@contextmanager
def _forked(work: Callable[[_Item], _Answer], items: Sequence[_Item], helpers: int) -> Iterator[list[BinaryIO]]:
    """Start helpers, each for every so-manieth item; yield the streams through which they send."""
    streams: list[BinaryIO] = []
    opened, pids = [], []
    try:
        for first in range(helpers):
            ours, theirs = os.pipe()
            with suppress(OSError):  # room for the next answers, so that nobody waits for the other
                fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 1 << 20)
            pid = os.fork()
            if pid == 0:
                with suppress(BaseException):  # whatever it is, the other side does what is missing
                    os.nice(5)  # who writes to the database goes first: the others wait for it at the end
                    _send(work, items[first::helpers], theirs)
                os._exit(0)
            os.close(theirs)
            opened.append(open(ours, "rb", buffering=1 << 20))  # noqa: SIM115 - closed below
            pids.append(pid)
        streams += opened
        yield streams
    finally:
        for stream in opened:
            stream.close()  # a helper that still sends ends by it
        for pid in pids:
            os.waitpid(pid, 0)


def _send(work: Callable[[_Item], _Answer], items: Sequence[_Item], fd: int) -> None:
    encoder, waiting = Encoder(), bytearray()
    os.set_blocking(fd, False)
    for item in items:
        answer = encoder.encode(work(item))
        waiting += len(answer).to_bytes(_SIZE_BYTES)
        waiting += answer
        _push(waiting, fd)
        if len(waiting) > _MAX_WAITING:
            _wait(waiting, fd)
    _wait(waiting, fd)


def _push(waiting: bytearray, fd: int) -> None:
    """Send as much as the pipe has room for: who reads it may be in a commit, and this one goes on meanwhile."""
    with suppress(BlockingIOError):
        while waiting:
            del waiting[: os.write(fd, waiting)]


def _wait(waiting: bytearray, fd: int) -> None:
    """Send everything."""
    os.set_blocking(fd, True)
    while waiting:
        del waiting[: os.write(fd, waiting)]
    os.set_blocking(fd, False)
