"""A report segment: JSON Lines, made by one executor, written by nobody else, never rewritten.

The line is the commit: whatever a report speaks of is durable before its line is written, and lines are written whole.
Lines count as committed once they are durable. Making them so takes ten milliseconds of a disk and nothing of a CPU, so
another thread waits for it while the next replica runs. That thread does nothing else: what it wrote would be subject
to the file size limit that a command is started with.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from nexapod_batch.files.atomic import sync_files

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Segment"]

MAX_LINES = 64
MAX_AGE_S = 0.05
LOOK_S = 0.005  # between two looks whether what was written is durable


class Segment:
    """Collects lines and commits them together."""

    def __init__(self, path: Path) -> None:
        """Remember the path; the file is created (O_EXCL) by the first write."""
        self._path = path
        self._fd = -1
        self._lines: list[bytes] = []
        self._files: list[Path] = []
        self._oldest = 0.0
        self._written: list[bytes] = []  # lines that are being made durable
        self._start = 0  # where they begin in the file
        self._asked: SimpleQueue[int] = SimpleQueue()  # descriptors to be made durable
        self._answers: SimpleQueue[OSError | None] = SimpleQueue()
        self._helper: threading.Thread | None = None

    def add(self, line: bytes, files: list[Path]) -> None:
        """Take a line without its newline, and the files that must be durable before it."""
        if not self._lines:
            self._oldest = time.monotonic()
        self._lines.append(line)
        self._files += files

    def end(self) -> None:
        """Say that nothing follows, if anything was said; what is lost of this line is only a wait."""
        if self._fd >= 0 and not self._lines and not self._written:
            with suppress(OSError):
                os.write(self._fd, b'{"end":true}\n')

    @property
    def due(self) -> bool:
        """Say whether so much or so old is waiting that it should be written now."""
        lines = len(self._lines)
        return lines >= MAX_LINES or (lines > 0 and time.monotonic() - self._oldest > MAX_AGE_S)

    @property
    def due_in(self) -> float | None:
        """Return the seconds until there is something to do, by age or because what was written may be durable."""
        if self._written:
            return LOOK_S
        return max(0.0, self._oldest + MAX_AGE_S - time.monotonic()) if self._lines else None

    @property
    def busy(self) -> bool:
        """Say whether lines were written of which it is not known that they are durable."""
        return bool(self._written)

    def settled(self, *, wait: bool = False) -> bool:
        """Say whether everything that was written is durable, waiting for it or not.

        After an OSError it was not: it is taken back and waits to be written again.
        """
        if not self._written:
            return True
        try:
            error = self._answers.get(block=wait)
        except Empty:
            return False
        if error is not None:
            self._take_back()
            raise error
        self._written = []
        return True

    def begin(self) -> bool:
        """Write what waits and have it made durable meanwhile; False when an earlier part is not durable yet.

        After an OSError nothing of what waits was written.
        """
        if not self.settled():
            return False
        if self._lines:
            self._write()
            if self._helper is None:
                self._helper = threading.Thread(target=self._sync, daemon=True)
                self._helper.start()
            self._asked.put(self._fd)
        return True

    def flush(self) -> None:
        """Return when everything is durable. After an OSError it is not, and it may be tried again."""
        self.settled(wait=True)
        if self._lines:
            self._write()
            try:
                self._keep(self._fd)
            except OSError:
                self._take_back()
                raise
            self._written = []

    def _write(self) -> None:
        """Make the files durable, then append the lines."""
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
        self._start = os.fstat(self._fd).st_size
        data = memoryview(b"\n".join([*self._lines, b""]))
        try:
            while data:  # a write is cut short only by a full disk or a signal; the next one then tells which
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, self._start)
            raise
        self._written, self._lines = self._lines, []
        self._files.clear()

    def _take_back(self) -> None:
        """Leave no torn line behind; what was complete may be written again."""
        os.ftruncate(self._fd, self._start)
        self._oldest = 0.0
        self._lines = self._written + self._lines
        self._written = []

    def _keep(self, fd: int) -> None:
        """Return when the disk has what was written."""
        os.fdatasync(fd)

    def _sync(self) -> None:
        """Make durable what is asked for, one after the other; the thread ends with its process."""
        while True:
            try:
                self._keep(self._asked.get())
            except OSError as error:
                self._answers.put(error)
            else:
                self._answers.put(None)
