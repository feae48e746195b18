"""A lock on a file that goes with whoever is done with it: what is held is what everybody else finds by that name."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["acquire"]


def acquire(path: Path, waiting: Callable[[], None]) -> int:
    """Return a descriptor that holds the lock of a file; `waiting` is called when somebody else has it.

    It is free at once when a process is killed.

    Raises:
        OSError: The file cannot be made.

    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever had it removed it: what we hold is nobody's lock any more
