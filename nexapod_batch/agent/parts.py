"""The parts of a file that a node sends: the next one is read and hashed while those before it are on their way."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from nexapod_batch.errors import TryAgainError
from nexapod_batch.mesh import signatures
from nexapod_batch.mesh.blobs import PART

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["ON_THE_WAY", "Part", "Parts"]

#: Parts that are sent, or wait for their answer, at once.
ON_THE_WAY = 2


class Part(NamedTuple):
    """Bytes of a file from one place on, and their `Content-Digest`."""

    at: int
    data: memoryview
    digest: str


class Parts:
    """The parts of one file that is open; as a context manager, nothing reads it any more at the end."""

    def __init__(self, fd: int) -> None:
        """Make room for some parts, or for the whole file; it is used again and again, for new memory costs much."""
        self._fd, self.total = fd, os.fstat(fd).st_size
        room = min(PART, self.total + 1)
        self._blocks = [memoryview(bytearray(room)) for _ in range(ON_THE_WAY + 1 if self.total > PART else 1)]
        self._reader = ThreadPoolExecutor(1)
        self._ahead: Future[Part] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being read."""
        self._reader.shutdown()

    def sha256(self) -> str:
        """Return the SHA-256 of the whole file."""
        digest, at, block = hashlib.sha256(), 0, self._blocks[0]
        while size := os.preadv(self._fd, [block], at):
            digest.update(block[:size])
            at += size
        return digest.hexdigest()

    def begins(self, at: int) -> Part:
        """Return the part that begins at a byte, whose data count until this was called as often as parts are sent.

        Raises:
            TryAgainError: The file ends before that.

        """
        part = self._ahead.result() if self._ahead is not None else None
        self._ahead = None
        if part is None or part.at != at:
            part = self._read(at)
        after = at + len(part.data)
        if not part.data and at < self.total:
            raise TryAgainError("a file became shorter while it was sent", got=f"{at} bytes", wanted=self.total)
        if after < self.total:
            self._ahead = self._reader.submit(self._read, after)
        return part

    def _read(self, at: int) -> Part:
        """Read into the block that has been on its way for longest."""
        block = self._blocks.pop(0)
        self._blocks.append(block)
        data = block[: os.preadv(self._fd, [block], at)]
        return Part(at, data, signatures.content_digest(data))
