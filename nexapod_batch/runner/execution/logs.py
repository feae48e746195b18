"""The two log files of whatever an executor runs: scratch files that are reused until somebody needs them by name.

Most replicas print a few bytes that travel with their report. Their logs are never created, only emptied. A replica
that takes its time, or prints much, gets the files under its own name: `<replica>.out` and `<replica>.err`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
        self._work, self._scratch = work, scratch
        self._name = scratch  # what the files are called now
        self._create()

    def _create(self) -> None:
        self._name = self._scratch
        out, err = (os.open(path, _FLAGS, 0o600) for path in self._paths())
        self.descriptors: tuple[int, int] = (out, err)

    def _paths(self) -> list[Path]:
        return [self._work / f"{self._name}{suffix}" for suffix in LOG_SUFFIXES]

    def clear(self) -> None:
        """Forget what was written: empty the files for the next replica, or remove them if they were published."""
        if self._name != self._scratch:
            for path in self._paths():
                path.unlink(missing_ok=True)
            self._close()
            self._create()
            return
        for fd in self.descriptors:
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)

    def publish(self, name: str) -> None:
        """Give the files the replica's name, so that people can read along."""
        if self._name == name:
            return
        old = self._paths()
        self._name = name
        for before, after in zip(old, self._paths(), strict=True):
            before.replace(after)

    def release(self) -> list[Path]:
        """Leave the published files to the replica, make new scratch files, and return the paths that were left."""
        paths = self._paths()
        self._close()
        self._create()
        return paths

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
        for path in self._paths():
            path.unlink(missing_ok=True)
        self._close()

    def _sizes(self) -> list[tuple[int, int]]:
        return [(fd, os.fstat(fd).st_size) for fd in self.descriptors]

    def _close(self) -> None:
        for fd in self.descriptors:
            os.close(fd)
