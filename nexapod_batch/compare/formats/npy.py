"""NumPy's .npy files, read without NumPy.

There is one implementation on purpose: a node without NumPy must come to the same digest as one with it. Booleans,
integers, floating-point numbers, complex numbers (as two) and strings are read; objects are pickles and never loaded.
"""

from __future__ import annotations

import ast
import json
import math
import re
import struct
from typing import TYPE_CHECKING

from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGIC", "Place", "read"]

MAGIC = b"\x93NUMPY"
_DESCR = re.compile(r"([<>|])([biufcSU])([1-9][0-9]{0,5})")
_LONGEST_HEADER = 10_000  # NumPy's own limit
_MAX_COUNT = 1 << 48  # of elements, and of any dimension
#: kind -> bytes for each of what its width counts, where that is not bytes
_BYTES = {"U": 4}
#: kind and bytes of an element -> struct codes of its parts
_CODES = {
    "b1": "B", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d", "c8": "ff", "c16": "dd",
}  # fmt: skip


class Place:
    """The index of the next element, counted in memory order."""

    def __init__(self) -> None:
        """Start before the shape."""
        self._count = -1

    def passed(self, batch: list[Token]) -> None:
        """Move behind these tokens."""
        self._count += len(batch)

    def __str__(self) -> str:
        """Return `shape`, or the position of the element."""
        if self._count < 0:
            return "shape"
        return f"element {self._count}"


def read(source: Source, suffix: str) -> tuple[Place, Iterator[list[Token]]]:  # noqa: ARG001
    """Return the place and the batches of an array."""
    return Place(), _batches(source)


def _batches(source: Source) -> Iterator[list[Token]]:
    """Yield the shape and memory order as one text token, then the elements."""
    order, kind, width, fortran, shape = _header(source)
    memory = "F" if fortran else "C"
    yield [json.dumps(f"{memory} {list(shape)}").encode()]
    count = math.prod(shape)
    decode = _decoder(source, order, kind, width)
    step = max(1, CHUNK // max(width, 1))
    for start in range(0, count, step):
        wanted = min(step, count - start)
        data = source.read(wanted * width)
        if len(data) != wanted * width:
            source.refuse(f"the end after {start + len(data) // max(width, 1)} of {count} elements", "all of them")
        yield decode(data, wanted)
    if source.read(1):
        source.refuse("more bytes after the last element", "one array")


def _decoder(source: Source, order: str, kind: str, width: int) -> Callable[[bytes, int], list[Token]]:
    """Return what turns the bytes of so many elements into tokens."""
    if kind in "SU":
        return _strings(source, _codec(order, kind), width)
    code = _CODES[f"{kind}{width}"]
    mark = "<" if order == "|" else order

    def numbers(data: bytes, count: int) -> list[Token]:
        parts = count * len(code)
        return list(struct.unpack(f"{mark}{parts}{code[0]}", data))

    return numbers


def _codec(order: str, kind: str) -> str:
    if kind == "S":
        return "latin-1"
    if order == ">":
        return "utf-32-be"
    return "utf-32-le"


def _strings(source: Source, codec: str, width: int) -> Callable[[bytes, int], list[Token]]:
    def strings(data: bytes, count: int) -> list[Token]:
        cells = [data[i * width : (i + 1) * width] for i in range(count)]
        try:
            texts = [cell.decode(codec, "surrogatepass") for cell in cells]
        except UnicodeDecodeError as error:
            source.refuse(f"a character {error.object[error.start : error.end]!r}", "Unicode")
        return [json.dumps(text.rstrip("\0")).encode() for text in texts]

    return strings


def _header(source: Source) -> tuple[str, str, int, bool, tuple[int, ...]]:
    """Return byte order, kind, width, Fortran order and shape; everything is checked, nothing is believed."""
    text = _header_text(source)
    try:
        header = ast.literal_eval(text.decode("utf-8").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        source.refuse(f"header {text[:80]!r}", "descr, fortran_order and shape")
    match = _DESCR.fullmatch(descr) if isinstance(descr, str) else None
    if match is None or (match[2] not in "SU" and match[2] + match[3] not in _CODES):
        source.refuse(f"elements of type {str(descr)[:80]!r}", "numbers, booleans or strings")
    if not _is_shape(shape) or not isinstance(fortran, bool):
        source.refuse(f"shape {str(shape)[:80]}", "whole numbers")
    order, kind, digits = match.groups()
    width = int(digits) * _BYTES.get(kind, 1)
    return order, kind, width, fortran, shape


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
