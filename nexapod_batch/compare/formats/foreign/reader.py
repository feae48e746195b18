"""Reading a file by the program that knows its library, under limits; whatever becomes of it, this process goes on."""

from __future__ import annotations

import contextlib
import fcntl
from array import array
from typing import IO, TYPE_CHECKING, Any, NoReturn

import msgspec

from nexapod_batch.compare.formats.foreign.frames import MOST, NUMBERS
from nexapod_batch.compare.formats.foreign.programs import read_by
from nexapod_batch.compare.formats.named import Parts, Rows
from nexapod_batch.compare.unpacking import missing_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Batch
    from nexapod_batch.compare.stream import Source

__all__ = ["read_as"]

#: Bytes that wait in the pipe: fewer mean more turns of the two processes.
_PIPE = 1 << 20


def read_as(
    kind: str, wanted: str, place: type[Parts | Rows] = Parts
) -> Callable[[Source, str], tuple[Parts | Rows, Iterator[Batch]]]:
    """Return what reads files of a kind, by the module of that name; `wanted` says what they are, for people."""

    def read(source: Source, suffix: str) -> tuple[Parts | Rows, Iterator[Batch]]:  # noqa: ARG001
        return place(), _batches(source, kind, wanted)

    return read


def _batches(source: Source, kind: str, wanted: str) -> Iterator[Batch]:
    how = "rows" if source.rule.unordered else "batches"
    with source.file() as file, read_by(kind, how, sorted(source.rule.ignore), file) as stream:
        with contextlib.suppress(OSError):  # a user may have too many large pipes
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE)
        yield from _received(source, stream, wanted)


def _received(source: Source, stream: IO[bytes], wanted: str) -> Iterator[Batch]:
    """Yield what the program sends; CompareError for what it cannot read, or where it breaks off."""
    while True:
        size = int.from_bytes(_exactly(source, stream, 4, wanted), "big")
        if size > MOST:
            source.refuse("a library that was taken over", wanted)
        kind, content = _FRAME.decode(_exactly(source, stream, size, wanted))
        if kind == "end":
            return
        if kind == "missing":
            raise missing_reader(source.name, *[str(name) for name in content if isinstance(name, str)])
        if kind == "refused":
            source.refuse(str(content)[:300], wanted)
        if kind in NUMBERS and isinstance(content, int):
            yield _numbers(source, stream, kind, content, wanted)
        elif kind == "tokens" and isinstance(content, list):
            yield [token for token in content if isinstance(token, bytes | int | float)]


def _numbers(source: Source, stream: IO[bytes], kind: str, size: int, wanted: str) -> array[Any]:
    """Return numbers that follow a frame, read to where they stay."""
    numbers: array[Any] = array(kind)
    if not 0 <= size <= MOST or size % numbers.itemsize:
        source.refuse("a library that was taken over", wanted)
    numbers = array(kind, bytes(numbers.itemsize)) * (size // numbers.itemsize)
    view = memoryview(numbers).cast("B") if size else memoryview(bytearray())
    at = 0
    while at < size:
        count = stream.readinto(view[at:])  # type: ignore[attr-defined] # it is buffered
        if not count:
            _broken(source, wanted)
        at += count
    return numbers


def _broken(source: Source, wanted: str) -> NoReturn:
    source.refuse("what its library broke off at, or took more memory or time for than it may", wanted)


_FRAME = msgspec.msgpack.Decoder(tuple[str, Any])


def _exactly(source: Source, stream: IO[bytes], size: int, wanted: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        _broken(source, wanted)
    return data
