"""The normal form of lines of numbers that are all alike, as most programs write them: the fast way for such tables.

Lines are alike when they have the same marks (points, letters of exponents, delimiters) in the same order, however long
their words are. Then what is found out about the first line holds for all, and every number takes as much room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.compare.digit_arrays import Places, parsed, put, records, rounded
from nexapod_batch.compare.word_arrays import (
    EXPONENT,
    MOST_COLUMNS,
    ODD,
    POINT,
    QUOTE,
    SINGLE,
    START,
    STOP,
    begun,
    columns_written,
    without_blanks,
)  # fmt: skip

if TYPE_CHECKING:
    import numpy as np

    from nexapod_batch.compare.word_arrays import Layout, Marked

    Array = np.ndarray[Any, Any]

__all__ = ["form_of_like_lines"]

_BLANK, _MINUS = ord(" "), ord("-")
#: What follows a number before the next one is written as one word of so many characters.
_MOST_BEHIND = 8
_LINE_END = int.from_bytes(b"\n ", "little")


class _Word(NamedTuple):
    """Which marks of a line are those of a word."""

    start: int
    point: int  # that of its end where there is no point
    exponent: int  # -1 where there is none
    end: int


class _Line(NamedTuple):
    """The words of each line, and the marks behind each word that are written by themselves, but for the line's end."""

    words: list[_Word]
    singles: list[list[int]]


class _Behind(NamedTuple):
    """What stands behind each number of a line before the next one, as a word of eight characters."""

    eights: Array  # one line for all, or one for each
    most: int  # characters of the longest


def form_of_like_lines(marked: Marked, layout: Layout, digits: int, exact_integers: bool) -> bytes | None:
    """Return the normal form of whole lines without the end of the last one, with so many digits.

    None where lines are not alike, or hold anything but numbers that are rounded.
    """
    import numpy as np  # noqa: PLC0415 - whoever calls has looked whether it is there

    table = _rows_of(marked)
    if table is None:
        return None
    marks, roles = table
    line = _cells_of(roles) if layout.cells else _words_of(roles)
    if line is None:
        return None
    places = _places(marks, line, cells=layout.cells)
    if layout.cells:
        start, end = without_blanks(marked.letters, places.start, places.end)
        places = Places(start, end, np.minimum(places.point, end), places.exponent)
    if not begun(marked.letters[places.start]).all():
        return None
    behind = _behind(marked.letters, marks, places, line, layout)
    if behind is None:
        return None
    decimals = parsed(marked.text, places)
    found = rounded(decimals, digits)
    if not found.sure.all() or (exact_integers and (decimals.whole & found.lost).any()):
        return None
    negative = decimals.negative & (decimals.magnitude > 0)
    eights = records(found.digits, found.exponent, digits)
    width = digits + (digits > 1) + len("e+00 ")
    return _written(eights, width, behind, negative.reshape(len(marks), -1))


def _rows_of(marked: Marked) -> tuple[Array, list[int]] | None:
    """Return the marks of each line, with that of its end, and what those of every line are; None where they differ."""
    import numpy as np  # noqa: PLC0415 - whoever calls has looked whether it is there

    marks, roles = marked.marks, marked.roles
    first_end = marked.raw.find(b"\n")
    if first_end < 0:
        return None
    if len(marks) and marks[0] < 0:  # the line end before a first cell
        marks, roles = marks[1:], roles[1:]
    count = int(np.searchsorted(marks, first_end)) + 1
    missing = len(marks) % count == count - 1  # the last line has no blank behind its last word, and no mark at its end
    if missing:
        marks, roles = np.append(marks, len(marked.raw)), np.append(roles, roles[count - 1])
    if len(marks) % count:
        return None
    ends = marks[count - 1 :: count]
    if (marked.letters[ends[:-1]] != ord("\n")).any() or marked.raw[int(ends[-1]) :].strip(b" "):
        return None  # another mark where lines should end
    if marked.raw.count(b"\n") != len(ends) - 1:
        return None  # a line end where cells should
    table = roles.reshape(-1, count)
    last, first = table[-1, :-1], table[0, :-1]  # behind the last line no end is written
    if (table[:-1] != table[0]).any() or (last != first).any():
        return None
    return marks.reshape(-1, count), table[0].tolist()


