"""The file format of SQLite, as far as it takes to read rows page by page: https://sqlite.org/fileformat2.html.

SQLite itself stops at the first page that is out of order, and reaches no row below it. Here each page is read for
itself, so that a page that is lost takes only its own rows with it. Pure: bytes in, values out. Nothing in a page is
believed: every length and offset is checked, and what is out of order is left out and counted.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from nexapod_batch.store.file_header import FILE_MAGIC

__all__ = [
    "DEFAULT_PAGE_SIZE", "Page", "Record", "Value", "free_pages", "page_size_of", "read_page", "user_version_of",
    "with_log",
]  # fmt: skip

Value: TypeAlias = str | int | float | bytes | None
#: What SQLite makes, and so do we.
DEFAULT_PAGE_SIZE = 4096
_HEADER = 100  # bytes of the first page before its tree begins
_LEAF, _INTERIOR = 0x0D, 0x05  # of a table
_KEY_LEAF, _KEY_INTERIOR = 0x0A, 0x02  # of an index, or of a table without row ids
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes of a write-ahead log
_FIXED_SIZES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
_MAX_COLUMNS = 2_000


class Record(NamedTuple):
    """A row as it is stored."""

    rowid: int | None  # None: of an index, or of a table without row ids
    values: tuple[Value, ...]


class Page(NamedTuple):
    """What one page says."""

    is_index: bool  # of an index, or of a table without row ids
    records: tuple[Record, ...]
    children: tuple[int, ...]
    overflow: tuple[int, ...]  # pages that hold the rest of its long records
    bad: int  # parts of it that are out of order


class _BadError(Exception):
    """Something is out of order."""


def page_size_of(data: bytes) -> int:
    """Return the size of the pages of a file; the usual one where its header does not say."""
    size = int.from_bytes(data[16:18], "big")
    size = 65_536 if size == 1 else size
    usable = data[:16] == FILE_MAGIC and 512 <= size <= 65_536 and size & (size - 1) == 0
    if usable:
        return size
    return DEFAULT_PAGE_SIZE


def user_version_of(data: bytes) -> int:
    """Return the version of the schema; 0 where the header is lost."""
    if data[:16] == FILE_MAGIC:
        return int.from_bytes(data[60:64], "big")
    return 0


def free_pages(data: bytes, size: int) -> set[int]:
    """Return the pages that hold nothing any more, as far as their list can be read."""
    found: set[int] = set()
    trunk = int.from_bytes(data[32:36], "big")
    while 0 < trunk <= len(data) // size and trunk not in found:
        found.add(trunk)
        page = data[(trunk - 1) * size : trunk * size]
        count = min(int.from_bytes(page[4:8], "big"), size // 4 - 2)
        found.update(struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
        trunk = int.from_bytes(page[:4], "big")
    return found


def with_log(data: bytes, log: bytes) -> bytes:
    """Return a database with the committed pages of its write-ahead log, of which a torn end is left out."""
    size = int.from_bytes(log[8:12], "big")
    if len(log) < _LOG_HEADER or size != page_size_of(data):
        return data
    salts, at, frame = log[16:24], _LOG_HEADER, _FRAME_HEADER + size
    pages: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    total = len(data) // size
    while at + frame <= len(log) and log[at + 8 : at + 16] == salts:
        number, committed = struct.unpack(">II", log[at : at + 8])
        pending[number] = log[at + _FRAME_HEADER : at + frame]
        if committed:
            pages.update(pending)
            pending, total = {}, committed
        at += frame
    whole = bytearray(data[: total * size].ljust(total * size, b"\0"))
    for number, page in pages.items():
        if 0 < number <= total:
            whole[(number - 1) * size : number * size] = page
    return bytes(whole)


def read_page(data: bytes, size: int, number: int) -> Page | None:
    """Return what a page says; None where it is lost: cut off, or no page of a tree."""
    raw = data[(number - 1) * size : number * size]
    start = _HEADER if number == 1 else 0
    if len(raw) < size or raw[start] not in {_LEAF, _INTERIOR, _KEY_LEAF, _KEY_INTERIOR}:
        return None
    kind = raw[start]
    interior = kind in {_INTERIOR, _KEY_INTERIOR}
    first = start + (12 if interior else 8)
    count = int.from_bytes(raw[start + 3 : start + 5], "big")
    if first + 2 * count > size:
        return None
    reader = _Reader(data, size, raw)
    records, children, bad = [], [], 0
    for (offset,) in struct.iter_unpack(">H", raw[first : first + 2 * count]):
        try:
            if interior:
                children.append(int.from_bytes(raw[offset : offset + 4], "big"))
                offset += 4  # noqa: PLW2901 - the rest of the cell
            if kind != _INTERIOR:
                records.append(reader.record(offset, with_rowid=kind == _LEAF))
        except (_BadError, IndexError, struct.error, UnicodeDecodeError):
            bad += 1
    if interior:
        children.append(int.from_bytes(raw[start + 8 : start + 12], "big"))
    return Page(kind in {_KEY_LEAF, _KEY_INTERIOR}, tuple(records), tuple(children), tuple(reader.overflow), bad)


class _Reader:
    """Reads the records of one page, and what of them lies on other pages."""

    def __init__(self, data: bytes, size: int, raw: bytes) -> None:
        self._data, self._size, self._raw = data, size, raw
        self.overflow: list[int] = []

    def record(self, offset: int, *, with_rowid: bool) -> Record:
        """Return the record of the cell at an offset."""
        length, offset = _varint(self._raw, offset)
        rowid = None
        if with_rowid:
            rowid, offset = _varint(self._raw, offset)
            rowid = rowid - (1 << 64) if rowid >= 1 << 63 else rowid
        if length > len(self._data):
            raise _BadError
        return Record(rowid, _values(self._payload(offset, length, with_rowid=with_rowid)))

    def _payload(self, offset: int, length: int, *, with_rowid: bool) -> bytes:
        """Return the payload of a cell: what lies here, and then page by page the rest."""
        usable = self._size - self._data[20] if self._data[:16] == FILE_MAGIC else self._size
        least = (usable - 12) * 32 // 255 - 23
        most = usable - 35 if with_rowid else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
        payload = self._raw[offset : offset + local]
        if len(payload) < local:
            raise _BadError
        if local == length:
            return payload
        parts, left = [payload], length - local
        at = int.from_bytes(self._raw[offset + local : offset + local + 4], "big")
        while left > 0:
            page = self._data[(at - 1) * self._size : at * self._size] if at > 0 else b""
            if len(page) < self._size:
                raise _BadError
            self.overflow.append(at)
            parts.append(page[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
            at = int.from_bytes(page[:4], "big")
        return b"".join(parts)


def _varint(raw: bytes, offset: int) -> tuple[int, int]:
    """Return the number at an offset, and where it ends."""
    value = 0
    for index in range(9):
        byte = raw[offset + index]
        if index == 8:
            return value << 8 | byte, offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    raise _BadError


def _values(payload: bytes) -> tuple[Value, ...]:
    """Return the values of a record, whose header must account for every byte."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != end or len(kinds) > _MAX_COLUMNS:
        raise _BadError
    values: list[Value] = []
    for kind in kinds:
        size = _FIXED_SIZES.get(kind, (kind - 12) // 2)
        if kind in {10, 11} or at + size > len(payload):
            raise _BadError
        values.append(_value(kind, payload[at : at + size]))
        at += size
    if at != len(payload):
        raise _BadError
    return tuple(values)


def _value(kind: int, raw: bytes) -> Value:
    if kind == 0:
        return None
    if kind <= 6:
        return int.from_bytes(raw, "big", signed=True)
    if kind == 7:
        number: float = struct.unpack(">d", raw)[0]
        return number
    if kind in {8, 9}:
        return kind - 8
    if kind % 2:
        return raw.decode("utf-8")
    return raw
