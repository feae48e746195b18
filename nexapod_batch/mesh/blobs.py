"""Content-addressed transfer: a blob grows in a partial file, and gets its name when its SHA-256 is the one it claims.

Whoever stops may go on at the byte where it ended, for a day. What turns out to be something else is removed. One at a
time appends to a blob, or looks whether it is what it claims: who comes meanwhile is told to come back.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError, UsageError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.mesh import kept_hashes
from nexapod_batch.mesh.segments import check_room
from nexapod_batch.trust.statement_rules import is_hex

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEPT_S", "PART", "OffsetError", "PartError", "Upload", "check_room", "left_behind", "swept"]

#: Bytes of one part of a transfer.
PART = 4 << 20
_BLOCK = 1 << 20
_PARTIAL = ".part"
#: Seconds for which a blob that is not complete waits to be gone on with.
KEPT_S = 86_400.0
_APPEND = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class OffsetError(TryAgainError):
    """A part does not begin where the blob ends."""

    def __init__(self, size: int) -> None:
        """Say where it ends."""
        super().__init__("the part does not begin where the blob ends", wanted=size)
        self.size = size


class PartError(VerificationError):
    """A part is not the one that was meant; what is there of the blob stays."""


class Upload:
    """One blob on its way into a folder."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Know its name; UsageError for what is none.

        Raises:
            UsageError: It is no SHA-256.

        """
        if not is_hex(digest, 64):
            raise UsageError("not a SHA-256", got=repr(digest[:80]), wanted="64 hex digits in lower case")
        self.digest, self.target, self._partial = digest, folder / digest, folder / f".{digest}{_PARTIAL}"
        self._pages: mmap | None = None  # from which parts go to the disk that lie elsewhere in memory

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

    def is_hashed(self) -> bool:
        """Say whether parts can be checked by the SHA-256 of the blob so far: that of what is there is known."""
        try:
            return kept_hashes.is_kept(self._partial, self._partial.stat(follow_symlinks=False))
        except FileNotFoundError:
            return True

    def append(self, at: int, data: bytes | memoryview, so_far: bytes = b"") -> int:
        """Append a part that begins at byte `at`; return how many bytes are there then.

        With `so_far`, the SHA-256 of the blob up to the end of the part, only where that is so.

        Raises:
            OffsetError: The blob ends elsewhere, or somebody else appends just now.
            TryAgainError: The disk does not take it; or `so_far` cannot be compared any more.
            PartError: The part is another one.

        """
        fd = os.open(self._partial, _APPEND, 0o600)
        try:
            if not self._is_alone(fd):
                raise OffsetError(self.size())
            before = os.fstat(fd)
            size = before.st_size
            if at != size:
                raise OffsetError(size)
            digest = self._grown(before, data, so_far)
            try:
                self._write(fd, memoryview(data), size)
            except OSError as error:
                os.ftruncate(fd, size)
                raise TryAgainError("a part cannot be kept", got=error.strerror) from error
            if digest is not None:
                kept_hashes.keep(self._partial, os.fstat(fd), digest)
            return size + len(data)
        finally:
            os.close(fd)

    def _grown(self, before: os.stat_result, data: bytes | memoryview, so_far: bytes) -> hashlib._Hash | None:
        """Return the hash of what will be there with a part; None where that of what is there was not kept."""
        kept = kept_hashes.take(self._partial, before)
        if kept is None:
            if so_far:  # not read for each part: that would let a small one cost as much as the blob
                raise TryAgainError("what is there of the blob must be read first", hint="sign the SHA-256 of the part")
            return None
        grown = kept.copy()
        grown.update(data)
        if so_far and grown.digest() != so_far:
            kept_hashes.keep(self._partial, before, kept)
            raise PartError("the part is another one", got=grown.hexdigest(), wanted=so_far.hex())
        return grown

    def _write(self, fd: int, data: memoryview, at: int) -> None:
        past = self._write_past_cache(fd, data, at) if len(data) >= _BLOCK and not (at | len(data)) % PAGESIZE else 0
        left, place = data[past:], at + past
        while left:
            written = os.pwrite(fd, left, place)
            left, place = left[written:], place + written
        if past < len(data):
            _begin_to_keep(fd, at, len(data))

    def _write_past_cache(self, fd: int, data: memoryview, at: int) -> int:
        """Write whole pages to the disk itself; return how many bytes were, 0 where that cannot be.

        In new memory of the page cache they would cost more than hashing and TLS together.
        """
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            return os.pwrite(fd, self._in_whole_pages(data), at)
        except OSError:  # a file system that has no such writes; a full disk is told when it is tried otherwise
            return 0
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    def _in_whole_pages(self, data: memoryview) -> memoryview:
        """Return the same bytes at the beginning of a page of memory."""
        if isinstance(data.obj, mmap):
            return data
        if self._pages is None or len(self._pages) < len(data):
            self._pages = mmap(-1, len(data), flags=MAP_PRIVATE | MAP_ANONYMOUS)
        pages = memoryview(self._pages)[: len(data)]
        pages[:] = data
        return pages

    def _is_alone(self, fd: int) -> bool:
        """Hold the partial file that is open; say whether nobody else does, and it still is the partial file."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(self._partial, follow_symlinks=False)
        except (BlockingIOError, FileNotFoundError):
            return False
        return os.path.samestat(there, os.fstat(fd))

    def finish(self) -> None:
        """Give the blob its name; VerificationError, and it is gone, where it is another one.

        Raises:
            TryAgainError: Somebody else appends to it, or finishes it.
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
            if not self._is_alone(fd):
                raise TryAgainError("somebody else sends the same just now")
            digest = kept_hashes.take(self._partial, os.fstat(fd)) or _hash_of(fd)
            if digest.hexdigest() != self.digest:
                self._partial.unlink(missing_ok=True)
                raise VerificationError("the blob is another one", got=digest.hexdigest(), wanted=self.digest)
            os.fsync(fd)
            self._partial.replace(self.target)
        finally:
            os.close(fd)
        atomic.sync_files([self.target])


def _begin_to_keep(fd: int, start: int, size: int) -> None:
    """Let the kernel begin to bring bytes to the disk: else a blob that is complete waits there for all of itself.

    It would do so by itself when a tenth of the memory is to be written, or after half a minute.
    """
    with suppress(OSError):
        os.posix_fadvise(fd, start, size, os.POSIX_FADV_DONTNEED)


def _hash_of(fd: int) -> hashlib._Hash:
    digest, at = hashlib.sha256(), 0
    while block := os.pread(fd, _BLOCK, at):
        digest.update(block)
        at += len(block)
    return digest


def swept(folder: Path, *, whole: bool) -> tuple[int, int]:
    """Remove what nobody went on with for a day, and with `whole` blobs too; return bytes and number of the rest."""
    for path in left_behind(folder, whole=whole):
        with suppress(FileNotFoundError):
            os.unlink(path)
    size = files = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                size, files = size + entry.stat(follow_symlinks=False).st_size, files + 1
    return size, files


def left_behind(folder: str | os.PathLike[str], *, whole: bool) -> list[str]:
    """Return the paths of what nobody went on with for a day, with `whole` of blobs too; none where is no folder."""
    found = []
    before = time.time() - KEPT_S
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                is_old = entry.stat(follow_symlinks=False).st_mtime < before
                if is_old and (whole or entry.name.endswith(_PARTIAL)):
                    found.append(entry.path)
    return found
