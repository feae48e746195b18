"""The normal form of many lines of fixed columns at once under `significant`, by NumPy: of text, and of numbers.

As elsewhere the form is the one that reading field by field gives, and a property test holds it to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.compare.block_forms import form_of_words
from nexapod_batch.compare.digit_arrays import MOST_DIGITS, PADDING, Places
from nexapod_batch.compare.word_arrays import Words, begun

if TYPE_CHECKING:
    import numpy as np

    from nexapod_batch.compare.block_forms import Asked

    Array = np.ndarray[Any, Any]

__all__ = ["Field", "form_of_fields"]

_BLANK, _POINT, _NEWLINE = ord(" "), ord("."), ord("\n")
#: Characters that stand for themselves in a text that is quoted.
_PLAIN = bytes({*range(32, 127), _NEWLINE} - set(b'"\\'))
#: A field that goes on to the end of its line.
_FAR = 1 << 40


class Field(NamedTuple):
    """Columns of a line, counted from 0."""

    begin: int
    end: int | None  # None for the rest of the line
    is_number: bool  # whether a number may stand there; what is none is text there, too


def form_of_fields(
    raw: bytes, fields: dict[bytes, list[Field]], digits: int, exact_integers: bool, asked: Asked
) -> bytes | None:
    """Return the normal form of whole lines without the end of the last one; None where it must be read field by field.

    Lines begin with one of the keys of `fields`, which are of one length. `asked` gives the normal form of what stands
    where numbers may.
    """
    if not 0 < digits <= MOST_DIGITS or raw.translate(None, _PLAIN):
        return None
    try:
        return form_of_words(_words(raw, fields), digits, exact_integers, asked)
    except ImportError:
        return None


def _words(raw: bytes, fields: dict[bytes, list[Field]]) -> Words:
    """Return the fields of all lines, and the line ends between them."""
    import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing

    text = b"\n" * PADDING + raw + b"\n" * PADDING
    letters = np.frombuffer(text, np.uint8)[PADDING:]
    ends = np.flatnonzero(letters[: len(raw) + 1] == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    kinds = _kinds(letters, starts, list(fields))
    counts = np.array([len(each) for each in fields.values()])
    every = [field for each in fields.values() for field in each]
    table = np.array([(one.begin, _FAR if one.end is None else one.end, one.is_number) for one in every])
    of_line = counts[kinds]
    line = np.repeat(np.arange(len(starts)), of_line)
    first = np.cumsum(of_line) - of_line
    which = np.arange(len(line)) + np.repeat((np.cumsum(counts) - counts)[kinds] - first, of_line)
    start, end = (np.minimum(starts[line] + table[which, at], ends[line]) for at in (0, 1))
    start, end = _without_blanks(letters, start, end)
    places, is_spelled = _numbers(letters, start, end)
    filled = (start < end) & (table[which, 2] > 0)
    spelled = filled & is_spelled
    begins = np.arange(len(line)) + line  # behind the fields of each line stands the mark of its end
    singles = (first + of_line + np.arange(len(starts)))[:-1]
    marks = np.empty(len(line) + len(starts) - 1, np.int64)
    marks[begins], marks[singles] = start, ends[:-1]
    none_quoted = np.zeros(len(line), bool)
    return Words(text, marks, singles, begins, places, (start, end), spelled, filled & ~spelled, none_quoted, None)


def _kinds(letters: Array, starts: Array, names: list[bytes]) -> Array:
    """Return which of the names each line has."""
    import numpy as np  # noqa: PLC0415

    size = len(names[0])
    begun_with = letters[starts[:, None] + np.arange(size)]
    known = np.frombuffer(b"".join(names), np.uint8).reshape(-1, size)
    kinds: Array = (begun_with[:, None] == known).all(2).argmax(1)
    return kinds


def _counted(which: Array) -> tuple[Array, Array]:
    """Return where something stands, and how often before each place."""
    import numpy as np  # noqa: PLC0415

    before = np.zeros(len(which) + 1, np.int64)
    np.cumsum(which, out=before[1:])
    return np.append(np.flatnonzero(which), len(which)), before


def _without_blanks(letters: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return where fields begin and end without the blanks around them."""
    import numpy as np  # noqa: PLC0415

    solid, before = _counted(letters != _BLANK)
    start = np.minimum(solid[before[start]], end)
    return start, np.maximum(solid[before[end] - 1] + 1, start)


def _numbers(letters: Array, start: Array, end: Array) -> tuple[Places, Array]:
    """Return where fields stand, with their points, and which are spelled as numbers but for their digits."""
    import numpy as np  # noqa: PLC0415

    points, before = _counted(letters == _POINT)
    inside = before[end] - before[start]
    point = np.where(inside > 0, points[before[start]], end)
    return Places(start, end, point, np.full(len(start), -1)), begun(letters[start]) & (inside < 2)
