"""A stream as the formats need it: a look at its start, whole reads, and the name for messages."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

from nexapod_batch.compare.budget import current
from nexapod_batch.compare.stores import StoreFiles
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHUNK", "Source"]

#: Bytes that are read at once.
CHUNK = 1 << 18
_LOOK = 16
_BINARY = bytes({*range(9), *range(14, 27), *range(28, 32), 127})
#: A longer line is never left out, and read in pieces.
_LONGEST_LINE = 1 << 20


class Source:
    """A binary stream that need not be seekable and may return less than it was asked for."""

    def __init__(
        self, stream: BinaryIO | StoreFiles, name: str, rule: CompareRule | None = None, *, packed: bool = False
    ) -> None:
        """Read the first bytes, so that `head` can be looked at before anything is taken.

        `packed` says that the stream comes out of a packed file. Time is taken from the budget that is open.
        """
        self.name = name
        self.budget = current()
        self._packed = packed
        self.rule = rule or CompareRule()
        self._stream = cast("BinaryIO", stream)
        self.store = stream if isinstance(stream, StoreFiles) else None
        self._line = 1
        self._left_out: Callable[[bytes], bool] | None = None
        self.head = self._pending = b""
        self.head = self._pending = self.read(_LOOK)

    def leave_out(self, left_out: Callable[[bytes], bool] | None) -> None:
        """Leave out lines from now on, as if they were not there."""
        self._left_out = left_out

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; CompareTimeError where the budget is spent."""
        self.budget.check(self.name)
        parts, self._pending = [self._pending[:size]], self._pending[size:]
        missing = size - len(parts[0])
        while missing > 0 and (part := self._stream.read(min(missing, CHUNK))):  # memory is taken for what is asked for
            parts.append(part)
            missing -= len(part)
            if self._packed:
                self.budget.came_out(len(part))
        return b"".join(parts)

    def put_back(self, data: bytes) -> None:
        """Let bytes be read again."""
        self._pending = data + self._pending

    def file(self) -> BinaryIO:
        """Return everything, from its start, as a file that can seek; whoever asked closes it.

        A plain file of which nothing was taken is opened again, anything else is copied to a temporary one.
        """
        import tempfile  # noqa: PLC0415 - only for formats that seek

        if self._pending == self.head and (again := _opened_again(self._stream, len(self.head))):
            return again
        copy = tempfile.NamedTemporaryFile(prefix="nexapod-")  # noqa: SIM115 - the caller's; HDF5 wants a name
        try:
            while chunk := self.read(CHUNK):
                copy.write(chunk)
            copy.flush()
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return cast("BinaryIO", copy)

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest in chunks, without the lines that are left out."""
        if self._left_out is None:
            while chunk := self.read(CHUNK):
                yield chunk
        else:
            yield from self._other_lines(self._left_out)

    def _other_lines(self, left_out: Callable[[bytes], bool]) -> Iterator[bytes]:
        rest, inside = b"", False  # inside: of a line that is too long, and of which a part was yielded
        while chunk := self.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if inside and lines:
                inside = False
                yield lines.pop(0) + b"\n"
            if kept := [line + b"\n" for line in lines if not left_out(line.removesuffix(b"\r"))]:
                yield b"".join(kept)
            if inside or len(rest) > _LONGEST_LINE:
                inside = True
                yield rest
                rest = b""
        if rest and (inside or not left_out(rest)):
            yield rest

    def text_chunks(self) -> Iterator[bytes]:
        """Yield the rest in chunks; CompareError at the first byte that no text contains."""
        for chunk in self.chunks():
            if len(chunk.translate(None, _BINARY)) != len(chunk):
                at = next(i for i, byte in enumerate(chunk) if byte in _BINARY)
                self.refuse(f"byte 0x{chunk[at]:02x}", "text", line=self._line + chunk.count(b"\n", 0, at))
            yield chunk
            self._line += chunk.count(b"\n")

    def line_behind(self, chunk: bytes) -> int:
        """Return the number of the line in which a chunk of text ends that was just yielded."""
        return self._line + chunk.count(b"\n")

    def lines(self) -> Iterator[bytes]:
        """Yield the rest line by line, each with its newline; CompareError for one that no table has."""
        rest: list[bytes] = []
        for chunk in self.text_chunks():
            first, *others = chunk.split(b"\n")
            rest.append(first)
            if len(rest) * CHUNK > _LONGEST_LINE and sum(map(len, rest)) > _LONGEST_LINE:
                self.refuse(f"a line of more than {_LONGEST_LINE} bytes", "a table", line=self._line)
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
            hint='compare it with compare = "exact", or write a format that is known: nexapod-batch compare FILE FILE',
        )


def _opened_again(stream: BinaryIO, taken: int) -> BinaryIO | None:
    """Return a plain file opened once more, from its start; None where a stream is something else."""
    try:
        fd = stream.fileno()
        plain = stat.S_ISREG(os.fstat(fd).st_mode) and stream.tell() == taken
        return open(f"/proc/self/fd/{fd}", "rb") if plain else None
    except (AttributeError, OSError, ValueError):
        return None
