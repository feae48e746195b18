"""Files as sequences of tokens: text tables, CSV, JSON and .npy.

A .npy file is known by its first bytes, JSON and CSV by the name (.json .jsonl .ndjson .csv .tsv); everything else is a
text table. Every reader yields batches of tokens, with tokens for structure (line ends, brackets, shape) among them, so
that two files have the same shape exactly when these are equal. In CSV, JSON and .npy, text is quoted as a JSON string,
so that it is never taken for a number.

- Text: words between white space, cut again at `= , ; : ( ) [ ] { }`, so that `E=-1.25,` holds a number. How much white
  space there is does not count; line ends do, but for the last.
- CSV: the delimiter is a tab for .tsv, else a comma, or a semicolon where the first line has no comma. Quoting does not
  count. Blanks around a number do not either.
- JSON: the order of an object's keys does not count, numbers in quotes are text. See `json_tokens`.
- .npy: shape and memory order count, width and byte order of the elements do not. See `npy`.
"""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare import json_tokens, npy
from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Token

__all__ = ["Reading"]

_WORD = re.compile(rb"\n|[=,;:()\[\]{}]|[^\s=,;:()\[\]{}]+")
_BLANK = re.compile(rb"\s")
#: A word without an end is no table, and must not fill the memory.
_LONGEST_WORD = 1 << 20
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
            else:
                self._column += 1

    def __str__(self) -> str:
        return f"{self._names[0]} {self._row}, {self._names[1]} {self._column}"


def _text(source: Source) -> Iterator[list[Token]]:
    rest, line, last = b"", 1, b"\n"
    for chunk in source.text_chunks():
        text = rest + chunk
        # A word that the chunk cuts in two waits for its other half.
        blank = _BLANK.search(text[::-1])
        cut = len(text) - blank.start() if blank else 0
        text, rest = text[:cut], text[cut:]
        if len(rest) > _LONGEST_WORD:
            source.refuse(f"a word of more than {_LONGEST_WORD} bytes", "a text table", line=line)
        line += text.count(b"\n")
        if found := _WORD.findall(text):
            last = found[-1]
            yield found
    ending: list[Token] = list(_WORD.findall(rest))
    if ending or last != b"\n":
        yield [*ending, b"\n"]


def _csv(source: Source, delimiter: bytes) -> Iterator[list[Token]]:
    lines = source.lines()
    first = next(lines, b"")
    if not delimiter:
        delimiter = b";" if b";" in first and b"," not in first else b","
    # Latin-1 gives every byte a character, so that nothing is lost and no encoding is guessed.
    rows = csv.reader(
        (line.decode("latin-1") for part in ((first,), lines) for line in part),
        delimiter=delimiter.decode(),
        strict=True,
    )
    batch: list[Token] = []
    try:
        for row in rows:
            for start in range(0, len(row), _BATCH):  # a single row may be the whole file
                batch.extend(map(_cell, row[start : start + _BATCH]))
                if len(batch) > _BATCH:
                    yield batch
                    batch = []
            batch.append(b"\n")
    except csv.Error as error:
        source.refuse(str(error), "CSV", line=rows.line_num)
    yield batch


def _cell(text: str) -> Token:
    token = text.encode("latin-1").strip()
    return token if value_of(token) is not None else json.dumps(text).encode()
