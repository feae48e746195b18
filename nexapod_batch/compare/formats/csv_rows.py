"""CSV: rows of cells, read as Python's `csv` does, in memory of about a row.

The delimiter is a tab for .tsv, else a comma, or where the first line has none a semicolon, or a tab. A quoted cell is
text, also when it looks like a number. Blanks around a number do not count.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.lines import Lines
from nexapod_batch.compare.numbers import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
#: A cell without an end is no table, and must not fill the memory.
_LONGEST_CELL = 1 << 20
_BATCH = 1 << 14


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token]]]:
    """Return the place and the batches of a table of cells."""
    return Lines("row", "column"), _csv(source, b"\t" if suffix == "tsv" else b"")


def _csv(source: Source, delimiter: bytes) -> Iterator[list[Token]]:
    lines = source.lines()
    first = next(lines, b"")
    batch: list[Token] = []
    for row in _rows(source, chain((first,), lines), delimiter or _delimiter(first)):
        batch += row
        batch.append(b"\n")
        if len(batch) > _BATCH:
            yield batch
            batch = []
    yield batch


def _delimiter(line: bytes) -> bytes:
    return next((mark for mark in (b",", b";", b"\t") if mark in line), b",")


def _rows(source: Source, lines: Iterator[bytes], delimiter: bytes) -> Iterator[list[Token]]:
    for number, line in enumerate(lines, 1):
        if b'"' in line:
            yield _quoted_row(source, line, lines, delimiter, number)
        elif text := line.removesuffix(b"\n").removesuffix(b"\r"):
            yield [_cell(cell) for cell in text.split(delimiter)]
        elif line:
            yield []


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
            end = text.find(delimiter, at)
            cell = text[at:] if end < 0 else text[at:end]
            row.append(_cell(cell.removesuffix(b"\n").removesuffix(b"\r") if end < 0 else cell))
            at = len(text) if end < 0 else end
        if not text.startswith(delimiter, at):
            return row
        at += len(delimiter)


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
    token = cell.strip()
    return token if value_of(token) is not None else _as_text(cell)


def _as_text(cell: bytes) -> Token:
    # Latin-1 gives every byte a character, so that nothing is lost and no encoding is guessed.
    return json.dumps(cell.decode("latin-1")).encode()
