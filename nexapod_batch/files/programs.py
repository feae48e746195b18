"""Programs: found in a PATH as a shell finds them, and digested."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Digests", "can_run", "first_in", "printable"]

_BLOCK = 1 << 20
#: Bytes of a program, above which it takes too long to read before each start.
_MOST = 1 << 30
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # links are followed: most programs are some
_MAX_KNOWN = 1_000


class Digests:
    """SHA-256 of programs; each file is read once, until it is another one."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: dict[tuple[str, int, int, int, int, int], str] = {}

    def of(self, file: str) -> str:
        """Return the hex digest of a file; "" for one that is not plain, cannot be read, or is larger than 1 GiB."""
        try:
            found = os.stat(file)
        except OSError:
            return ""
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST:
            return ""
        key = (file, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest = self._known.get(key)
        if digest is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            digest = self._known[key] = _read(file)
        return digest


def _read(file: str) -> str:
    try:
        fd = os.open(file, _OPEN)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return _digest(fd)
    except OSError:
        return ""
    finally:
        os.close(fd)


def _digest(fd: int) -> str:
    """Return the hex digest of an open file; "" for one that grows beyond what is read."""
    first = os.read(fd, _BLOCK)
    if len(first) < _BLOCK and not os.read(fd, 1):
        return hashlib.sha256(first).hexdigest()  # whole: a runner that just started need not load OpenSSL for it
    os.lseek(fd, len(first), os.SEEK_SET)
    digest, left = hashlib.sha256(first), _MOST - len(first)
    while block := os.read(fd, _BLOCK):
        digest.update(block)
        left -= len(block)
        if left < 0:
            return ""
    return digest.hexdigest()


def can_run(file: str) -> bool:
    """Say whether a file is there, no folder, and may be executed by this account."""
    return os.access(file, os.X_OK) and not os.path.isdir(file)


def first_in(path: str, name: str) -> str | None:
    """Return the file that a name without a slash runs by a PATH; None where none of its folders has it."""
    return next(filter(can_run, _candidates(path, name)), None)


def _candidates(path: str, name: str) -> Iterable[str]:
    return (os.path.join(folder, name) for folder in path.split(os.pathsep))


def printable(text: str, longest: int) -> str:
    """Return a text as a statement may hold it: what cannot be printed is a question mark, and the rest is cut."""
    if text.isprintable() and len(text) <= longest:
        return text
    return "".join([char if char.isprintable() else "?" for char in text[:longest]])
