"""Where the words of many lines stand, and which of them are spelled as numbers, by NumPy."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.compare.digit_arrays import PADDING, Places

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["Layout", "Words", "words_of"]

#: What a byte is, or may be the mark of.
_SINGLE, _WORD, _POINT, _EXPONENT, _QUOTE, _ODD, _START, _STOP = (1 << bit for bit in range(8))
_NEWLINE, _BLANK, _COMMA, _MARK = ord("\n"), ord(" "), ord(","), ord('"')


class Layout(NamedTuple):
    """How words are told apart."""

    cut: bytes  # characters that are words by themselves, and end others; of cells, the delimiter alone
    columns: bool = False  # whether a word behind two blanks is followed by the column where it ends
    cells: bool = False  # whether words are cells: with blanks in them, maybe empty, text in quotes


class Words(NamedTuple):
    """Words of a text, and its single characters. Places count from behind the padding."""

    text: bytes  # with its padding
    marks: Array  # places where something begins or ends
    singles: Array  # which marks are characters that are written by themselves
    begins: Array  # which marks begin a word, or stand before a cell
    places: Places  # of cells that are spelled as numbers without the blanks around them
    span: tuple[Array, Array]  # where words begin and end with those
    spelled: Array  # whether a word is spelled as a number, but for its digits
    asked: Array  # whether a word is to be read by itself
    quoted: Array | None  # of cells, whether they are text in quotes
    columns: Array | None  # the column where a word ends, 0 where that does not count; None where none counts


def words_of(raw: bytes, layout: Layout) -> Words | None:
    """Return the words of whole lines without the end of the last one; None where they cannot be told apart so."""
    import numpy as np  # noqa: PLC0415 - whoever calls has looked whether it is there

    text = b"\n" * PADDING + raw + b"\n" * PADDING
    letters = np.frombuffer(text, np.uint8)[PADDING:]
    roles = np.frombuffer(text.translate(_roles(layout)), np.uint8)[PADDING - 1 : 1 - PADDING].copy()
    if not layout.cells:
        _find_ends(roles)
    marks = np.flatnonzero((roles & ~np.uint8(_WORD)) != 0)
    roles = roles[marks]
    marks -= 1
    if layout.cells:
        return _cells(text, letters, marks, roles)
    return _words(text, letters, marks, roles, layout)


@cache
def _roles(layout: Layout) -> bytes:
    """Return for each byte what it may be the mark of."""
    table = bytearray([_WORD]) * 256
    table[ord(".")] |= _POINT
    for byte in b"eEdD":
        table[byte] |= _EXPONENT
    if layout.cells:
        table[_MARK] |= _QUOTE
        for byte in (*range(32), *range(127, 256), ord("\\")):
            table[byte] |= _ODD
    else:
        table[ord(" ")] = 0
    for byte in b"\n" + layout.cut:
        table[byte] = _SINGLE
    return bytes(table)


def _find_ends(roles: Array) -> None:
    """Mark where words begin and stop; the line ends around them are none of their singles."""
    roles[0] = roles[-1] = 0
    is_word = roles & _WORD
    change = is_word[1:] ^ is_word[:-1]
    roles[1:] |= (change & is_word[1:]) * (_START // _WORD) | (change & is_word[:-1]) * (_STOP // _WORD)


def _begun(first: Array) -> Array:
    """Say which words begin with a digit, a sign or a point."""
    begun: Array = (first >= ord("+")) & (first <= ord("9")) & (first != _COMMA) & (first != ord("/"))
    return begun


def _asked(first: Array, length: Array, begun: Array, others: Array) -> Array:
    """Say which of the others may be numbers all the same: those that begin like one, and `nan`, `inf` and `infinity`."""
    import numpy as np  # noqa: PLC0415

    asked = np.zeros(len(first), bool)
    which = np.flatnonzero(others)
    if len(which):
        small, size = first[which] | 0x20, length[which]
        named = ((small == ord("n")) | (small == ord("i"))) & ((size == len("nan")) | (size == len("infinity")))
        asked[which] = begun[which] | named
    return asked


def _places(marks: Array, roles: Array, span: tuple[Array, Array], inner: Array, count: Array) -> tuple[Places, Array]:
    """Return where words stand, and which have the marks of a number: none, a point, or a point and a letter behind it.

    `span` is where they begin and end, `inner` their first mark, and `count` how many they have.
    """
    import numpy as np  # noqa: PLC0415

    start, end = span
    point = np.where(count > 0, marks[inner], end)
    pointed = (count == 0) | ((count == 1) & (roles[inner] & _POINT != 0))
    if pointed.all():
        return Places(start, end, point, np.full(len(start), -1)), pointed
    behind = (inner + 1).clip(max=len(marks) - 1)
    lettered = (count == 2) & (roles[inner] & _POINT != 0) & (roles[behind] & _EXPONENT != 0)
    return Places(start, end, point, np.where(lettered, marks[behind], -1)), pointed | lettered


def _words(text: bytes, letters: Array, marks: Array, roles: Array, layout: Layout) -> Words | None:
    """Return words between blanks and single characters."""
    import numpy as np  # noqa: PLC0415

    begins = np.flatnonzero(roles & _START != 0)
    stops = np.flatnonzero(roles & _STOP != 0)
    singles = np.flatnonzero(roles & _SINGLE != 0)
    start, end = marks[begins], marks[stops]
    first = letters[start]
    inner = begins + (roles[begins] & _POINT == 0)
    places, pointed = _places(marks, roles, (start, end), inner, stops - inner)
    begun = _begun(first)
    spelled = begun & pointed
    asked = _asked(first, end - start, begun, ~spelled)
    if layout.cut and asked.any() and (letters[start[asked] - 1] == _COMMA).any():
        return None  # maybe the fraction of 1,5e+00
    columns = None
    gaps = (letters[start - 1] == _BLANK) & (letters[start - 2] == _BLANK)
    if layout.columns and gaps.any():
        lines = np.zeros(len(marks), np.int64)
        ends = singles[letters[marks[singles]] == _NEWLINE]
        lines[ends] = marks[ends] + 1
        columns = np.where(gaps, end - np.maximum.accumulate(lines)[begins], 0)
    return Words(text, marks, singles, begins, places, (start, end), spelled, asked, None, columns)


def _cells(text: bytes, letters: Array, marks: Array, roles: Array) -> Words | None:
    """Return cells between delimiters and line ends."""
    import numpy as np  # noqa: PLC0415

    bounds = np.flatnonzero(roles & _SINGLE != 0)
    begins, stops = bounds[:-1], bounds[1:]
    start, end = marks[begins] + 1, marks[stops]
    quoted, odd = np.zeros(len(start), bool), np.zeros(len(start), bool)
    if (roles & (_QUOTE | _ODD)).any():
        quotes, odds = (np.cumsum((roles & role) != 0) for role in (_QUOTE, _ODD))
        inside = quotes[stops] - quotes[begins]
        quoted = (inside == 2) & (letters[start] == _MARK) & (letters[end - 1] == _MARK)
        odd = odds[stops] - odds[begins] > 0
        if ((inside > 0) & ~quoted).any():
            return None
    bare_start, bare_end = _without_blanks(letters, start, end)
    first = letters[bare_start]
    places, pointed = _places(marks, roles, (bare_start, bare_end), begins + 1, stops - begins - 1)
    begun = _begun(first)
    filled = (bare_start < bare_end) & ~odd
    spelled = begun & pointed & filled
    asked = odd | _asked(first, bare_end - bare_start, begun, filled & ~spelled)
    places = places._replace(start=np.where(spelled, bare_start, start), end=np.where(spelled, bare_end, end))
    singles = bounds[1:-1][letters[marks[bounds[1:-1]]] == _NEWLINE]
    return Words(text, marks, singles, begins, places, (start, end), spelled, asked, quoted, None)


def _without_blanks(letters: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return where cells begin and end without the blanks around them."""
    while (blank := (letters[start] == _BLANK) & (start < end)).any():
        start = start + blank
    while (blank := (letters[end - 1] == _BLANK) & (start < end)).any():
        end = end - blank
    return start, end
