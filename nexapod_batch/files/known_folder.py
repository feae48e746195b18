"""Whether a folder is as it was when something was found out of its names, so that they need not be listed again.

A name that comes or goes changes the times of its folder. As with files (`files.known_digests`), that is enough only
where this kernel alone writes, and what changed just before it was looked at is not remembered.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.beneath import is_local

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KnownFolder"]

#: Device, inode, time of modification, time of change (ns).
_STATE = struct.Struct("<QQqq")
_QUIET_NS = 3_000_000_000


class KnownFolder:
    """One question to one folder."""

    def __init__(self, place: Path, folder: Path, question: str) -> None:
        """Look at the folder as it is now, before it is listed; `place` is where answers are remembered."""
        self._file = place / f"{hashlib.sha256(question.encode()).hexdigest()}-kept"
        self._now = _look(folder)

    def is_as_it_was(self) -> bool:
        """Say whether nothing came or went since the question was answered."""
        try:
            found = self._now != b"" and careful.read(self._file, _STATE.size) == self._now
        except OSError:
            return False
        if found:
            with suppress(OSError):
                os.utime(self._file)  # those that are used stay
        return found

    def remember(self) -> None:
        """Remember that the question is answered, for as long as the folder is as it was when it was looked at."""
        if self._now:
            with suppress(OSError):
                self._file.parent.mkdir(mode=0o700, exist_ok=True)
                atomic.write(self._file, self._now, 0o600, durable=False)


def _look(folder: Path) -> bytes:
    """Return the state of a folder; nothing where it does not tell enough."""
    at = time.time_ns()
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        about = os.fstat(fd)
        quiet = max(about.st_mtime_ns, about.st_ctime_ns) + _QUIET_NS <= at
        if not (quiet and is_local(fd)):
            return b""
        return _STATE.pack(about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
    finally:
        os.close(fd)
