"""The parts of a file that a node sends: each is read while it is sent; what is signed of it was hashed before."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError
from nexapod_batch.mesh import signatures
from nexapod_batch.mesh.blobs import PART

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Part", "Parts"]

#: Bytes that are read at once: they stay in the cache of a processor until they are hashed, or encrypted.
_BLOCK = 256 << 10


class Part:
    """Bytes of a file from one place on, read anew each time that they are sent."""

    def __init__(self, fd: int, at: int, size: int) -> None:
        """Read nothing yet."""
        self._fd, self.at, self._size = fd, at, size

    def __len__(self) -> int:
        """Return of how many bytes it is."""
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Return the bytes in pieces, each of which counts until the next one is asked for; TryAgainError."""
        block = memoryview(bytearray(min(_BLOCK, self._size)))
        at, end = self.at, self.at + self._size
        while at < end:
            size = os.preadv(self._fd, [block[: end - at]], at)
            if not size:
                raise TryAgainError("a file became shorter while it was sent", got=f"{at} bytes", wanted=end)
            yield block[:size]
            at += size


class Parts:
    """The parts of one file that is open: they end at multiples of `PART`, and at its end."""

    def __init__(self, fd: int) -> None:
        """Hash the whole file."""
        self._fd, self.total = fd, os.fstat(fd).st_size
        self._so_far: list[bytes] = []  # SHA-256 of the file up to the end of each part
        digest = hashlib.sha256()
        for at in range(0, self.total, PART) or (0,):
            for block in Part(fd, at, min(PART, self.total - at)):
                digest.update(block)
            self._so_far.append(digest.digest())
        self.sha256 = digest.hexdigest()

    def begins(self, at: int) -> Part:
        """Return the part that begins at a byte."""
        return Part(self._fd, at, min(PART - at % PART, self.total - at))

    def content_digest(self, part: Part, *, so_far: bool) -> str:
        """Return the `Content-Digest` of a part; with `so_far` that of the file up to the end of the part."""
        if so_far:
            end = part.at + len(part)
            return signatures.shown_digest(self._so_far[max(0, end - 1) // PART], signatures.SO_FAR)
        digest = hashlib.sha256()
        for block in part:
            digest.update(block)
        return signatures.shown_digest(digest.digest())
