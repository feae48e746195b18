"""A stream as the formats need it: a look at its start, whole reads, and the name for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NoReturn

from nexapod_batch.errors import CompareError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHUNK", "Source"]

#: Bytes that are read at once.
CHUNK = 1 << 18
_LOOK = 6
_BINARY = bytes({*range(9), *range(14, 27), *range(28, 32), 127})


class Source:
    """A binary stream that need not be seekable and may return less than it was asked for."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Read the first bytes, so that `head` can be looked at before anything is taken."""
        self.name = name
        self._stream = stream
        self._line = 1
        self.head = self._pending = b""
        self.head = self._pending = self.read(_LOOK)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        parts, self._pending = [self._pending[:size]], self._pending[size:]
        missing = size - len(parts[0])
        while missing > 0 and (part := self._stream.read(min(missing, CHUNK))):  # memory is taken for what is asked for
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def text_chunks(self) -> Iterator[bytes]:
        """Yield the rest in chunks; CompareError at the first byte that no text contains."""
        while chunk := self.read(CHUNK):
            if len(chunk.translate(None, _BINARY)) != len(chunk):
                at = next(i for i, byte in enumerate(chunk) if byte in _BINARY)
                self.refuse(f"byte 0x{chunk[at]:02x}", "text", line=self._line + chunk.count(b"\n", 0, at))
            yield chunk
            self._line += chunk.count(b"\n")

    def lines(self) -> Iterator[bytes]:
        """Yield the rest line by line, each with its newline."""
        rest: list[bytes] = []
        for chunk in self.text_chunks():
            first, *others = chunk.split(b"\n")
            rest.append(first)
            for other in others:
                yield b"".join(rest) + b"\n"
                rest = [other]
        if last := b"".join(rest):
            yield last

    def refuse(self, got: str, wanted: str, *, line: int | None = None) -> NoReturn:
        """Raise the CompareError that says that this file is no table."""
        where = f" (line {line})" if line is not None else ""
        raise CompareError(
            f"not a table: {self.name}{where}",
            got=got,
            wanted=wanted,
            hint='compare it with compare = "exact", or write text, CSV, JSON or .npy',
        )
