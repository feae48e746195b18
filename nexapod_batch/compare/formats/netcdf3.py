"""NetCDF 3 (classic, 64-bit offset, 64-bit data): dimensions, attributes and variables, sorted by name, read by hand.

The order of variables in the file and how they are laid out do not count. Names that are ignored may be those of
variables (`time`), of attributes anywhere (`history`), or of an attribute of one variable (`time:units`).
"""

from __future__ import annotations

import sys
from array import array
from math import prod
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from nexapod_batch.compare.formats.named import Parts, is_ignored, part, text
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["MAGICS", "read"]

MAGICS = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
#: type -> code of `array`; char is text
_CODES = {1: "b", 2: "", 3: "h", 4: "i", 5: "f", 6: "d", 7: "B", 8: "H", 9: "I", 10: "q", 11: "Q"}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_MOST = 100_000  # entries of one list
_MOST_TEXT = 1 << 24  # bytes of a name or an attribute
_MOST_HEADER = 1 << 26
_MOST_BYTES = 1 << 46


class _Variable(NamedTuple):
    """One variable."""

    name: str
    dimensions: list[int]
    attributes: list[tuple[str, list[Token]]]
    type: int
    begin: int


class _Head:
    """The header, read from the start of a file; nothing in it is believed."""

    def __init__(self, source: Source, file: BinaryIO) -> None:
        self._source, self._file = source, file
        version = file.read(4)[3]
        self._count_bytes = 8 if version == 5 else 4
        self._offset_bytes = 4 if version == 1 else 8
        records = self._number(self._count_bytes)
        self.streaming = records == (1 << 8 * self._count_bytes) - 1
        self.records = 0 if self.streaming else records
        self.dimensions = [(self._name(), self._count()) for _ in range(self._list(_DIMENSION))]
        self.attributes = self._attributes()
        self.variables = [self._variable() for _ in range(self._list(_VARIABLE))]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "big")

    def _bytes(self, size: int) -> bytes:
        data = self._file.read(size) if size <= _MOST_TEXT else b""
        if self._file.tell() > _MOST_HEADER:
            self._source.refuse(f"a header of more than {_MOST_HEADER} bytes", "a shorter one")
        if len(data) != size:
            self._source.refuse("the end in the header", "a whole NetCDF file")
        return data

    def _count(self) -> int:
        return self._number(self._count_bytes)

    def _list(self, tag: int) -> int:
        found, count = self._number(4), self._count()
        if found not in {0, tag} or (not found and count) or count > _MOST:
            self._source.refuse(f"tag {found} of a list of {count}", f"tag {tag}, at most {_MOST} entries")
        return count

    def _padded(self, size: int) -> bytes:
        data = self._bytes(size)
        self._bytes(-size % 4)
        return data

    def _name(self) -> str:
        return self._padded(self._count()).decode("utf-8", "backslashreplace")

    def _attributes(self) -> list[tuple[str, list[Token]]]:
        found = []
        for _ in range(self._list(_ATTRIBUTE)):
            name, kind, count = self._name(), self._number(4), self._count()
            data = self._padded(count * self._width(kind))
            found.append((name, [text(data.decode("latin-1"))] if kind == 2 else _decode(data, kind).tolist()))
        return sorted(found, key=lambda entry: entry[0])

    def _width(self, kind: int) -> int:
        if kind not in _WIDTHS:
            self._source.refuse(f"type {kind}", "a type of NetCDF")
        return _WIDTHS[kind]

    def _variable(self) -> _Variable:
        name, count = self._name(), self._count()
        if count > _MOST:
            self._source.refuse(f"{count} dimensions of {name[:40]!a}", f"at most {_MOST}")
        dimensions = [self._count() for _ in range(count)]
        if any(number >= len(self.dimensions) for number in dimensions):
            self._source.refuse(f"a dimension of {name[:40]!a} that is not there", "one of the file's")
        attributes, kind = self._attributes(), self._number(4)
        self._width(kind)
        self._count()  # how many bytes there are is worked out: the field may be too small for it
        return _Variable(name, dimensions, attributes, kind, self._number(self._offset_bytes))


def _decode(data: bytes, kind: int) -> array:  # type: ignore[type-arg] # of numbers of any kind
    values = array(_CODES[kind], data)
    if values.itemsize > 1 and sys.byteorder == "little":
        values.byteswap()
    return values


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of everything that has a name."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    ignored = names(source.rule.ignore)
    with source.file() as file:
        head = _Head(source, file)
        yield [part("dimensions"), *[text(f"{name} = {size}") for name, size in head.dimensions if size]]
        yield from _attribute_parts("", head.attributes, ignored)
        recorded = [one for one in head.variables if _is_recorded(head, one)]
        step = sum(_padded_size(head, one) for one in recorded)
        if len(recorded) == 1:  # then nothing is padded
            step = _slab(head, recorded[0])
        if head.streaming and step:
            begin = min(one.begin for one in recorded)
            head.records = max(0, file.seek(0, 2) - begin) // step
        size = sum(_slab(head, one) * (head.records if _is_recorded(head, one) else 1) for one in head.variables)
        if size > file.seek(0, 2):
            source.refuse(f"variables of {size} bytes", "no more than the file has")
        for variable in sorted(head.variables, key=lambda one: one.name):
            if not is_ignored(ignored, variable.name):
                yield from _attribute_parts(variable.name, variable.attributes, ignored)
                yield from _values(source, file, head, variable, step)


def _attribute_parts(
    owner: str, attributes: list[tuple[str, list[Token]]], ignored: frozenset[str]
) -> Iterator[Batch]:
    for name, values in attributes:
        if not is_ignored(ignored, name, f"{owner}:{name}"):
            yield [part(f"{owner}:{name}", [len(values)]), *values]


def _is_recorded(head: _Head, variable: _Variable) -> bool:
    """Say whether a variable grows along the record dimension, whose size stands as 0."""
    return bool(variable.dimensions) and head.dimensions[variable.dimensions[0]][1] == 0


def _slab(head: _Head, variable: _Variable) -> int:
    """Return the bytes of a variable, or of one record of it."""
    first = 1 if _is_recorded(head, variable) else 0
    return prod(head.dimensions[number][1] for number in variable.dimensions[first:]) * _WIDTHS[variable.type]


def _padded_size(head: _Head, variable: _Variable) -> int:
    size = _slab(head, variable)
    return size + -size % 4


def _values(source: Source, file: BinaryIO, head: _Head, variable: _Variable, step: int) -> Iterator[Batch]:
    recorded, size = _is_recorded(head, variable), _slab(head, variable)
    shape = [head.dimensions[number][1] for number in variable.dimensions]
    if recorded:
        shape[0] = head.records
    count = head.records if recorded else 1
    if size * count >= _MOST_BYTES:
        source.refuse(f"{size * count} bytes of {variable.name[:40]!a}", f"less than {_MOST_BYTES}")
    yield [part(variable.name, shape, dimensions=[head.dimensions[number][0] for number in variable.dimensions])]
    for record in range(count if size else 0):
        file.seek(variable.begin + record * step)
        yield from _slab_values(source, file, variable, size)


def _slab_values(source: Source, file: BinaryIO, variable: _Variable, size: int) -> Iterator[Batch]:
    while size:
        wanted = min(size, CHUNK)
        data = file.read(wanted)
        if len(data) != wanted:
            source.refuse(f"the end in {variable.name[:40]!a}", f"{size} bytes more")
        size -= wanted
        if variable.type == 2:
            yield [text(data.decode("latin-1"))] if wanted < CHUNK else list(data)
        else:
            yield _decode(data, variable.type)
