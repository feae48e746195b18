"""Locks that all nodes of one account on one machine share: whoever holds one has that GPU, or processor, alone."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress

__all__ = ["locks_folder", "take_lock"]


def locks_folder() -> str:
    """Return the folder of the locks, the same for all nodes of this account on this machine; it is made if need be.

    It lies where nothing is tidied away while a lock is held. OSError when it is not this account's alone.

    Raises:
        PermissionError: It is somebody else's, or others can write to it.

    """
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else "/tmp"  # noqa: S108 - owner and mode are checked
    folder = f"{base}/nexapod-batch-{os.geteuid()}"
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this account alone")
    return folder


def take_lock(name: str) -> int:
    """Take a lock by its plain name; return the descriptor that holds it, -1 when somebody else does. OSError."""
    fd = os.open(f"{locks_folder()}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd
