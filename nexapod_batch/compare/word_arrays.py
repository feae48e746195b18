"""Where the words of many lines stand, and which of them are spelled as numbers, by NumPy."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.compare.digit_arrays import PADDING, Places

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = [
    "EXPONENT", "MOST_COLUMNS", "ODD", "POINT", "QUOTE", "SINGLE", "START", "STOP", "Layout", "Marked", "Words",
    "are_texts", "begun", "columns_written", "marked_lines", "without_blanks", "words_of",
]  # fmt: skip

#: What a byte is, or may be the mark of; what is above that of a word is a mark.
WORD, SINGLE, POINT, EXPONENT, QUOTE, ODD, START, STOP = (1 << bit for bit in range(8))
#: A column behind this is none of a table.
MOST_COLUMNS = 10_000
_NEWLINE, _BLANK, _COMMA, _MARK = ord("\n"), ord(" "), ord(","), ord('"')
#: Blanks around a cell that are taken off one by one.
_FEW_BLANKS = 40
#: Characters of a word that is looked at as a whole.
_SHORT = 8


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


class Marked(NamedTuple):
    """Whole lines without the end of the last one, and where something begins or ends in them."""

    raw: bytes
    text: bytes  # with its padding
    letters: Array  # the same as numbers, from behind the padding
    marks: Array  # places, which count from behind the padding
    roles: Array  # what stands there


def marked_lines(raw: bytes, layout: Layout) -> Marked:
    """Return whole lines without the end of the last one with their marks."""
    import numpy as np  # noqa: PLC0415 - whoever calls has looked whether it is there

    text = b"\n" * PADDING + raw + b"\n" * PADDING
    letters = np.frombuffer(text, np.uint8)[PADDING:]
    roles = np.frombuffer(text.translate(_roles(layout)), np.uint8)[PADDING - 1 : 1 - PADDING].copy()
    if not layout.cells:
        _find_ends(roles)
    marks = np.flatnonzero(roles > WORD)
    roles = roles[marks]
    marks -= 1
    return Marked(raw, text, letters, marks, roles)


def words_of(marked: Marked, layout: Layout) -> Words | None:
    """Return the words of lines; None where they cannot be told apart so."""
    if layout.cells:
        return _cells(marked)
    return _words(marked, layout)


@cache
def _roles(layout: Layout) -> bytes:
    """Return for each byte what it may be the mark of."""
    table = bytearray([WORD]) * 256
    table[ord(".")] |= POINT
    for byte in b"eEdD":
        table[byte] |= EXPONENT
    if layout.cells:
        table[_MARK] |= QUOTE
        for byte in (*range(32), *range(127, 256), ord("\\")):
            table[byte] |= ODD
    else:
        table[ord(" ")] = 0
    for byte in b"\n" + layout.cut:
        table[byte] = SINGLE
    return bytes(table)


def _find_ends(roles: Array) -> None:
    """Mark where words begin and stop; the line ends around them are none of their singles."""
    roles[0] = roles[-1] = 0
    is_word = roles & WORD
    change = is_word[1:] ^ is_word[:-1]
    roles[1:] |= (change & is_word[1:]) * (START // WORD) | (change & is_word[:-1]) * (STOP // WORD)


def begun(first: Array) -> Array:
    """Say which words begin with a digit, a sign or a point."""
    digits: Array = (first >= ord("+")) & (first <= ord("9")) & (first != _COMMA) & (first != ord("/"))
    return digits


def _asked(first: Array, length: Array, like_numbers: Array, others: Array) -> Array:
    """Say which of the others may be numbers all the same: what begins like one, and `nan`, `inf`, `infinity`."""
    import numpy as np  # noqa: PLC0415

    asked = np.zeros(len(first), bool)
    which = np.flatnonzero(others)
    if len(which):
        small, size = first[which] | 0x20, length[which]
        named = ((small == ord("n")) | (small == ord("i"))) & ((size == len("nan")) | (size == len("infinity")))
        asked[which] = like_numbers[which] | named
    return asked


def are_texts(letters: Array, start: Array, end: Array) -> Array:
    """Say which words are short and have no point, but a character that no number has without one: `0/1`, `1bar`."""
    import numpy as np  # noqa: PLC0415

    last = np.minimum(end - start, _SHORT) - 1
    signs = _signs()[letters[start[:, None] + np.minimum(np.arange(_SHORT), last[:, None])]]
    texts: Array = (end - start <= _SHORT) & (signs == 1).any(1) & (signs < 2).all(1)
    return texts


@cache
def _signs() -> Array:
    """Return 2 for a point, 0 for characters that a number has without one, 1 for all others."""
    import numpy as np  # noqa: PLC0415

    table = np.ones(256, np.uint8)
    table[list(b"0123456789+-eEdDnNaAiIfFtTyY")] = 0
    table[ord(".")] = 2
    return table


def _places(marks: Array, roles: Array, span: tuple[Array, Array], inner: Array, count: Array) -> tuple[Places, Array]:
    """Return where words stand, and which have the marks of a number: none, a point, or a point and a letter behind it.

    `span` is where they begin and end, `inner` their first mark, and `count` how many they have.
    """
    import numpy as np  # noqa: PLC0415

    start, end = span
    point = np.where(count > 0, marks[inner], end)
    pointed = (count == 0) | ((count == 1) & (roles[inner] & POINT != 0))
    if pointed.all():
        return Places(start, end, point, np.full(len(start), -1)), pointed
    behind = (inner + 1).clip(max=len(marks) - 1)
    lettered = (count == 2) & (roles[inner] & POINT != 0) & (roles[behind] & EXPONENT != 0)
    return Places(start, end, point, np.where(lettered, marks[behind], -1)), pointed | lettered


def _words(marked: Marked, layout: Layout) -> Words | None:
    """Return words between blanks and single characters."""
    import numpy as np  # noqa: PLC0415

    _, text, letters, marks, roles = marked
    begins = np.flatnonzero(roles & START != 0)
    stops = np.flatnonzero(roles & STOP != 0)
    singles = np.flatnonzero(roles & SINGLE != 0)
    start, end = marks[begins], marks[stops]
    first = letters[start]
    inner = begins + (roles[begins] & POINT == 0)
    places, pointed = _places(marks, roles, (start, end), inner, stops - inner)
    like_numbers = begun(first)
    spelled = like_numbers & pointed
    asked = _asked(first, end - start, like_numbers, ~spelled)
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


def _cells(marked: Marked) -> Words | None:
    """Return cells between delimiters and line ends."""
    import numpy as np  # noqa: PLC0415

    _, text, letters, marks, roles = marked
    bounds = np.flatnonzero(roles & SINGLE != 0)
    begins, stops = bounds[:-1], bounds[1:]
    start, end = marks[begins] + 1, marks[stops]
    quoted, odd = np.zeros(len(start), bool), np.zeros(len(start), bool)
    if (roles & (QUOTE | ODD)).any():
        quotes, odds = (np.cumsum((roles & role) != 0) for role in (QUOTE, ODD))
        inside = quotes[stops] - quotes[begins]
        quoted = (inside == 2) & (letters[start] == _MARK) & (letters[end - 1] == _MARK)
        odd = odds[stops] - odds[begins] > 0
        if ((inside > 0) & ~quoted).any():
            return None
    bare_start, bare_end = without_blanks(letters, start, end)
    first = letters[bare_start]
    places, pointed = _places(marks, roles, (bare_start, bare_end), begins + 1, stops - begins - 1)
    like_numbers = begun(first)
    filled = (bare_start < bare_end) & ~odd
    spelled = like_numbers & pointed & filled
    asked = odd | _asked(first, bare_end - bare_start, like_numbers, filled & ~spelled)
    places = places._replace(start=np.where(spelled, bare_start, start), end=np.where(spelled, bare_end, end))
    singles = bounds[1:-1][letters[marks[bounds[1:-1]]] == _NEWLINE]
    return Words(text, marks, singles, begins, places, (start, end), spelled, asked, quoted, None)


def without_blanks(letters: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return where cells begin and end without the blanks around them."""
    for _ in range(_FEW_BLANKS):  # before most cells there are a few
        blank = (letters[start] == _BLANK) & (start < end)
        if not blank.any():
            break
        start = start + blank
    else:
        return _without_many_blanks(letters, start, end)
    for _ in range(_FEW_BLANKS):
        blank = (letters[end - 1] == _BLANK) & (start < end)
        if not blank.any():
            return start, end
        end = end - blank
    return _without_many_blanks(letters, start, end)


def _without_many_blanks(letters: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return the same at the cost of a search for each cell, however many blanks there are."""
    import numpy as np  # noqa: PLC0415

    solid = np.concatenate([[-1], np.flatnonzero(letters != _BLANK), [len(letters)]])
    start = np.minimum(solid[np.searchsorted(solid, start)], end)
    return start, np.maximum(solid[np.searchsorted(solid, end) - 1] + 1, start)


@cache
def columns_written() -> tuple[Array, Array]:
    """Return how columns are written, `:12 `, in words of eight characters, and how long that is; nothing for 0."""
    import numpy as np  # noqa: PLC0415

    texts = [b"", *[b":%d " % column for column in range(1, MOST_COLUMNS)]]
    words = np.array([int.from_bytes(text, "little") for text in texts], np.uint64)
    return words, np.array([len(text) for text in texts])
