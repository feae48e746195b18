"""Tables of times in logs, as LAMMPS writes one: rows that bars divide, below a heading that names times alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["rows_of_times"]

#: Lines of a table, at most.
_MOST = 100
_TIMES = re.compile(r"time|cpu|wall|elapsed|seconds|^%", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z][\w -]{0,60}")
_DIVIDING = re.compile(r"[-=+|\s]+")


def rows_of_times(lines: Iterator[str], number: int) -> str | None:
    """Return a regular expression for the rows of the table of which the line of this number, counted from 1, is one.

    None where that line is in no such table.
    """
    rows = _table(lines, number)
    if len(rows) < 2 or not all(_TIMES.search(cell.strip()) for cell in rows[0].split("|")[1:]):
        return None
    labels = [row.partition("|")[0].strip() for row in rows[1:]]
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return f"^(?:{'|'.join(dict.fromkeys(labels))}) *\\|"


def _table(lines: Iterator[str], number: int) -> list[str]:
    """Return the heading and the rows around a line, without what only divides them; empty where it is in none."""
    rows: list[str] = []
    inside = False
    for at, line in enumerate(lines, 1):
        if line.strip() and _DIVIDING.fullmatch(line):
            continue
        if "|" in line:
            rows.append(line)
            inside = inside or at == number
        elif at > number:
            break
        else:
            rows = []
        if len(rows) > _MOST:
            return []
    return rows if inside else []
