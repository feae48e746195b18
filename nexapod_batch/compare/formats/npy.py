"""NumPy's .npy files, read without NumPy.

There is one implementation on purpose: a node without NumPy must come to the same digest as one with it. Booleans,
integers, floating-point numbers, complex numbers (as two), strings, dates and records of these are read; objects are
pickles and never loaded. Arrays in Fortran order are those in C order with the same elements.
"""

from __future__ import annotations

import ast
import math
import mmap
import struct
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nexapod_batch.compare.formats.named import Parts, part
from nexapod_batch.compare.formats.npy_types import record_of
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.formats.npy_types import Record
    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGIC", "Head", "array_of", "read"]

MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # NumPy's own limit
_MOST_EMPTY = 1_000_000  # elements that take no room
_MAX_COUNT = 1 << 48  # of elements, and of any dimension


#: Bytes -> code of numbers as wide, which are copied fast.
_WORDS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Head(NamedTuple):
    """What an array is."""

    shape: tuple[int, ...]
    fields: tuple[str, ...]  # names of what an element is made of; empty where it is one value
    each: int  # values of an element

    def begun(self, name: str) -> Token:
        """Return the token with which it begins."""
        if self.each == 1 and not self.fields:
            return part(name, self.shape)
        return part(name, (*self.shape, self.each), fields=list(self.fields))


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of an array."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    head, batches = array_of(source)
    yield [head.begun("element")]
    yield from batches


def array_of(source: Source) -> tuple[Head, Iterator[Batch]]:
    """Return what an array is, and its elements; CompareError for what is no array that can be read."""
    record, fortran, shape = _header(source)
    count = math.prod(shape)
    if not record.width and count > _MOST_EMPTY:
        source.refuse(f"{count} elements without a byte", f"at most {_MOST_EMPTY}")
    head = Head(shape=shape, fields=record.names, each=record.each)
    if fortran and len(shape) > 1 and count:
        return head, _transposed(source, record, shape)
    return head, _elements(source, record, count)


def _elements(source: Source, record: Record, count: int) -> Iterator[Batch]:
    step = max(1, CHUNK // max(record.width, record.each, 1))  # some values take no bytes
    for start in range(0, count, step):
        wanted = min(step, count - start)
        data = source.read(wanted * record.width)
        if len(data) != wanted * record.width:
            read = start + len(data) // max(record.width, 1)
            source.refuse(f"the end after {read} of {count} elements", "all of them")
        yield record.decode(source, data, wanted)
    if source.read(1):
        source.refuse("more bytes after the last element", "one array")


def _transposed(source: Source, record: Record, shape: tuple[int, ...]) -> Iterator[Batch]:
    """Yield the elements of an array in Fortran order in C order."""
    import tempfile  # noqa: PLC0415 - seldom

    with tempfile.TemporaryFile() as copy:
        size = 0
        while chunk := source.read(CHUNK):
            copy.write(chunk)
            size += len(chunk)
        if size != math.prod(shape) * record.width:
            source.refuse(f"{size} bytes of elements", f"{math.prod(shape) * record.width}")
        copy.flush()
        with mmap.mmap(copy.fileno(), size, access=mmap.ACCESS_READ) as memory:
            yield from _rows(source, record, shape, memory)


def _rows(source: Source, record: Record, shape: tuple[int, ...], memory: mmap.mmap) -> Iterator[Batch]:
    """Yield batches of rows: elements of which only the last index differs."""
    width, last = record.width, shape[-1]
    most = max(1, CHUNK // max(width, record.each))
    strides = [math.prod(shape[:axis]) * width for axis in range(len(shape))]
    gathered: list[bytes] = []
    size = 0
    with _elements_of(memory, width) as view:
        for index in _indexes(shape[:-1]):
            start = sum(at * stride for at, stride in zip(index, strides, strict=False))
            for first in range(0, last, most):
                count = min(most, last - first)
                gathered.append(_strided(view, width, start + first * strides[-1], count, strides[-1]))
                size += count
                if size >= most:
                    yield record.decode(source, b"".join(gathered), size)
                    gathered, size = [], 0
    if size:
        yield record.decode(source, b"".join(gathered), size)


def _elements_of(memory: mmap.mmap, width: int) -> memoryview[Any]:
    """Return a view of elements of so many bytes; of bytes where there are no numbers as wide."""
    with memoryview(memory) as whole:
        return whole.cast(_WORDS.get(width, "B"))


def _strided(view: memoryview[Any], width: int, start: int, count: int, stride: int) -> bytes:
    """Return so many elements from an offset on, each a stride of bytes behind the last one."""
    if view.itemsize == width:
        with view[start // width : (start + count * stride) // width : stride // width] as elements:
            return elements.tobytes()
    return b"".join([view[at : at + width].tobytes() for at in range(start, start + count * stride, stride)])


def _indexes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every index of a shape in C order."""
    for flat in range(math.prod(shape)):
        index, rest = [], flat
        for size in reversed(shape):
            rest, at = divmod(rest, size)
            index.append(at)
        yield tuple(reversed(index))


def _header(source: Source) -> tuple[Record, bool, tuple[int, ...]]:
    """Return what an element is, whether it is in Fortran order, and the shape; nothing of a header is believed."""
    text = _header_text(source)
    try:
        header = ast.literal_eval(text.decode("utf-8").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        source.refuse(f"header {text[:80]!r}", "descr, fortran_order and shape")
    try:
        record = record_of(descr)
    except (ValueError, struct.error, RecursionError) as error:
        source.refuse(f"elements of type {str(descr)[:80]!r}", f"numbers, booleans, dates, strings or records: {error}")
    if not _is_shape(shape) or not isinstance(fortran, bool):
        source.refuse(f"shape {str(shape)[:80]}", "whole numbers")
    return record, fortran, shape


def _header_text(source: Source) -> bytes:
    start = source.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in {1, 2, 3}:
        source.refuse(f"first bytes {start!r}", "a .npy file of version 1, 2 or 3")
    size = source.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(size, "little")
    if not 0 < length <= _LONGEST_HEADER:
        source.refuse(f"a header of {length} bytes", f"at most {_LONGEST_HEADER}")
    return source.read(length)


def _is_shape(shape: object) -> bool:
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < _MAX_COUNT for n in shape):
        return False
    return math.prod(shape) < _MAX_COUNT
