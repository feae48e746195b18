"""The program that reads files of a kind: it imports what knows them once, and forks a process for each file.

What it is asked for comes by its stdin, a socket (see `asking`); each process sends the tokens of its file into the
pipe that came with it (see `frames`). This one never opens a file, so that no file can harm how another is read.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from nexapod_batch.compare.budget import earned_by, most_of
from nexapod_batch.compare.formats.foreign.asking import received
from nexapod_batch.compare.formats.foreign.frames import send, send_batch
from nexapod_batch.compare.formats.foreign.lending import Lender
from nexapod_batch.compare.ignoring import names

if TYPE_CHECKING:
    from nexapod_batch.compare.formats.foreign.asking import Asked, Bounds

__all__ = ["FILE", "main"]

#: Where the file lies, for libraries that want a path.
FILE = "/proc/self/fd/0"
#: Bytes of address space, most of which a library only reserves.
_SPACE = 6 << 30
_STDIN, _STDOUT = 0, 1


def main(argv: list[str]) -> NoReturn:
    """Have files read until nobody can ask any more."""
    (kind,) = argv
    gc.disable()
    with suppress(Exception):  # each reading tries once more, and says what it was
        import_module(_module(kind))
    gc.freeze()  # what was imported stays, and is never looked through
    gc.enable()
    channel = socket.socket(fileno=os.dup(_STDIN))
    readers: dict[int, int] = {}
    while (asked := received(channel)) is not None:
        if not asked.how:
            _end(readers.pop(asked.number, 0))
            continue
        process = os.fork()
        if not process:
            channel.close()
            _read(kind, asked)
        readers[asked.number] = process
        for descriptor in asked.descriptors:
            os.close(descriptor)
    for process in readers.values():
        _end(process)
    os._exit(0)  # nothing of what was imported has anything to do at its end


def _module(kind: str) -> str:
    return f"nexapod_batch.compare.formats.foreign.{kind}"


def _end(process: int) -> None:
    """End one that may have ended by itself, and was not waited for before."""
    if process:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _read(kind: str, asked: Asked) -> NoReturn:
    """Read a file in a process of its own, which ends here whatever happens."""
    try:
        file, pipe, memory, free = asked.descriptors
        for given, wanted in ((file, _STDIN), (pipe, _STDOUT)):
            os.dup2(given, wanted)
            os.close(given)
        _send_all(kind, asked.how, names(asked.ignored), Lender(memory, free), _Limits(asked.bounds))
    finally:
        os._exit(0)


class _Limits:
    """What reading one file may take of this machine; the kernel ends what takes more."""

    def __init__(self, bounds: Bounds) -> None:
        """Begin before the file is opened."""
        for limit, value in ((resource.RLIMIT_AS, _SPACE), (resource.RLIMIT_CORE, 0)):
            resource.setrlimit(limit, (value, value))
        self._seconds, self._most, self._out = bounds.seconds, most_of(bounds.size), 0
        self._allowed = 0
        self.came_out(0)

    def came_out(self, size: int) -> None:
        """Count bytes that are sent, for which there is more time.

        Raises:
            ValueError: More comes out of the file than may.

        """
        self._out += size
        if self._out > self._most:
            raise ValueError(f"more than {self._most} bytes in it")
        allowed = self._seconds + int(earned_by(self._out))
        if allowed != self._allowed:
            _, most = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (allowed if most < 0 else min(allowed, most), most))
            self._allowed = allowed


def _send_all(kind: str, how: str, ignored: frozenset[str], lender: Lender, limits: _Limits) -> None:
    """Send everything, or why it cannot be read."""
    out = sys.stdout.buffer
    send(out, "begun", os.getpid())
    out.flush()  # also of a library that never returns it can be said what it took
    try:
        module = import_module(_module(kind))
    except ImportError as error:
        send(out, "missing", [error.name or kind])
        out.flush()
        return
    try:
        read = getattr(module, how, module.batches)  # rows, where they may stand in any order and are columns otherwise
        for batch in read(FILE, ignored):
            limits.came_out(send_batch(out, batch, lender))
    except BrokenPipeError:
        return  # whoever compares has seen enough
    except Exception as error:  # noqa: BLE001 - each library has its own
        send(out, "refused", f"{type(error).__name__}: {error}")
    else:
        send(out, "end", "")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
