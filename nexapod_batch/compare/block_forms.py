"""The normal form of many lines at once under `significant`, by NumPy.

What cannot be settled so is asked about word by word: the form is always the one that reading word by word gives, and a
property test holds it to that.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.compare.digit_arrays import MOST_DIGITS, PADDING, Places, parsed, put, records, rounded
from nexapod_batch.compare.like_lines import form_of_like_lines
from nexapod_batch.compare.word_arrays import (
    MOST_COLUMNS,
    Layout,
    Words,
    are_texts,
    columns_written,
    marked_lines,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Array = np.ndarray[Any, Any]

    #: Returns the normal form of a word by itself: it is given the text, and where in it the word begins and ends.
    Asked = Callable[[bytes, int, int], bytes]

__all__ = ["form_of", "form_of_words"]

#: Bytes; arrays of a block are smaller.
_HEAP = 8 << 20
_BLANK, _MARK, _NEWLINE = ord(" "), ord('"'), ord("\n")


class _Numbers(NamedTuple):
    """Words that are written rounded."""

    which: Array
    eights: list[Array]  # how each is written without its sign, in words of eight characters
    negative: Array


def form_of(raw: bytes, layout: Layout, digits: int, exact_integers: bool, asked: Asked) -> bytes | None:
    """Return the normal form of whole lines without the end of the last one, with so many digits.

    None where they must be read word by word.
    """
    if digits > MOST_DIGITS or not _has_numpy():
        return None
    marked = marked_lines(raw, layout)
    form = form_of_like_lines(marked, layout, digits, exact_integers)
    if form is not None:
        return form
    words = words_of(marked, layout)
    if words is None or (words.columns is not None and words.columns.max(initial=0) >= MOST_COLUMNS):
        return None
    return form_of_words(words, digits, exact_integers, asked)


def form_of_words(words: Words, digits: int, exact_integers: bool, asked: Asked) -> bytes:
    """Return the normal form of words, with so many digits."""
    return _Writing(words, digits, exact_integers).form(asked)


@cache
def _has_numpy() -> bool:
    try:
        import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing
    except ImportError:
        return False
    np.empty(_HEAP, np.uint8)  # freed at once: the C library keeps what is smaller from now on, which saves page faults
    return True


class _Writing:
    """The normal form of words, written into one array."""

    def __init__(self, words: Words, digits: int, exact_integers: bool) -> None:
        """Round what can be rounded."""
        import numpy as np  # noqa: PLC0415

        self._words, self._digits = words, digits
        self._letters = np.frombuffer(words.text, np.uint8)[PADDING:]
        self._asked = words.asked.copy()
        self._kept = ~(words.spelled | words.asked)  # words that are written as they are
        self._marked = np.zeros(len(self._kept), bool)  # whether quotes are written around one
        if words.quoted is not None:
            self._marked = self._kept & ~words.quoted
        self._first = words.places.start.copy()
        self._numbers = self._rounded(exact_integers)
        if words.quoted is None:
            which = np.flatnonzero(self._asked)
            which = which[are_texts(self._letters, words.places.start[which], words.places.end[which])]
            self._asked[which], self._kept[which] = False, True

    def form(self, asked: Asked) -> bytes:
        """Return everything, with a blank behind each token."""
        import numpy as np  # noqa: PLC0415

        words, (start, end) = self._words, self._words.span
        which = np.flatnonzero(self._asked)
        answers = [
            asked(words.text, begin, stop) + b" "
            for begin, stop in zip((start[which] + PADDING).tolist(), (end[which] + PADDING).tolist(), strict=True)
        ]
        sizes = np.fromiter(map(len, answers), np.int64, len(answers))
        length = self._lengths(which, sizes)
        with_column = length if words.columns is None else length + columns_written()[1][words.columns]
        lengths = np.zeros(len(words.marks), np.int64)
        lengths[words.begins] = with_column
        lengths[words.singles] += 2
        ends = np.cumsum(lengths)
        places = ends[words.begins] - with_column
        out = np.zeros(int(ends[-1]) + 64, np.uint8)
        self._write_numbers(out, places)
        singles = (ends - lengths)[words.singles]
        out[singles], out[singles + 1] = self._letters[words.marks[words.singles]], _BLANK
        if self._kept.any():
            self._write_kept(out, places, length)
        if answers:
            forms = np.frombuffer(b"".join(answers), np.uint8)
            _copy(forms, np.cumsum(sizes) - sizes, out, places[which], sizes)
        if words.columns is not None:
            others = np.flatnonzero((words.columns > 0) & (self._asked | self._kept))
            _write_columns(out, (places + length)[others], words.columns[others])
        return out[: int(ends[-1])].tobytes()

    def _rounded(self, exact_integers: bool) -> _Numbers:
        """Return the numbers that are surely rounded; others are asked about, or are whole and kept."""
        import numpy as np  # noqa: PLC0415

        words, which = self._words, np.flatnonzero(self._words.spelled)
        places = words.places
        if len(which) < len(words.spelled):
            places = Places(*[each[which] for each in places])
        decimals = parsed(words.text, places)
        found = rounded(decimals, self._digits)
        sure = found.sure
        kept = decimals.whole & decimals.sure & found.lost & exact_integers
        if kept.any():
            self._kept[which[kept]] = True
            self._first[which[kept]] += self._letters[places.start[kept]] == ord("+")
            sure = sure & ~kept
        negative = decimals.negative & (decimals.magnitude > 0)
        if sure.all():
            return _Numbers(which, records(found.digits, found.exponent, self._digits), negative)
        self._asked[which[~(sure | kept)]] = True
        eights = records(found.digits[sure], found.exponent[sure], self._digits)
        return _Numbers(which[sure], eights, negative[sure])

    def _width(self) -> int:
        """Return how many bytes a number takes without its sign: `d.ddde+dd `."""
        return self._digits + (self._digits > 1) + len("e+00 ")

    def _lengths(self, which: Array, sizes: Array) -> Array:
        """Return how many bytes are written for each word, with the blank behind it; these have those sizes."""
        length = self._words.places.end - self._first + 1
        if self._words.quoted is not None:
            length += 2 * self._marked
            length[self._on_empty_lines()] = 0
        length[self._numbers.which] = self._width() + self._numbers.negative
        length[which] = sizes
        return length

    def _on_empty_lines(self) -> Array:
        """Say which cells are all that a line does not have."""
        start, end = self._words.places.start, self._words.places.end
        alone = (self._letters[start - 1] == _NEWLINE) & (self._letters[end] == _NEWLINE)
        empty: Array = alone & (start == end)
        return empty

    def _write_numbers(self, out: Array, places: Array) -> None:
        """Write eight characters at a time, the last ones first: what is too much is written over by what follows."""
        import numpy as np  # noqa: PLC0415

        which, eights, negative = self._numbers
        begin = places[which] + negative
        if self._words.columns is not None:
            put(eights, columns_written()[0][self._words.columns[which]], self._width())
        words = np.ndarray((len(out) - 7,), "<u8", buffer=out.data, strides=(1,))
        for at in range(len(eights) - 1, -1, -1):
            words[8 * at :][begin] = eights[at]
        out[begin[negative] - 1] = ord("-")

    def _write_kept(self, out: Array, places: Array, length: Array) -> None:
        """Write words as they stand."""
        import numpy as np  # noqa: PLC0415

        which = np.flatnonzero(self._kept & (length > 0))
        marked, last = self._marked[which], (places + length)[which] - 1
        begin, first = places[which] + marked, self._first[which]
        size = self._words.places.end[which] - first
        out[begin[marked] - 1] = out[last[marked] - 1] = _MARK
        out[last] = _BLANK
        _copy(self._letters, first, out, begin, size)


def _copy(letters: Array, first: Array, out: Array, begin: Array, size: Array) -> None:
    """Copy pieces of so many letters to where they are to begin."""
    import numpy as np  # noqa: PLC0415

    at = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    out[np.repeat(begin, size) + at] = letters[np.repeat(first, size) + at]


def _write_columns(out: Array, places: Array, columns: Array) -> None:
    """Write columns as `:12 `, and nothing behind them."""
    import numpy as np  # noqa: PLC0415

    words, lengths = (table[columns] for table in columns_written())
    for at in range(8):
        longer = lengths > at
        out[places[longer] + at] = (words[longer] >> 8 * at & 0xFF).astype(np.uint8)
