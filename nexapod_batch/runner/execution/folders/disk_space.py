"""Whether a disk has room, as its file system says: a command may not tell, or not mind, that it could not write."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Room", "refusal", "room"]

_LITTLE = 64 * 1024  # bytes: what is left of a full disk where nothing more fits
_WRITTEN = 2 * 2**30  # bytes that programs may write in a second
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_LOOK_S = (0.002, 1.0)  # between two looks, at least and at most


class Room(NamedTuple):
    """What is left."""

    free: int  # bytes that this account may still write
    full: bool  # nothing can be written, or no file be made

    @property
    def look_in(self) -> float:
        """Seconds until half of it may be gone."""
        least, most = _LOOK_S
        return min(max(self.free / (2 * _WRITTEN), least), most)


def room(folder: str) -> Room:
    """Return what is left where a folder lies; plenty where nobody knows."""
    with suppress(OSError):
        found = os.statvfs(folder)
        blocks, files = found.f_bavail, found.f_favail
        if os.geteuid() == 0:  # may have what is kept for it
            blocks, files = found.f_bfree, found.f_ffree
        free = blocks * found.f_frsize
        no_room, no_names = found.f_blocks > 0 and free < _LITTLE, found.f_files > 0 and files == 0
        return Room(free=free, full=no_room or no_names)
    return Room(free=2**62, full=False)


def refusal(folder: str) -> str:
    """Return why the kernel takes nothing more into a folder, in its words; "" where it does.

    A quota, or a file system that can be read only since an error, shows in no figure: something has to be written.
    """
    try:
        fd = _nameless(folder)
        try:
            left = _LITTLE
            while left > 0:
                left -= os.write(fd, bytes(left))
        finally:
            os.close(fd)  # file systems on the network say it here
    except OSError as error:
        if error.errno in _REFUSALS:
            return os.strerror(error.errno)
    return ""


def _nameless(folder: str) -> int:
    """Return the descriptor of a new file that is gone once it is closed."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
    name = f"{folder}/.{os.getpid()}.room"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return fd
