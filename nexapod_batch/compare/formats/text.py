"""Text tables: words between white space, cut again at `= , ; : ( ) [ ] { }`, so that `E=-1.25,` holds a number.

What carries a value without being a word is a token too:

- Line ends, but for the last; a carriage return that ends no line; tabs, vertical tabs and form feeds. An empty cell
  stands between two of them.
- In tables with fixed columns an empty cell is a run of blanks, so that behind two or more blanks it counts where a
  word ends. How many there are does not count otherwise.
- Digits with an exponent right behind a digit and a comma: `5e+00` in `1,5e+00` is a part of a number, and no number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read"]

_CUT = rb"=,;:()\[\]{}"
_IN_WORD = rb"[^\s" + _CUT + rb"]"
_FRACTION = rb"(?<=[0-9]),[0-9]+[eEdD][+-]?[0-9]+(?!" + _IN_WORD + rb")"
_TOKEN = re.compile(_IN_WORD + rb"+|" + _FRACTION + rb"|\r(?!\n)|[\n\t\v\f]|[" + _CUT + rb"]")
_PLACED = re.compile(rb"[ ]{2,}(" + _IN_WORD + rb"+)|" + _TOKEN.pattern)
_GAP = b"  "
_BLANKS = (b" ", b"\t", b"\r", b"\v", b"\f")
_PIECE = re.compile(rb"\s+|\S+")
#: A word or a gap without an end is no table, and must not fill the memory.
_LONGEST_WORD = 1 << 20
#: A line longer than this is read in pieces.
_LONGEST_LINE = 1 << 22


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token]]]:  # noqa: ARG001
    """Return the place and the batches of a text table."""
    return Lines("line", "word"), _text(source)


def _text(source: Source) -> Iterator[list[Token]]:
    rest, line, column = b"", 1, 0
    last: Token = b"\n"
    for chunk in source.text_chunks():
        text = rest + chunk
        cut = _cut(text, 0 if column else _LONGEST_LINE)
        text, rest = text[:cut], text[cut:]
        if len(rest) > _LONGEST_WORD and max(map(len, _PIECE.findall(rest))) > _LONGEST_WORD:
            source.refuse(f"a word of more than {_LONGEST_WORD} bytes", "a text table", line=line)
        line += text.count(b"\n")
        tokens = _tokens(text, column)
        column = _column_behind(text, column)
        if tokens:
            last = tokens[-1]
            yield tokens
    tokens = _tokens(rest, column)
    if tokens or last != b"\n":
        yield [*tokens, b"\n"]


def _cut(text: bytes, longest: int) -> int:
    """Return how many bytes can be read before more is known: whole lines, or words of a line longer than `longest`.

    The gap before a word stays with it: how it is read may not depend on where a chunk ends.
    """
    lines = text.rfind(b"\n") + 1
    if lines or len(text) <= longest:
        return lines
    blank = max([text.rfind(blank) for blank in _BLANKS])
    return len(text[: blank + 1].rstrip())


def _column_behind(text: bytes, column: int) -> int:
    """Return the column behind a text that starts in a column."""
    end = max(text.rfind(b"\n"), text.rfind(b"\r"))
    if end < 0:
        return column + len(text)
    return len(text) - end - 1


def _tokens(text: bytes, column: int) -> list[Token]:
    """Return the tokens of a text whose first line starts in a column."""
    if _GAP not in text:
        return list(_TOKEN.findall(text))
    tokens: list[Token] = []
    for line in text.splitlines(keepends=True):
        if _GAP in line.rstrip():
            tokens += _placed(line, column)
        else:
            tokens += _TOKEN.findall(line)
        column = 0
    return tokens


def _placed(line: bytes, column: int) -> Iterator[Token]:
    """Yield the tokens of one line, each word behind a gap with the column where it ends."""
    for match in _PLACED.finditer(line):
        word = match[1]
        if word is None:
            yield match[0]
        else:
            yield word
            yield b":%d" % (column + match.end())
