"""CSV: rows of cells, read as Python's `csv` does, in memory of about a row.

The first token is the delimiter: a tab for .tsv, else the first of tab, semicolon and comma that the first line has. A
quoted cell is text, also when it looks like a number, unless the rule has `quoted_numbers`. Lines that begin as its
`comments` do are no rows, where no quote is open. Blanks around a number do not count. Digits with an exponent
right behind a digit and a comma are text: they may be the fraction of `1,5e+00`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import TYPE_CHECKING

from nexapod_batch.compare.blocks import Block, Layout
from nexapod_batch.compare.formats.lines import Lines, parts_of, without_last_blank_lines
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.stream import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.blocks import Together
    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

_EXPONENT = re.compile(rb",[0-9]+[eEdD]")
_FRACTION = re.compile(rb"[0-9]+[eEdD][+-]?[0-9]+ *")
_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
#: In what a unit stands behind the name of a column.
_AROUND_UNIT = {"]": "[", ")": "("}
#: A cell without an end is no table, and must not fill the memory.
_LONGEST_CELL = 1 << 20
#: Bytes of a row.
_LONGEST_ROW = 4 << 20
_BATCH = 1 << 14


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Together]]:
    """Return the place and the batches of a table of cells."""
    table = _Table(source, b"\t" if suffix == "tsv" else b"")
    return Lines("row", "column", first=0), without_last_blank_lines(table.batches())


class _Lines:
    """The rest of a file: many whole lines at once, or one by one."""

    def __init__(self, source: Source) -> None:
        self._source, self._chunks = source, source.text_chunks()
        self._rest: list[bytes] = []
        self._ready: deque[bytes] = deque()
        self.number = 0  # of lines that were taken

    def many(self) -> bytes:
        """Return whole lines of which none was taken; b"" at the end, or where one by one is not done yet."""
        if self._ready:
            return b""
        for chunk in self._chunks:
            end = chunk.rfind(b"\n") + 1
            self._rest.append(chunk[:end] if end else chunk)
            if end:
                lines = b"".join(self._rest)
                self._rest = [chunk[end:]]
                return lines
            if len(self._rest) * CHUNK > _LONGEST_ROW and sum(map(len, self._rest)) > _LONGEST_ROW:
                self._source.refuse(f"a row of more than {_LONGEST_ROW} bytes", "CSV")
        lines, self._rest = b"".join(self._rest), []
        return lines

    def put_back(self, lines: bytes) -> None:
        """Let lines be taken one by one, before all others."""
        self._ready.extendleft(reversed(lines.splitlines(keepends=True) if b"\r" not in lines else list(_split(lines))))

    def __bool__(self) -> bool:
        """Say whether lines were put back that are not taken yet."""
        return bool(self._ready)

    def __iter__(self) -> Iterator[bytes]:
        """Return what yields lines one by one."""
        return self

    def __next__(self) -> bytes:
        """Return the next line, with its end."""
        if not self._ready:
            more = self.many()
            if not more:
                raise StopIteration
            self.put_back(more)
        self.number += 1
        return self._ready.popleft()


def _split(lines: bytes) -> Iterator[bytes]:
    """Yield lines that end in a line feed; a carriage return ends none."""
    *whole, last = lines.split(b"\n")
    for line in whole:
        yield line + b"\n"
    if last:
        yield last


class _Table:
    """Rows of cells: many together where quotes hold no line ends, else one by one."""

    def __init__(self, source: Source, delimiter: bytes) -> None:
        self._source, self._lines = source, _Lines(source)
        self._first = self._lines.many()
        self._comma = source.rule.decimal == ","
        self._quoted = source.rule.quoted_numbers
        self._comment = source.rule.comments.encode()
        self._comments = re.compile(rb"^[ \t]*" + re.escape(self._comment) + rb"[^\n]*(?:\n|\Z)", re.MULTILINE)
        first = self._rows_of(self._first).partition(b"\n")[0]
        self._delimiter = source.rule.delimiter.encode() or delimiter or _delimiter(first)
        self._simple = re.compile(rb'(?:(?<=[\n%b])|\A)"[^"\n]*"(?=[\r\n%b]|\Z)' % (2 * (re.escape(self._delimiter),)))

    def batches(self) -> Iterator[list[Token] | Block]:
        """Yield everything."""
        yield [_as_text(self._delimiter)]  # cells that were cut elsewhere are other cells
        ignored = names(self._source.rule.ignore)
        if ignored:
            self._lines.put_back(self._first)
            yield from self._without(ignored)
            return
        lines = self._first
        while lines:
            for part in parts_of(lines):
                rows = self._rows_of(part)
                if self._lines or not self._is_closed(rows):
                    self._lines.put_back(part)
                    yield from self._one_by_one()
                elif rows:
                    yield from self._together(rows)
            lines = self._lines.many()

    def _rows_of(self, lines: bytes) -> bytes:
        """Return lines without comments, as far as none of them stands in quotes that an earlier line opened."""
        return self._comments.sub(b"", lines) if self._comment else lines

    def _is_comment(self, line: bytes) -> bool:
        return bool(self._comment) and line.lstrip(b" \t").startswith(self._comment)

    def _is_closed(self, lines: bytes) -> bool:
        """Say whether all quotes stand around a cell, and hold none."""
        return b'"' not in lines or b'"' not in self._simple.sub(b"", lines)

    def _together(self, part: bytes) -> Iterator[list[Token] | Block]:
        self._lines.number += part.count(b"\n")
        if b"\r" in part:  # which is looked for in a hundredth of the time
            part = part.replace(b"\r\n", b"\n")
        lines = part.rstrip(b"\n")
        if lines and (self._comma or self._quoted):
            yield self._tokens(lines)
        elif lines:
            yield Block(lines, Layout(self._delimiter, cells=True), self._tokens, self._word)
        yield [b"\n"] * max(part.count(b"\n", len(lines)), 1)  # the last line may have no end

    def _tokens(self, lines: bytes) -> list[Token]:
        """Return the tokens of whole lines without the end of the last one."""
        tokens: list[Token] = []
        for line in lines.split(b"\n"):
            tokens += self._row(line)
            tokens.append(b"\n")
        return tokens[:-1]

    def _word(self, text: bytes, start: int, end: int) -> Token:
        """Return a cell that stands in a text."""
        cell = text[start:end]
        if cell[:1] == b'"':
            return _as_text(cell[1:-1])
        if text[start - 1 : start] == b"," == self._delimiter and _is_fraction(text[start - 2 : start - 1], cell):
            return _as_text(cell)
        return _cell(cell)

    def _row(self, line: bytes) -> list[Token]:
        if b'"' in line:
            row = _quoted_row(self._source, line, self._lines, self._delimiter)
            if self._quoted and not self._comma:
                row = [_without_quotes(cell) for cell in row]
        else:
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            row = _plain_row(text, self._delimiter) if text else []
        return [_with_comma(cell) for cell in row] if self._comma else row

    def _one_by_one(self) -> Iterator[list[Token]]:
        """Yield the rows that were put back, and those that a quote joins to them."""
        batch: list[Token] = []
        while self._lines:
            line = next(self._lines)
            if self._is_comment(line):
                continue
            batch += self._row(line)
            batch.append(b"\n")
            if len(batch) > _BATCH:
                yield batch
                batch = []
        yield batch

    def _without(self, ignored: frozenset[str]) -> Iterator[list[Token]]:
        """Yield all rows but for the columns of these names, which the first row has."""
        left_out: frozenset[int] | None = None
        for line in self._lines:
            if self._is_comment(line):
                continue
            row = self._row(line)
            if left_out is None:
                left_out = frozenset(at for at, cell in enumerate(row) if _is_named(_text_of(cell), ignored))
            yield [*(cell for at, cell in enumerate(row) if at not in left_out), b"\n"]


def _is_named(head: str, ignored: frozenset[str]) -> bool:
    """Say whether the head of a column is one of these names, behind which its unit may stand: `time [s]`, `T (K)`."""
    name = head.strip()
    return name in ignored or _without_unit(name) in ignored


def _without_unit(name: str) -> str:
    """Return a name without the last brackets, where it ends with them: those that hold no end of others."""
    close = name[-1:]
    if close not in _AROUND_UNIT:
        return name
    begin = name.find(_AROUND_UNIT[close], name.rfind(close, 0, -1) + 1)
    return name if begin < 0 else name[:begin].rstrip()


def _without_quotes(cell: Token) -> Token:
    """Return a cell whose quotes say nothing: a number where it looks like one."""
    if not isinstance(cell, bytes) or cell[:1] != b'"':
        return cell
    token = cell[1:-1].strip(b" ")
    return cell if value_of(token) is None else token


def _with_comma(cell: Token) -> Token:
    """Return a cell as it is read where the decimal mark is a comma: `1,5` is a number, and `1.5` may be a name."""
    if not isinstance(cell, bytes):
        return cell
    if cell[:1] != b'"':
        return _as_text(cell) if b"." in cell else cell
    token = cell[1:-1].strip(b" ")
    if b"," in token and b"." not in token and value_of(token.replace(b",", b".")) is not None:
        return token.replace(b",", b".")
    return cell


def _delimiter(line: bytes) -> bytes:
    # The comma last: where it is the decimal mark, taking it for the delimiter would cut numbers in two.
    bare = _QUOTED.sub(b"", line)
    return next((mark for mark in (b"\t", b";", b",") if mark in bare), b",")


def _plain_row(text: bytes, delimiter: bytes) -> list[Token]:
    cells = text.split(delimiter)
    row = [_cell(cell) for cell in cells]
    if delimiter == b"," and _EXPONENT.search(text):
        for at in range(1, len(cells)):
            if _is_fraction(cells[at - 1][-1:], cells[at]):
                row[at] = _as_text(cells[at])
    return row


def _is_fraction(before: bytes, cell: bytes) -> bool:
    """Say whether a cell may be what stands behind a decimal comma, with an exponent that belongs to the whole."""
    return before.isdigit() and _FRACTION.fullmatch(cell) is not None


def _quoted_row(source: Source, text: bytes, lines: _Lines, delimiter: bytes) -> list[Token]:
    """Return the cells of a row with quotes in it, which may go on in the next lines."""
    row: list[Token] = []
    at, number = 0, lines.number
    while True:
        if text[at : at + 1] == b'"':
            match = _QUOTED.match(text, at)
            if match is None:
                text += _until_closed(source, lines, number)
                if len(text) > _LONGEST_CELL:
                    source.refuse(f"a row of more than {_LONGEST_CELL} bytes in lines of its own", "CSV", line=number)
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


def _until_closed(source: Source, lines: _Lines, number: int) -> bytes:  # noqa: RET503 - refuse raises
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
