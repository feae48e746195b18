"""CSV: rows of cells, read as Python's `csv` does, in memory of about a row.

The first token is the delimiter: a tab for .tsv, else the first of tab, semicolon and comma that the first line has. A
quoted cell is text, also when it looks like a number. Blanks around a number do not count. Digits with an exponent
right behind a digit and a comma are text: they may be the fraction of `1,5e+00`.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.lines import Lines
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.numbers import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

_EXPONENT = re.compile(rb",[0-9]+[eEdD]")
_FRACTION = re.compile(rb"[0-9]+[eEdD][+-]?[0-9]+ *")
_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
#: A cell without an end is no table, and must not fill the memory.
_LONGEST_CELL = 1 << 20
_BATCH = 1 << 14


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token]]]:
    """Return the place and the batches of a table of cells."""
    return Lines("row", "column", first=0), _csv(source, b"\t" if suffix == "tsv" else b"")


def _csv(source: Source, delimiter: bytes) -> Iterator[list[Token]]:
    lines = source.lines()
    first = next(lines, b"")
    delimiter = delimiter or _delimiter(first)
    batch: list[Token] = [_as_text(delimiter)]  # cells that were cut elsewhere are other cells
    ignored = names(source.rule.ignore)
    left_out: frozenset[int] | None = None if ignored else frozenset()
    for row in _rows(source, chain((first,), lines), delimiter):
        if left_out is None:  # the first row is the header
            left_out = frozenset(at for at, cell in enumerate(row) if _text_of(cell).strip() in ignored)
        batch += [cell for at, cell in enumerate(row) if at not in left_out] if left_out else row
        batch.append(b"\n")
        if len(batch) > _BATCH:
            yield batch
            batch = []
    yield batch


def _delimiter(line: bytes) -> bytes:
    # The comma last: where it is the decimal mark, taking it for the delimiter would cut numbers in two.
    bare = _QUOTED.sub(b"", line)
    return next((mark for mark in (b"\t", b";", b",") if mark in bare), b",")


def _rows(source: Source, lines: Iterator[bytes], delimiter: bytes) -> Iterator[list[Token]]:
    for number, line in enumerate(lines, 1):
        if b'"' in line:
            yield _quoted_row(source, line, lines, delimiter, number)
        elif text := line.removesuffix(b"\n").removesuffix(b"\r"):
            yield _plain_row(text, delimiter)
        elif line:
            yield []


def _plain_row(text: bytes, delimiter: bytes) -> list[Token]:
    cells = text.split(delimiter)
    row = [_cell(cell) for cell in cells]
    if delimiter == b"," and _EXPONENT.search(text):
        for at in range(1, len(cells)):
            if _is_fraction(cells[at - 1], cells[at]):
                row[at] = _as_text(cells[at])
    return row


def _is_fraction(before: bytes, cell: bytes) -> bool:
    """Say whether a cell may be what stands behind a decimal comma, with an exponent that belongs to the whole."""
    return before[-1:].isdigit() and _FRACTION.fullmatch(cell) is not None


def _quoted_row(source: Source, text: bytes, lines: Iterator[bytes], delimiter: bytes, number: int) -> list[Token]:
    """Return the cells of a row with quotes in it, which may go on in the next lines."""
    row: list[Token] = []
    at = 0
    while True:
        if text[at : at + 1] == b'"':
            match = _QUOTED.match(text, at)
            if match is None:
                text += _until_closed(source, lines, number)
                continue
            row.append(_as_text(match[1].replace(b'""', b'"')))
            at = match.end()
            if text[at:] not in (b"", b"\n", b"\r\n") and not text.startswith(delimiter, at):
                source.refuse(f"{text[at : at + 20]!r} behind a closing quote", "CSV", line=number)
        else:
            token, at = _unquoted(text, at, delimiter)
            row.append(token)
        if not text.startswith(delimiter, at):
            return row
        at += len(delimiter)


def _unquoted(text: bytes, at: int, delimiter: bytes) -> tuple[Token, int]:
    """Return the cell without quotes that begins at `at`, and where it ends."""
    end = text.find(delimiter, at)
    if end < 0:
        end = len(text)
    cell = text[at:end]
    if end == len(text):
        cell = cell.removesuffix(b"\n").removesuffix(b"\r")
    before = text[max(at - 2, 0) : max(at - 1, 0)]
    if delimiter == b"," and _is_fraction(before, cell):
        return _as_text(cell), end
    return _cell(cell), end


def _until_closed(source: Source, lines: Iterator[bytes], number: int) -> bytes:  # noqa: RET503 - refuse raises
    """Return the lines up to one with an odd number of quotes: it closes what was open."""
    parts: list[bytes] = []
    size = 0
    for line in lines:
        parts.append(line)
        size += len(line)
        if line.count(b'"') % 2:
            return b"".join(parts)
        if size > _LONGEST_CELL:
            source.refuse(f"a cell of more than {_LONGEST_CELL} bytes", "CSV", line=number)
    source.refuse("unexpected end of data", "CSV", line=number)


def _cell(cell: bytes) -> Token:
    token = cell.strip(b" ")
    if value_of(token) is not None:
        return token
    return _as_text(cell)


def _text_of(token: Token) -> str:
    """Return what stands in a cell."""
    text = token if isinstance(token, bytes) else b""
    if text[:1] == b'"':
        return str(json.loads(text)).encode("latin-1").decode("utf-8", "replace").removeprefix("\ufeff")
    return text.decode("latin-1")


def _as_text(cell: bytes) -> Token:
    # Latin-1 gives every byte a character, so that nothing is lost and no encoding is guessed.
    return json.dumps(cell.decode("latin-1")).encode()
