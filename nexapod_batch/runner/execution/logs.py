"""The two log files of whatever an executor runs: scratch files that are reused until somebody needs them by name.

Most replicas print a few bytes that travel with their report. Their logs are never created, only emptied. A replica
that takes its time, or prints much, gets the files under its own name: `<replica>.out` and `<replica>.err`.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from nexapod_batch.files.atomic import FULL
from nexapod_batch.runner.execution.outputs import digest_descriptor
from nexapod_batch.spool.layout import LOG_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Logs"]

_BLOCK = 1 << 20
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class Logs:
    """stdout and stderr of the current replica."""

    def __init__(self, work: Path, scratch: str) -> None:
        """Create the scratch files; `scratch` is a name that no other executor uses."""
        self._work = work
        self._scratch = [work / f"{scratch}{suffix}" for suffix in LOG_SUFFIXES]
        self._files: list[Path] = []  # where they are now; none where they have no names
        self.descriptors = self._made()

    def _made(self) -> tuple[int, int]:
        """Return new scratch files; where the disk has no room for them, files in memory that have no names."""
        opened: list[int] = []
        try:
            for path in self._scratch:
                opened.append(os.open(path, _FLAGS, 0o600))  # noqa: PERF401 - those that were opened are closed again
        except OSError as error:
            for path, fd in zip(self._scratch, opened, strict=False):
                path.unlink(missing_ok=True)
                os.close(fd)
            if error.errno not in FULL:
                raise
            self._files = []
            return _in_memory(), _in_memory()
        self._files = list(self._scratch)
        return opened[0], opened[1]

    def _renew(self) -> None:
        _close(self.descriptors)
        self.descriptors = self._made()

    def clear(self) -> None:
        """Forget what was written: empty the files for the next replica, or remove them if they were published."""
        if self._files != self._scratch:
            for path in self._files:
                path.unlink(missing_ok=True)
            self._renew()
            return
        for fd in self.descriptors:
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)

    def publish(self, name: str) -> None:
        """Give the files the replica's name, so that people can read along; on a full disk they keep their own."""
        for number, (path, suffix) in enumerate(zip(self._files, LOG_SUFFIXES, strict=False)):
            named = self._work / f"{name}{suffix}"
            if path == named:
                continue
            try:
                path.replace(named)
            except OSError as error:
                if error.errno not in FULL:
                    raise
            else:
                self._files[number] = named

    def release(self) -> list[Path]:
        """Leave the published files to the replica, make new scratch files, and return the paths that were left.

        What could be given no name on a full disk is left out, and lost.
        """
        left = [path for path in self._files if path not in self._scratch]
        for path in self._files:
            if path not in left:
                path.unlink(missing_ok=True)
        self._renew()
        return left

    def digests(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return (SHA-256, size) of stdout and of stderr."""
        out, err = ((digest_descriptor(fd, size), size) for fd, size in self._sizes())
        return out, err

    def shorten(self, size: int) -> None:
        """Keep no more than the first bytes of each."""
        for fd, there in self._sizes():
            if there > size:
                os.ftruncate(fd, size)

    def read(self, out: int, err: int) -> tuple[bytes, bytes]:
        """Return the first bytes of both."""
        return os.pread(self.descriptors[0], out, 0), os.pread(self.descriptors[1], err, 0)

    def stdout(self, size: int) -> Iterator[bytes]:
        """Yield the first bytes of stdout, in blocks."""
        at = 0
        while at < size and (block := os.pread(self.descriptors[0], min(_BLOCK, size - at), at)):
            yield block
            at += len(block)

    def tail(self, size: int = 4096) -> bytes:
        """Return the last bytes of stderr."""
        err = self.descriptors[1]
        return os.pread(err, size, max(0, os.fstat(err).st_size - size))

    def remove(self) -> None:
        """Remove the files unless they were released."""
        for path in self._files:
            path.unlink(missing_ok=True)
        _close(self.descriptors)

    def _sizes(self) -> list[tuple[int, int]]:
        return [(fd, os.fstat(fd).st_size) for fd in self.descriptors]


def _in_memory() -> int:
    fd = os.memfd_create("log")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _close(descriptors: tuple[int, int]) -> None:
    for fd in descriptors:
        os.close(fd)
