"""Text tables: words between white space, cut again at `= , ; : ( ) [ ] { }`, so that `E=-1.25,` holds a number.

Line ends count, but for the last, and so do tabs: an empty cell stands between two of them. In tables with fixed
columns an empty cell is a run of blanks, so that behind two or more blanks it counts where a word ends; how many there
are does not count otherwise.
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

_WORD = re.compile(rb"[\n\t]|[=,;:()\[\]{}]|[^\s=,;:()\[\]{}]+")
_BLANK = re.compile(rb"\s")
_GAP = b"  "
_PLACED = re.compile(rb"[ ]{2,}([^\s=,;:()\[\]{}]+)|" + _WORD.pattern)
#: A word without an end is no table, and must not fill the memory.
_LONGEST_WORD = 1 << 20
#: In a line longer than this nobody looks for columns.
_LONGEST_LINE = 1 << 22


def read(source: Source, suffix: str) -> tuple[Lines, Iterator[list[Token]]]:  # noqa: ARG001
    """Return the place and the batches of a text table."""
    return Lines("line", "word"), _text(source)


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
