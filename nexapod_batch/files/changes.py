"""Waiting until something changes in folders of this machine, told by the kernel (inotify) instead of by looks.

It tells only what this machine does: of a folder that several share, what others write there is not told, and other
kernels tell nothing. So nobody waits for it alone: `wait` ends when its time is over, and who calls looks then.
"""

from __future__ import annotations

import ctypes
import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Changes"]

#: What is told of the files of a folder: made, moved, removed, written to, and that their time was set.
_MADE, _MOVED, _REMOVED, _WRITTEN, _MARKED = 0x100, 0x40 | 0x80, 0x200, 0x2, 0x4
_MASK = _MADE | _MOVED | _REMOVED | _WRITTEN | _MARKED
_READ = 64 << 10


class Changes:
    """Tells that files in some folders changed, or that somebody called `wake`; not that none did."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Begin to listen; a folder that is not there, or where the kernel has no room for it, is left out."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._told = _listening()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        if self._told >= 0:
            self._poll.register(self._told, select.POLLIN)
        told = [_listen(self._told, folder) for folder in folders]
        #: Whether the kernel tells of every folder.
        self.all_told = all(told)

    def fileno(self) -> int:
        """Return a descriptor that is readable when the kernel has something to tell; -1 where it never has."""
        return self._told

    def wake(self) -> None:
        """Let `wait` return; from any thread, and from a handler of signals."""
        os.eventfd_write(self._wake, 1)

    def wait(self, seconds: float) -> bool:
        """Wait for a change at most so long; say whether there was something."""
        if not self._poll.poll(max(0, round(seconds * 1000))):
            return False
        self.take()
        return True

    def take(self) -> None:
        """Forget what was told so far: whoever looks after this sees it."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        with suppress(OSError):  # nothing is there, or it was closed
            while len(os.read(self._told, _READ)) > _READ // 2:
                pass

    def close(self) -> None:
        """Listen no more."""
        for fd in (self._told, self._wake):
            with suppress(OSError):
                os.close(fd)
        self._told = self._wake = -1


def _listening() -> int:
    """Return a descriptor of the kernel's; -1 where there is none to be had."""
    begin = getattr(ctypes.CDLL(None), "inotify_init1", None)
    return -1 if begin is None else int(begin(os.O_CLOEXEC | os.O_NONBLOCK))


def _listen(fd: int, folder: Path) -> bool:
    """Let the kernel tell of a folder; say whether it does."""
    if fd < 0:
        return False
    return int(ctypes.CDLL(None).inotify_add_watch(fd, os.fsencode(folder), _MASK)) >= 0
