"""Text tables: words between white space, cut again at `= , ; : ( ) [ ] { }`, so that `E=-1.25,` holds a number.

What carries a value without being a word is a token too:

- Line ends, but for those at the end of the file; a carriage return that ends no line; tabs, vertical tabs and form
  feeds. An empty cell stands between two of them.
- In tables with fixed columns an empty cell is a run of blanks, so that behind two or more blanks it counts where a
  word ends. How many there are does not count otherwise.
- Digits with an exponent right behind a digit and a comma: `5e+00` in `1,5e+00` is a part of a number, and no number.

In XML words are cut at `< > " ' /` as well. In XYZ and CIF, which have no empty cells, no column counts.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.compare.blocks import Block, Layout
from nexapod_batch.compare.formats.lines import Lines, parts_of, without_last_blank_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.blocks import Together
    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["read", "read_free", "read_marked"]


class _Dialect(NamedTuple):
    """What is a token, and what is one behind a gap."""

    layout: Layout
    token: re.Pattern[bytes]
    placed: re.Pattern[bytes] | None  # None where no column counts


def _dialect(cut: bytes, *, columns: bool = True) -> _Dialect:
    """Return how words are found that are cut at these characters."""
    in_word = rb"[^\s" + re.escape(cut) + rb"]"
    fraction = rb"(?<=[0-9]),[0-9]+[eEdD][+-]?[0-9]+(?!" + in_word + rb")"
    token = in_word + rb"+|" + fraction + rb"|\r(?!\n)|[\n\t\v\f]|[" + re.escape(cut) + rb"]"
    # A gap without a word behind it is passed as a whole: looking again at each blank of it would take its square.
    placed = re.compile(rb"[ ]{2,}+(" + in_word + rb"+)?|" + token) if columns else None
    return _Dialect(layout=Layout(b"\t\v\f" + cut, columns), token=re.compile(token), placed=placed)


_CUT = b"=,;:()[]{}"
_PLAIN = _dialect(_CUT)
_MARKED = _dialect(_CUT + b"<>\"'/")
_FREE = _dialect(_CUT, columns=False)
_GAP = b"  "
_BLANKS = (b" ", b"\t", b"\r", b"\v", b"\f")
_PIECE = re.compile(rb"\s+|\S+")
#: Characters of lines of numbers, and such lines in turn with others.
_NUMBERS = b"0123456789+-.eEdD \t\n"
_NUMBER_LINE = rb"[0-9+\-.eEdD \t]*+\n"
_LINES = re.compile(rb"((?:" + _NUMBER_LINE + rb")++)|(?:(?!" + _NUMBER_LINE + rb")[^\n]*\n)++")
#: Bytes of such lines that are worth to be taken by themselves.
_MANY = 1 << 13
#: A word or a gap without an end is no table, and must not fill the memory.
_LONGEST_WORD = 1 << 20
#: A line longer than this is read in pieces.
_LONGEST_LINE = 1 << 22


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Together]]:  # noqa: ARG001
    """Return the place and the batches of a text table."""
    return Lines("line", "word"), without_last_blank_lines(_text(source, _PLAIN))


def read_marked(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Together]]:  # noqa: ARG001
    """Return the place and the batches of XML and what is like it."""
    return Lines("line", "word"), without_last_blank_lines(_text(source, _MARKED))


def read_free(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token] | Together]]:  # noqa: ARG001
    """Return the place and the batches of a text in which any number of blanks stands between words."""
    return Lines("line", "word"), without_last_blank_lines(_text(source, _FREE))


def _text(source: Source, dialect: _Dialect) -> Iterator[list[Token] | Block]:
    rest, column = b"", 0
    last: Token = b"\n"
    for chunk in source.text_chunks():
        text = rest + chunk
        cut = _cut(text, 0 if column else _LONGEST_LINE)
        text, rest = text[:cut], text[cut:]
        if len(rest) > _LONGEST_WORD and max(map(len, _PIECE.findall(rest))) > _LONGEST_WORD:
            line = source.line_behind(chunk)
            source.refuse(f"a word of more than {_LONGEST_WORD} bytes", "a text table", line=line)
        if column == 0 and text[-1:] == b"\n":
            last = b"\n"
            yield from _blocks(text, dialect)
            continue
        tokens = _tokens(dialect, text, column)
        column = _column_behind(text, column)
        if tokens:
            last = tokens[-1]
            yield tokens
    tokens = _tokens(dialect, rest, column)
    if tokens or last != b"\n":
        yield [*tokens, b"\n"]


def _blocks(text: bytes, dialect: _Dialect) -> Iterator[list[Token] | Block]:
    """Yield whole lines as blocks."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")  # the carriage return is no token
        if b"\r" in text:
            yield _tokens(dialect, text)
            return
    for part in parts_of(text):
        for run in _runs(part):
            lines = run.rstrip(b" \n")
            if lines:
                yield Block(lines, dialect.layout, partial(_tokens, dialect), _word, len(part) > len(run))
            yield [b"\n"] * run.count(b"\n", len(lines))


def _runs(lines: bytes) -> Iterator[bytes]:
    """Yield whole lines, many of numbers alone by themselves: they may be alike, as in a frame of a trajectory."""
    begin = 0
    if lines.translate(None, _NUMBERS):
        for run in _LINES.finditer(lines):
            if run[1] is not None and run.end() - run.start() >= _MANY:
                if begin < run.start():
                    yield lines[begin : run.start()]
                yield run[1]
                begin = run.end()
    if begin < len(lines):
        yield lines[begin:]


def _word(text: bytes, start: int, end: int) -> Token:
    return text[start:end]


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


def _tokens(dialect: _Dialect, text: bytes, column: int = 0) -> list[Token]:
    """Return the tokens of a text whose first line starts in a column."""
    if dialect.placed is None or _GAP not in text:
        return list(dialect.token.findall(text))
    tokens: list[Token] = []
    for line in text.splitlines(keepends=True):
        if _GAP in line.rstrip():
            tokens += _placed(dialect.placed, line, column)
        else:
            tokens += dialect.token.findall(line)
        column = 0
    return tokens


def _placed(placed: re.Pattern[bytes], line: bytes, column: int) -> Iterator[Token]:
    """Yield the tokens of one line, each word behind a gap with the column where it ends."""
    for match in placed.finditer(line):
        word = match[1]
        if word is not None:
            yield word
            yield b":%d" % (column + match.end())
        elif not match[0].startswith(_GAP):
            yield match[0]
