"""Content-addressed transfer: a blob grows in a partial file, and gets its name when its SHA-256 is the one it claims.

Whoever stops may go on at the byte where it ended. What turns out to be something else is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError, UsageError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.mesh.segments import check_room
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PART", "OffsetError", "Upload", "check_room"]

#: Bytes of one part of a transfer.
PART = 4 << 20
_BLOCK = 1 << 20
_APPEND = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class OffsetError(TryAgainError):
    """A part does not begin where the blob ends."""

    def __init__(self, size: int) -> None:
        """Say where it ends."""
        super().__init__("the part does not begin where the blob ends", wanted=size)
        self.size = size


class Upload:
    """One blob on its way into a folder."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Know its name; UsageError for what is none.

        Raises:
            UsageError: It is no SHA-256.

        """
        if not is_hex(digest, 64):
            raise UsageError("not a SHA-256", got=repr(digest[:80]), wanted="64 hex digits in lower case")
        self.digest, self.target, self._partial = digest, folder / digest, folder / f".{digest}.part"

    def complete(self) -> bool:
        """Say whether all of it is there."""
        return self.target.exists()

    def size(self) -> int:
        """Return how many bytes of it are there."""
        for path in (self.target, self._partial):
            try:
                return path.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
        return 0

    def append(self, at: int, data: bytes) -> int:
        """Append a part that begins at byte `at`; return how many bytes are there then.

        Raises:
            OffsetError: The blob ends elsewhere, or somebody else appends just now.
            TryAgainError: The disk does not take it.

        """
        fd = os.open(self._partial, _APPEND, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OffsetError(os.fstat(fd).st_size) from None
            size = os.fstat(fd).st_size
            if at != size:
                raise OffsetError(size)
            try:
                left, place = memoryview(data), size
                while left:
                    written = os.pwrite(fd, left, place)
                    left, place = left[written:], place + written
            except OSError as error:
                os.ftruncate(fd, size)
                raise TryAgainError("a part cannot be kept", got=error.strerror) from error
            return size + len(data)
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Give the blob its name; VerificationError, and it is gone, where it is another one.

        Raises:
            VerificationError: Its SHA-256 is another.

        """
        try:
            fd = careful.open_plain(self._partial)
        except FileNotFoundError:
            if self.complete():
                return
            self._partial.touch(mode=0o600)  # an empty blob
            fd = careful.open_plain(self._partial)
        try:
            digest, at = hashlib.sha256(), 0
            while block := os.pread(fd, _BLOCK, at):
                digest.update(block)
                at += len(block)
            os.fsync(fd)
        finally:
            os.close(fd)
        if digest.hexdigest() != self.digest:
            self._partial.unlink(missing_ok=True)
            raise VerificationError("the blob is another one", got=digest.hexdigest(), wanted=self.digest)
        self._partial.replace(self.target)
        atomic.sync_files([self.target])
