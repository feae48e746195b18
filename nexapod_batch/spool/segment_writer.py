"""A report segment: JSON Lines, made by one executor, written by nobody else, never rewritten.

The line is the commit: whatever a report speaks of is durable before its line is written, and lines are written whole.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files.atomic import sync_files

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Segment"]

MAX_LINES = 64
MAX_AGE_S = 0.05


class Segment:
    """Collects lines and commits them together."""

    def __init__(self, path: Path) -> None:
        """Remember the path; the file is created (O_EXCL) by the first flush."""
        self._path = path
        self._fd = -1
        self._lines: list[bytes] = []
        self._files: list[Path] = []
        self._oldest = 0.0

    def add(self, line: bytes, files: list[Path]) -> None:
        """Take a line without its newline, and the files that must be durable before it."""
        if not self._lines:
            self._oldest = time.monotonic()
        self._lines.append(line)
        self._files += files

    def end(self) -> None:
        """Say that nothing follows, if anything was said; what is lost of this line is only a wait."""
        if self._fd >= 0 and not self._lines:
            with suppress(OSError):
                os.write(self._fd, b'{"end":true}\n')

    @property
    def due(self) -> bool:
        """Say whether so much or so old is waiting that it should be flushed now."""
        lines = len(self._lines)
        return lines >= MAX_LINES or (lines > 0 and time.monotonic() - self._oldest > MAX_AGE_S)

    @property
    def due_in(self) -> float | None:
        """Return the seconds until `due` becomes true by age; None when nothing waits."""
        if self._lines:
            return max(0.0, self._oldest + MAX_AGE_S - time.monotonic())
        return None

    def flush(self) -> None:
        """Make the files durable, then append the lines in one write and make them durable too.

        After an OSError nothing was committed, and it may be tried again.
        """
        if not self._lines:
            return
        if self._files:
            sync_files(self._files)
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        data = memoryview(b"\n".join([*self._lines, b""]))
        end = os.fstat(self._fd).st_size
        try:
            while data:  # a write is cut short only by a full disk or a signal; the next one then tells which
                data = data[os.write(self._fd, data) :]
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, end)  # no torn line stays behind; what was complete may be written again
            raise
        self._lines.clear()
        self._files.clear()
