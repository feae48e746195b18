"""`worker.lock`: one worker to a spool. Held by the worker; asked about by whoever starts workers or clears up."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from nexapod_batch.files.own import check_plain
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lock", "live_incarnation"]

_TRIES, _TRY_S = 10, 0.005
_MAX_BYTES = 100  # of what it holds


class Lock:
    """Held with flock; its content is the incarnation that holds it."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened yet."""
        self._path = path
        self._fd = -1

    def take(self, incarnation: str) -> bool:
        """Lock and write the incarnation; False when another worker holds it.

        Somebody who only looks whether the lock is free holds it shared for an instant: hence a few tries.
        """
        check_plain(self._path)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        for _ in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_TRY_S)
        else:
            os.close(fd)
            return False
        os.pwrite(fd, incarnation.encode(), 0)  # all incarnations are of one length: never a moment without one
        os.ftruncate(fd, len(incarnation))
        self._fd = fd
        return True

    def release(self) -> None:
        """Unlock; the executors that inherited the descriptor must have ended."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1


def live_incarnation(spool: Path) -> str | None:
    """Return the incarnation that holds a spool ("" when it has not written it yet); None when no worker lives.

    ForeignPathError where the lock is a link; OSError where it cannot be opened.
    """
    path = spool / layout.LOCK
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        check_plain(path)
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, _MAX_BYTES).decode("ascii", "replace")
    else:
        return None
    finally:
        os.close(fd)
