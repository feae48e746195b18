"""Files as sequences of tokens: text tables, CSV, JSON and .npy.

A .npy file is known by its first bytes, JSON and CSV by the name (.json .jsonl .ndjson .csv .tsv); everything else is a
text table. Every reader yields batches of tokens, with tokens for structure (line ends, brackets, shape) among them, so
that two files have the same shape exactly when these are equal. In CSV, JSON and .npy, text is quoted as a JSON string,
so that it is never taken for a number.

- Text: words between white space, cut again at `= , ; : ( ) [ ] { }`, so that `E=-1.25,` holds a number. Line ends
  count, but for the last, and so do tabs: an empty cell stands between two of them. In tables with fixed columns an
  empty cell is a run of blanks, so that behind two or more blanks it counts where a word ends; how many there are does
  not count otherwise.
- CSV: the delimiter is a tab for .tsv, else a comma, or where the first line has none a semicolon, or a tab. A quoted
  cell is text, also when it looks like a number. Blanks around a number do not count.
- JSON: the order of an object's keys does not count, numbers in quotes are text. See `json_tokens`.
- .npy: shape and memory order count, width and byte order of the elements do not. See `npy`.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare import json_tokens, npy
from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.stream import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Token

__all__ = ["Reading", "is_position"]

_WORD = re.compile(rb"[\n\t]|[=,;:()\[\]{}]|[^\s=,;:()\[\]{}]+")
_BLANK = re.compile(rb"\s")
_GAP = b"  "
_PLACED = re.compile(rb"[ ]{2,}([^\s=,;:()\[\]{}]+)|" + _WORD.pattern)
_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
#: A word without an end is no table, and must not fill the memory.
_LONGEST_WORD = 1 << 20
#: In a line longer than this nobody looks for columns.
_LONGEST_LINE = 1 << 22
_BATCH = 1 << 14


class Reading:
    """One file as batches of tokens, and what a place in it is called."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Choose the format. CompareError, also later from `batches`, when the content is not of that format."""
        source = Source(stream, name)
        ending = name.rpartition(".")[2].lower() if "." in name else ""
        self._place: _Lines | npy.Place | json_tokens.Place
        if source.head == npy.MAGIC or ending == "npy":
            self.format = "npy"
            self._place = npy.Place()
            self.batches = npy.batches(source)
        elif ending in {"json", "jsonl", "ndjson"}:
            self.format = "json"
            self._place = json_tokens.Place()
            self.batches = json_tokens.batches(source, many=ending != "json")
        elif ending in {"csv", "tsv"}:
            self.format = "csv"
            self._place = _Lines("row", "column")
            self.batches = _csv(source, b"\t" if ending == "tsv" else b"")
        else:
            self.format = "text"
            self._place = _Lines("line", "word")
            self.batches = _text(source)

    def passed(self, batch: list[Token]) -> None:
        """Move the place behind these tokens."""
        self._place.passed(batch)

    def where(self) -> str:
        """Return the name of the place of the next token, as `line 3, word 2`."""
        return str(self._place)


class _Lines:
    """A place in rows and columns."""

    def __init__(self, row: str, column: str) -> None:
        self._names = (row, column)
        self._row = self._column = 1

    def passed(self, batch: list[Token]) -> None:
        for token in batch:
            if token == b"\n":
                self._row, self._column = self._row + 1, 1
            elif not is_position(token):
                self._column += 1

    def __str__(self) -> str:
        return f"{self._names[0]} {self._row}, {self._names[1]} {self._column}"


def is_position(token: Token) -> bool:
    """Say whether a token of a text table is no word, but tells where the word before it stands: `:12`."""
    return isinstance(token, bytes) and token[:1] == b":" and len(token) > 1


def _text(source: Source) -> Iterator[list[Token]]:
    rest, number, endless = b"", 1, False
    last: Token = b"\n"
    for chunk in source.text_chunks():
        text = rest + chunk
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > _LONGEST_LINE:
            endless = True
        if endless and not cut:  # a word that the chunk cuts in two waits for its other half
            blank = _BLANK.search(text[::-1])
            cut = len(text) - blank.start() if blank else 0
        text, rest = text[:cut], text[cut:]
        if len(rest) > _LONGEST_WORD and max(map(len, _BLANK.split(rest))) > _LONGEST_WORD:
            source.refuse(f"a word of more than {_LONGEST_WORD} bytes", "a text table", line=number)
        number += text.count(b"\n")
        if found := _words(text, endless=endless):
            last = found[-1]
            yield found
        endless = endless and b"\n" not in text
    ending = _words(rest, endless=endless)
    if ending or last != b"\n":
        yield [*ending, b"\n"]


def _words(text: bytes, *, endless: bool) -> list[Token]:
    """Return the tokens of whole lines; of an `endless` first one, which is only a part of a line, without places."""
    if _GAP not in text:
        return list(_WORD.findall(text))
    found: list[Token] = []
    for line in text.splitlines(keepends=True):
        if _GAP in line.rstrip() and not endless:
            found += _placed(line)
        else:
            found += _WORD.findall(line)
        endless = False
    return found


def _placed(line: bytes) -> Iterator[Token]:
    """Yield the tokens of one line, each word behind a gap with its place."""
    for match in _PLACED.finditer(line):
        word = match[1]
        if word is None:
            yield match[0]
        else:
            yield word
            yield b":%d" % match.end()


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
        if size > _LONGEST_WORD:
            source.refuse(f"a cell of more than {_LONGEST_WORD} bytes", "CSV", line=number)
    source.refuse("unexpected end of data", "CSV", line=number)


def _cell(cell: bytes) -> Token:
    token = cell.strip()
    return token if value_of(token) is not None else _as_text(cell)


def _as_text(cell: bytes) -> Token:
    # Latin-1 gives every byte a character, so that nothing is lost and no encoding is guessed.
    return json.dumps(cell.decode("latin-1")).encode()