def _words_of(roles: list[int]) -> _Line | None:
    """Return the words between blanks and single characters; None where one is spelled in another way than a number."""
    line = _Line([], [])
    start = -1
    for at, role in enumerate(roles):
        if role & STOP and not _add(line, roles, start, at):
            return None
        if role & START:
            start = at
        elif role & SINGLE and not line.words:
            return None
        elif role & SINGLE and at < len(roles) - 1:
            line.singles[-1].append(at)
    return line if line.words else None


def _cells_of(roles: list[int]) -> _Line | None:
    """Return the cells between delimiters; None where one is spelled in another way than a number."""
    line = _Line([], [])
    start = -1
    for at, role in enumerate(roles):
        if role & (QUOTE | ODD):
            return None
        if role & SINGLE:
            if not _add(line, roles, start, at):
                return None
            start = at
    return line


def _add(line: _Line, roles: list[int], start: int, end: int) -> bool:
    """Add a word to a line; say whether it has the marks of a number: none, a point, or a letter behind a point."""
    inner = [role & (POINT | EXPONENT) for role in roles[start + 1 : end]]
    if inner not in ([], [POINT], [POINT, EXPONENT]) or (start >= 0 and roles[start] & (POINT | EXPONENT)):
        return False
    point = start + 1 if inner else end
    line.words.append(_Word(start, point, start + 2 if len(inner) > 1 else -1, end))
    line.singles.append([])
    return True


def _begins(marks: Array) -> Array:
    """Return where lines begin."""
    import numpy as np  # noqa: PLC0415

    begins = np.zeros(len(marks), np.int64)
    begins[1:] = marks[:-1, -1] + 1
    return begins


def _places(marks: Array, line: _Line, *, cells: bool) -> Places:
    """Return where the words of all lines stand."""
    import numpy as np  # noqa: PLC0415

    start, point, exponent, end = (list(each) for each in zip(*line.words, strict=True))
    starts = np.take(marks, start, axis=1)
    if cells:  # behind the delimiter
        starts += 1
        starts[:, 0] = _begins(marks)
    exponents = np.full_like(starts, -1)
    if max(exponent) >= 0:
        exponents = np.where(np.array(exponent) >= 0, np.take(marks, exponent, axis=1), -1)
    found = starts, np.take(marks, end, axis=1), np.take(marks, point, axis=1), exponents
    return Places(*[each.reshape(-1) for each in found])


def _behind(letters: Array, marks: Array, places: Places, line: _Line, layout: Layout) -> _Behind | None:
    """Return what stands behind each number of a line; None where it is too much, or not the same in all lines."""
    import numpy as np  # noqa: PLC0415

    texts = [b""] * len(line.words)
    for at, singles in enumerate(line.singles):
        for single in singles:
            same = letters[marks[:, single]]
            if (same != same[0]).any():
                return None
            texts[at] += bytes([same[0], _BLANK])
    found = np.array([int.from_bytes(text, "little") for text in texts], np.uint64)[None]
    most = max(map(len, texts))
    gaps = (letters[places.start - 1] == _BLANK) & (letters[places.start - 2] == _BLANK)
    if layout.columns and gaps.any():
        columns = places.end.reshape(len(marks), -1) - _begins(marks)[:, None]
        columns *= gaps.reshape(columns.shape)
        if columns.max() >= MOST_COLUMNS:
            return None
        written, lengths = (each[columns] for each in columns_written())
        found = written | found << 8 * lengths.view(np.uint64)
        most += int(lengths.max())
    if most > _MOST_BEHIND:
        return None
    return _Behind(found, most)


def _written(eights: list[Array], width: int, behind: _Behind, negative: Array) -> bytes:
    """Return numbers of `width` characters with what stands behind each, the sign of the next one and the line's end.

    All take as much room, and what is none of it is NUL.
    """
    import numpy as np  # noqa: PLC0415

    rows, columns = negative.shape
    size = -(-(width + behind.most + 1) // 8)
    words = [each.reshape(rows, columns) for each in eights]
    if behind.most:
        put(words, behind.eights, width, behind.most)
    signs = negative * np.uint64(_MINUS)
    following = np.zeros_like(signs)
    following[:, :-1] = signs[:, 1:]
    put(words, following, width + behind.most, 1)
    out = np.empty((rows, columns * size + 1), np.uint64)
    numbers = out[:, :-1].reshape(rows, columns, size)
    for at in range(size):
        numbers[:, :, at] = words[at]
    out[:-1, -1] = _LINE_END | signs[1:, 0] << np.uint64(16)
    out[-1, -1] = 0
    return b"-" * int(negative[0, 0]) + out.tobytes().translate(None, b"\0")
