"""Single values as people read them: times, sizes, counts, cells of a table, and the table itself. All pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nexapod_batch.cli.rendering.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["because", "cell", "colour", "count", "duration", "energy", "moment", "size", "table", "vote"]

Document = dict[str, Any]

# The pattern is compiled where it is used: that costs more than all the rest of this module.
_STATE = r"\b(?:(accepted|valid|ok)|(failed|invalid|errored|fail)|(inconclusive|lost|warn|cancelled))\b"
#: Characters of an RFC 3339 time to the second.
_MOMENT_LENGTH = 20
#: What a column of text keeps at least where a table is made narrower.
_NARROWEST = 8


def colour(lines: str) -> str:
    """Colour the words of states: green, red, yellow."""
    return re.sub(_STATE, lambda found: f"\x1b[{(32, 31, 33)[(found.lastindex or 1) - 1]}m{found[0]}\x1b[0m", lines)


def table(rows: Sequence[Document], columns: Sequence[str], width: int | None = None) -> Iterator[str]:
    """Yield a header and one line a row, columns aligned, numbers to the right.

    Where that is wider than `width`, texts are cut; where even that does not help, each row is a list of its values.
    """
    heads = [column.upper().replace("_", " ") for column in columns]
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, values)) for values in zip(heads, *cells, strict=True)]
    right = [all(isinstance(row.get(column), int | float | None) for row in rows) for column in columns]
    if width is not None:
        narrow = _narrowed(widths, right, width)
        if narrow is None:
            yield from _records(heads, cells, width)
            return
        widths = narrow
    for row in [heads, *cells]:
        yield "  ".join(map(_aligned, row, widths, right)).rstrip()


def _narrowed(widths: Sequence[int], right: Sequence[bool], width: int) -> list[int] | None:
    """Return widths of columns that fit, the widest texts cut first; None where they cannot fit."""
    found = list(widths)
    texts = [at for at, number in enumerate(right) if not number]
    while sum(found) + 2 * (len(found) - 1) > width:
        widest = max(texts, key=lambda at: found[at], default=None)
        if widest is None or found[widest] <= _NARROWEST:
            return None
        found[widest] -= 1
    return found


def _aligned(value: str, width: int, number: bool) -> str:
    if number:
        return value.rjust(width)
    if len(value) > width:
        value = value[: width - 1] + "~"
    return value.ljust(width)


def _records(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the values of each row below one another, cut where they are too long."""
    for number, row in enumerate(cells):
        if number:
            yield ""
        for head, value in zip(heads, row, strict=True):
            line = f"{head}: {value}"
            yield line if len(line) <= width else line[: width - 1] + "~"


def cell(value: object) -> str:
    """Return a value as people read it in a table: `-` for none, yes and no, times in the reader's zone."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        if value:
            return "yes"
        return "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | dict):
        return _several(value)
    text = str(value)
    if len(text) == _MOMENT_LENGTH and text[-1] == "Z" and text[10] == "T":
        return moment(text)
    return clean(text)


def _several(value: list[Any] | Document) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={cell(one)}" for name, one in value.items()) or "-"
    return " ".join(map(cell, value))


def moment(text: str) -> str:
    """Return an RFC 3339 time in UTC in the reader's zone, with its offset; the text itself where it is none."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError):
        return text


def duration(seconds: float) -> str:
    """Return `850 ms`, `12.3 s`, `2:05` or `1:02:05`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def size(kib: int) -> str:
    """Return KiB in the largest unit that keeps three digits."""
    value = float(kib)
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def energy(joules: float) -> str:
    """Return `36 J`, `1.28 kJ` or `3.6 MJ`."""
    for factor, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if joules >= factor:
            return f"{joules / factor:.3g} {unit}"
    return f"{joules:.3g} J"


def count(number: int, noun: str) -> str:
    """Return `1 task` or `3 tasks`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}s"


def because(reason: str) -> str:
    """Return a reason behind a colon, or nothing where there is none."""
    if reason:
        return f": {reason}"
    return ""


def vote(execution: str, validation: str) -> str:
    """Return what became of the vote of a replica, for people: one that ended without an answer has none."""
    if (execution, validation) == ("errored", "inconclusive"):
        return "no vote"
    return validation
