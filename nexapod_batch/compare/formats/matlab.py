"""MATLAB files of version 5 (`save -v6`, `-v7`, SciPy's `savemat`): variables in their order, read by hand.

The text with which a file begins (program and day), packing, the order of bytes, and the width in which numbers are
stored do not count. Version 7.3 is HDF5.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from math import prod
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from nexapod_batch.compare.formats.named import Parts, is_ignored, part, text
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from nexapod_batch.compare.numbers import Batch
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGIC", "read"]

MAGIC = b"MATLAB 5.0 MAT-f"
_HEADER = 128
#: Types of elements -> code of `array`; texts are UTF-8 (16), UTF-16 (17), UTF-32 (18).
_CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _PACKED = 14, 15
#: Classes of arrays.
_CELL, _STRUCT, _CHAR, _SPARSE, _DOUBLE, _SINGLE, _OPAQUE = 1, 2, 4, 5, 6, 7, 17
_CLASSES = {
    _CELL: "cell", _STRUCT: "struct", _CHAR: "char", _SPARSE: "sparse", _DOUBLE: "double", _SINGLE: "single",
    8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64", 15: "uint64",
}  # fmt: skip
_COMPLEX, _LOGICAL = 0x800, 0x200
#: Bytes of a variable, unpacked, and of all of them; fields or cells of a variable, and arrays within each other.
_LARGEST, _MOST_BYTES, _MOST, _DEPTH = 1 << 30, 64 << 30, 100_000, 50


class _Element(NamedTuple):
    """An element of a file."""

    type: int
    data: memoryview


class _Array(NamedTuple):
    """What begins an array: its class, flags, size along each axis, and name, and the elements behind these."""

    kind: int
    flags: int
    shape: list[int]
    name: str
    rest: Iterator[_Element]


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of the variables, sorted by name."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    ignored = names(source.rule.ignore)
    try:
        order = {b"IM": "<", b"MI": ">"}.get(source.read(_HEADER)[-2:])
        if order is None:
            _fault("another mark of the order of bytes")
        for data in _variables(source, order):
            name = _begun(data, order).name
            if not is_ignored(ignored, name):
                yield from _array(name, data, order, 0, ignored)
    except (ValueError, zlib.error, struct.error, OverflowError) as error:
        source.refuse(str(error), "a whole MATLAB file")


def _fault(what: str) -> NoReturn:
    raise ValueError(what)


def _variables(source: Source, order: str) -> Iterator[memoryview]:
    """Yield the content of each matrix, unpacked."""
    left = _MOST_BYTES
    while head := source.read(8):
        if len(head) < 8:
            _fault("the end within an element")
        kind, size = struct.unpack(f"{order}II", head)
        data = memoryview(source.read(size) if size <= _LARGEST else b"")
        if len(data) != size:
            _fault(f"an element of {size} bytes")
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            data = memoryview(unpacker.decompress(data, _LARGEST))
            if not unpacker.eof:
                _fault(f"a variable of more than {_LARGEST} bytes, or its end")
            kind, size = struct.unpack_from(f"{order}II", data)
            data = data[8:]
        left -= len(data)
        if kind != _MATRIX or size > len(data) or left < 0:
            _fault(f"an element of type {kind}, {size} bytes")
        yield data[:size]


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements that stand in another one."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        small = kind >> 16
        begin, padding = (at + 4, 4 - small) if small else (at + 8, -size % 8)
        kind, size = (kind & 0xFFFF, small) if small else (kind, size)
        if size > len(data) - begin or padding < 0:
            _fault(f"an element of {size} bytes that ends elsewhere")
        yield _Element(kind, data[begin : begin + size])
        at = begin + size + padding


def _next(elements: Iterator[_Element]) -> _Element:
    found = next(elements, None)
    return _fault("the end within an array") if found is None else found


def _begun(data: memoryview, order: str) -> _Array:
    elements = _elements(data, order)
    (flags, _) = struct.unpack_from(f"{order}II", _next(elements).data)
    kind = flags & 0xFF
    if kind == _OPAQUE:  # it has no shape
        return _Array(kind, flags, [], bytes(_next(elements).data).decode("utf-8", "backslashreplace"), elements)
    shape = _numbers(_next(elements), order).tolist()
    name = bytes(_next(elements).data).decode("utf-8", "backslashreplace")
    if any(size < 0 for size in shape):
        _fault(f"the shape {shape[:8]}")
    return _Array(kind, flags, shape, name, elements)


def _numbers(element: _Element, order: str) -> array[Any]:
    code = _CODES.get(element.type)
    if code is None or len(element.data) % array(code).itemsize:
        _fault(f"numbers of type {element.type}, {len(element.data)} bytes")
    values = array(code, bytes(element.data))
    if (order == "<") != (sys.byteorder == "little"):
        values.byteswap()
    return values


def _array(name: str, data: memoryview, order: str, depth: int, ignored: frozenset[str]) -> Iterator[Batch]:
    """Yield an array, and what is in it where it has fields or cells."""
    found = _begun(data, order)
    word = _CLASSES.get(found.kind)
    if word is None or depth > _DEPTH:
        _fault(f"{name[:80]!a}: an object of class {found.kind}, or arrays within each other too deep")
    word = "logical" if found.flags & _LOGICAL else word
    yield [part(name, found.shape, **{"class": word, "fortran": True})]
    if found.kind == _CELL:
        for number in range(_count(found)):
            yield from _array(f"{name}{{{number}}}", _inner(found), order, depth + 1, ignored)
    elif found.kind == _STRUCT:
        yield from _fields(name, found, order, depth, ignored)
    elif found.kind == _CHAR:
        yield [text(_text(_next(found.rest), order))]
    else:
        yield from _values(name, found, order)


def _count(found: _Array) -> int:
    count = prod(found.shape)
    return _fault(f"{count} cells") if count > _MOST else count


def _inner(found: _Array) -> memoryview:
    element = _next(found.rest)
    return _fault(f"a cell of type {element.type}") if element.type != _MATRIX else element.data


def _fields(name: str, found: _Array, order: str, depth: int, ignored: frozenset[str]) -> Iterator[Batch]:
    (length,) = _numbers(_next(found.rest), order)[:1] or (0,)
    spelled = bytes(_next(found.rest).data)
    if not 0 < length <= 4096:
        _fault(f"names of {length} bytes")
    words = [spelled[at : at + length].partition(b"\0")[0] for at in range(0, len(spelled), length)]
    fields = [word.decode("utf-8", "backslashreplace") for word in words]
    if len(fields) * max(1, _count(found)) > _MOST:
        _fault(f"{len(fields)} fields of {name[:80]!a}")
    for number in range(_count(found)):
        at = f"[{number}]" if _count(found) > 1 else ""
        for field in fields:
            inner = _inner(found)
            if not is_ignored(ignored, field, f"{name}.{field}"):
                yield from _array(f"{name}{at}.{field}", inner, order, depth + 1, ignored)


def _text(element: _Element, order: str) -> str:
    encoding = _TEXTS.get(element.type)
    if encoding is None:
        _fault(f"text of type {element.type}")
    if encoding in {"utf-16", "utf-32"}:
        encoding += "-le" if order == "<" else "-be"
    return bytes(element.data).decode(encoding, "backslashreplace")


def _values(name: str, found: _Array, order: str) -> Iterator[Batch]:
    """Yield numbers; imaginary parts, and what a sparse array has, as parts of their own."""
    elements = list(found.rest)
    labels = ["", "imaginary"] if found.flags & _COMPLEX else [""]
    if found.kind == _SPARSE:
        labels = ["rows", "columns", *[label or "stored" for label in labels]]
    if len(elements) != len(labels):
        _fault(f"{len(elements)} parts of {name[:80]!a}")
    for label, element in zip(labels, elements, strict=True):
        if found.kind == _SPARSE:
            yield [part(f"{name} ({label})", [len(element.data) // array(_CODES.get(element.type, "b")).itemsize])]
        elif label:
            yield [part(f"{name} ({label})", found.shape, fortran=True)]
        yield from _numbers_of(found, element, order, whole=label in {"rows", "columns"})


def _numbers_of(found: _Array, element: _Element, order: str, *, whole: bool) -> Iterator[Batch]:
    count, width = 0, array(_CODES.get(element.type, "b")).itemsize
    for begin in range(0, len(element.data), CHUNK):
        values = _numbers(element._replace(data=element.data[begin : begin + CHUNK]), order)
        if found.kind in {_SPARSE, _DOUBLE, _SINGLE} and not whole and values.typecode not in "fd":
            values = array("d", values)
        count += len(values)
        yield values
    if found.kind != _SPARSE and (count != prod(found.shape) or count * width != len(element.data)):
        _fault(f"{count} values of {prod(found.shape)}")
