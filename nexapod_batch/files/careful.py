"""Opening what others may have put there: plain files only, never through a link, never waiting, never without end.

A spool, a work folder, a cache or an archive may hold a fifo, a device, a link to one, or a file that grows for ever.
Whatever is there, an open returns at once, and a read returns no more than was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO  # not above: a runner that starts has a stand-in for `typing` without it

__all__ = ["NotPlainError", "load", "open_folder", "open_plain", "read", "read_descriptor", "stream", "tail"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20
#: Bytes of the longest notice or cache that is read.
_NOTICE = 64 << 20


class NotPlainError(OSError):
    """Something else than a plain file, or a larger one than any of ours."""


def open_plain(path: str | Path, *, dir_fd: int | None = None) -> int:
    """Return a descriptor of a plain file; NotPlainError for anything else, OSError when it cannot be opened."""
    try:
        fd = os.open(path, _READ, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:  # a link, a socket, a device without a driver
            raise NotPlainError(errno.EINVAL, "Not a plain file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotPlainError(errno.EINVAL, "Not a plain file", str(path))
    return fd


def open_folder(root: str | Path, folder: str = "", *, dir_fd: int | None = None) -> int:
    """Return a descriptor of a folder below a root, opened part by part; OSError where one is a link, or no folder."""
    fd = os.open(root, _FOLDER, dir_fd=dir_fd)
    for part in folder.split("/") if folder else ():
        try:
            inner = os.open(part, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def stream(path: str | Path) -> BinaryIO:
    """Return a stream of a plain file; errors as of `open_plain`."""
    return os.fdopen(open_plain(path), "rb")


def read(path: str | Path, max_bytes: int) -> bytes:
    """Return the content of a plain file of at most `most` bytes; NotPlainError when it is larger."""
    fd = open_plain(path)
    try:
        return read_descriptor(fd, max_bytes, path)
    finally:
        os.close(fd)


def read_whole(path: str | Path) -> bytes:
    """Return the content of a small plain file, in as few calls as can be.

    Raises:
        NotPlainError: It is no plain file.
        OSError: It cannot be read, or has not the size that it had.

    """
    fd = os.open(path, _READ)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise NotPlainError(errno.EINVAL, "Not a plain file", str(path))
        data = os.read(fd, about.st_size + 1)
    finally:
        os.close(fd)
    if len(data) != about.st_size:
        raise OSError(errno.EIO, "Changed while it was read", str(path))
    return data


def load(path: str | Path, max_bytes: int = _NOTICE) -> Any:  # noqa: ANN401 - whatever JSON spells
    """Return what is kept in a JSON file of ours.

    OSError when it cannot be read or is not this account's, ValueError for what is no JSON or nested too deeply.

    Raises:
        PermissionError: It is somebody else's.

    """
    fd = open_plain(path)
    try:
        if os.fstat(fd).st_uid not in {0, os.geteuid()}:
            raise PermissionError(errno.EPERM, "Belongs to somebody else", str(path))
        return nesting.loads(read_descriptor(fd, max_bytes, path))
    finally:
        os.close(fd)


def tail(path: str | Path, max_bytes: int) -> bytes:
    """Return the last bytes of a plain file."""
    fd = open_plain(path)
    try:
        return os.pread(fd, max_bytes, max(0, os.fstat(fd).st_size - max_bytes))
    finally:
        os.close(fd)


def read_descriptor(fd: int, max_bytes: int, path: str | Path) -> bytes:
    """Return what is left behind a descriptor, at most `most` bytes; NotPlainError when it is more."""
    size = os.fstat(fd).st_size
    if size <= max_bytes:
        data = os.read(fd, min(size, _BLOCK) + 1)
        if len(data) == size <= _BLOCK:  # the usual case: one read
            return data
        parts, left = [data], max_bytes + 1 - len(data)
        while left > 0 and (data := os.read(fd, min(_BLOCK, left))):
            parts.append(data)
            left -= len(data)
        if left > 0:
            return b"".join(parts)
    raise NotPlainError(errno.EFBIG, f"Larger than {max_bytes} bytes", str(path))
