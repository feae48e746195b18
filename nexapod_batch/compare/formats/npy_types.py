"""What the elements of an array are: the `descr` of a .npy file, decoded without NumPy."""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["Record", "record_of"]

_DESCR = re.compile(r"([<>|=]?)([biufcSUVmM])([0-9]{1,6})(\[[0-9]{0,9}[A-Za-zμ]{1,7}\])?")
#: kind and bytes of an element -> struct codes of its parts
_CODES = {
    "b1": "B", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d", "c8": "ff", "c16": "dd", "M8": "q", "m8": "q",
}  # fmt: skip
_NOT_A_TIME = -(1 << 63)
#: Values in one element, at most.
_MOST_FIELDS = 10_000


class _Field(NamedTuple):
    """One kind of value in an element."""

    name: str
    kind: str  # as NumPy has it
    code: str  # of `struct`, for all its values
    values: int  # of values that the code gives
    codec: str = ""  # of text
    unit: str = ""  # of dates


class Record:
    """What one element is, and how many of them are decoded."""

    def __init__(self, order: str, fields: list[_Field], *, plain: bool) -> None:
        """Take the fields in their order; `plain` where an element is no record."""
        self._fields = fields
        self._struct = struct.Struct(order + "".join(field.code for field in fields))
        self._order = order
        self._plain = plain
        self.width, self.each = self._struct.size, sum(field.values for field in fields)
        values = [field for field in fields if field.values]
        self.names = () if plain else tuple(f"{field.name}{field.unit}" for field in values)
        self._single = fields[0] if plain and fields[0].kind in "biuf" else None

    def decode(self, source: Source, data: bytes, count: int) -> Batch:
        """Return the values of so many elements; CompareError for text that is none."""
        if self._single is not None and self._single.code in "bBhHiIqQfd":
            values = array(self._single.code, data)
            if (self._order == ">") != (sys.byteorder == "big"):
                values.byteswap()
            return values
        if self.width == 0:
            return [b'""'] * count
        tokens: list[Token] = []
        for row in self._struct.iter_unpack(data):
            self._row(source, row, tokens)
        return tokens

    def _row(self, source: Source, row: tuple[Token, ...], tokens: list[Token]) -> None:
        at = 0
        for field in self._fields:
            values = row[at : at + field.values]
            at += field.values
            if field.codec:
                tokens += [_text(source, value, field.codec) for value in values]
            elif field.unit:
                tokens += [_time(value, field.unit) for value in values]
            else:
                tokens += values


def _text(source: Source, value: Token, codec: str) -> Token:
    assert isinstance(value, bytes)  # noqa: S101 - struct gives bytes for `s`
    try:
        return json.dumps(value.decode(codec, "surrogatepass").rstrip("\0")).encode()
    except UnicodeDecodeError as error:
        source.refuse(f"a character {error.object[error.start : error.end]!r}", "Unicode")


def _time(value: Token, unit: str) -> Token:
    shown = "NaT" if value == _NOT_A_TIME else f"{value!r} {unit}"
    return json.dumps(shown).encode()


def record_of(descr: object) -> Record:
    """Return what a `descr` says; ValueError for what cannot be read."""
    fields: list[_Field] = []
    orders: set[str] = set()
    _add("", descr, fields, orders)
    if len(orders) > 1:
        raise ValueError("byte orders are mixed")
    if not fields or sum(field.values for field in fields) > _MOST_FIELDS:
        raise ValueError("too many fields, or none")
    return Record(next(iter(orders), "<"), fields, plain=isinstance(descr, str))


def _add(name: str, descr: object, fields: list[_Field], orders: set[str], times: int = 1) -> None:
    """Add the fields of a type, which may be a record of others, or an array of one."""
    if isinstance(descr, list):
        for _ in range(times):
            for inner in descr:
                if not isinstance(inner, tuple) or not 2 <= len(inner) <= 3 or len(fields) > _MOST_FIELDS:
                    raise ValueError("no record")
                shape = inner[2] if len(inner) == 3 else ()
                _add(_joined(name, inner[0]), inner[1], fields, orders, _product(shape))
        return
    match = _DESCR.fullmatch(descr) if isinstance(descr, str) else None
    if match is None:
        raise ValueError("unknown")
    order, kind, digits, unit = match.groups()
    field = _field(name, kind, int(digits), unit or "", times, big=order == ">")
    if order in "<>" and order and kind in "iufcUmM":
        orders.add(order)
    fields.append(field)


def _field(name: str, kind: str, size: int, unit: str, times: int, *, big: bool) -> _Field:
    if kind == "V":  # padding
        return _Field(name, kind, f"{size * times}x", 0)
    if kind in "SU":
        width = size * (4 if kind == "U" else 1)
        codec = {"S": "latin-1", "U": "utf-32-le"}[kind]
        if big and kind == "U":
            codec = "utf-32-be"
        return _Field(name, kind, f"{width}s" * times, times, codec)
    code = _CODES.get(f"{kind}{size}")
    if code is None or not 0 < times <= _MOST_FIELDS:
        raise ValueError("unknown")
    return _Field(name, kind, code * times, len(code) * times, "", (unit or "generic") if kind in "mM" else "")


def _joined(name: str, inner: object) -> str:
    own = inner[-1] if isinstance(inner, tuple) and inner else inner  # a title stands before a name
    return f"{name}.{own}" if name else str(own)


def _product(shape: object) -> int:
    if isinstance(shape, int):
        shape = (shape,)
    if not isinstance(shape, tuple):
        raise ValueError("no shape")  # noqa: TRY004 - of data
    found = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MOST_FIELDS:
            raise ValueError("no shape")
        found *= size
    if found > _MOST_FIELDS:
        raise ValueError("too many fields")
    return found
