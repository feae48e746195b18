"""The programs that read files, one for each kind: there while a file of its kind is read, or while `kept` lasts.

Files that are compared, one pair after the other, have one interpreter to start and one library to load, and yet a
process each.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections import Counter
from contextlib import closing, contextmanager, suppress
from threading import Lock
from typing import IO, TYPE_CHECKING, NamedTuple

from nexapod_batch import interpreter
from nexapod_batch.compare.formats.foreign.asking import ask
from nexapod_batch.compare.formats.foreign.lending import Borrower

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.compare.formats.foreign.asking import Bounds

__all__ = ["kept", "read_by"]

#: One thread each, no locks, and no plug-ins that somebody else names.
_QUIET = {
    "HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PRELOAD": "::", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip

#: Until a program that was told to end is ended.
_PATIENCE_S = 10


class _Program:
    """One that runs, in a process group of its own."""

    def __init__(self, kind: str) -> None:
        argv = interpreter.module("nexapod_batch.compare.formats.foreign.program", kind)
        self._channel, theirs = socket.socketpair()
        self.readings: set[int] = set()
        try:
            self._process = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                cwd=interpreter.FOLDER, env=interpreter.environment(os.environ) | _QUIET, process_group=0,
            )  # fmt: skip
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()

    def begin(
        self, number: int, how: str, ignored: Sequence[str], bounds: Bounds, descriptors: Sequence[int]
    ) -> None:
        """Have a file read; where the program is gone, nobody holds the other end of its pipe."""
        self.readings.add(number)
        with suppress(OSError):
            ask(self._channel, number, how, ignored, bounds, descriptors)

    def end(self, number: int) -> None:
        """End a reading."""
        self.readings.discard(number)
        with suppress(OSError):
            ask(self._channel, number)

    def is_over(self) -> bool:
        """Say whether it ended while nothing was read."""
        return not self.readings and self._process.poll() is not None

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # by which it ends, whoever was forked with the channel meanwhile
        self._channel.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:  # it hangs while it loads its library
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class _Kind(NamedTuple):
    """Whose files a program reads: a process that was forked meanwhile has none."""

    owner: int
    name: str


_programs: dict[_Kind, _Program] = {}
#: process -> how many times programs are kept there
_keeping: Counter[int] = Counter()
_lock = Lock()


@contextmanager
def kept() -> Iterator[None]:
    """Keep programs for the files that are read meanwhile, instead of starting one for each file or pair of files."""
    owner = os.getpid()
    with _lock:
        _keeping[owner] += 1
    try:
        yield
    finally:
        if os.getpid() == owner:
            with _lock:
                _keeping[owner] -= 1
                for key in [key for key in _programs if key.owner == owner]:
                    _close_idle(key)


def _close_idle(key: _Kind) -> None:
    """End a program that nothing is read by, unless programs are kept."""
    program = _programs[key]
    if not program.readings and not _keeping[key.owner]:
        del _programs[key]
        program.close()


@contextmanager
def read_by(
    kind: str, how: str, ignored: Sequence[str], file: IO[bytes], bounds: Bounds
) -> Iterator[tuple[IO[bytes], Borrower]]:
    """Give the pipe into which the tokens of a file come, and who borrows its numbers.

    Behind it nobody reads that file any more.
    """
    mine, theirs = os.pipe()
    with open(mine, "rb") as stream, closing(Borrower()) as borrower:
        key = _Kind(os.getpid(), kind)
        try:
            with _lock:
                program = _running(key)
                lent = borrower.memory, borrower.free
                program.begin(mine, how, ignored, bounds, (file.fileno(), theirs, *lent))
        finally:
            os.close(theirs)
            borrower.hand_over()
        try:
            yield stream, borrower
        finally:
            if os.getpid() == key.owner:
                _end(key, program, mine)


def _running(key: _Kind) -> _Program:
    """Return the program for files of a kind, another one where it was kept and ended."""
    program = _programs.get(key)
    if program is not None and program.is_over():
        program.close()
        program = None
    if program is None:
        program = _programs[key] = _Program(key.name)
    return program


def _end(key: _Kind, program: _Program, number: int) -> None:
    with _lock:
        program.end(number)
        if _programs.get(key) is program:
            _close_idle(key)
