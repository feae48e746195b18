"""The three ways to say an array: ids in Slurm's grammar, a matrix of values, a file with one row a task.

Every function reports to a `Report` and returns BAD or None on a fault; none raises.
"""

from __future__ import annotations

import csv
import json
import os
import re
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from nexapod_batch.config.job.job_schema import PARAMETER
from nexapod_batch.config.job.paths import open_beside
from nexapod_batch.model.job import MAX_TASKS, Array
from nexapod_batch.model.placeholders import BUILT_IN
from nexapod_batch.schema.kinds import BAD, Report, Scalar, Value, show
from nexapod_batch.schema.literal import Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["MAX_VALUES_BYTES", "read_array"]

#: The largest file of array values: it is stored with the job, so it is for parameters and not for data.
MAX_VALUES_BYTES = 64 * 1024 * 1024

_MAX_ID = 2**31 - 1
_PART = re.compile(r"(\d{1,18})(?:-(\d{1,18})(?::(\d{1,18}))?)?", re.ASCII)
_WANTED = 'as in "0-15", "1,3,5-9", "0-100:10" or "1-100%10"'
_MERGE_UP_TO = 100_000  # overlapping ranges of more ids are refused instead of merged

Row = tuple[tuple[str, str], ...]
Range = tuple[int, int, int]


def read_array(section: dict[str, Value], folder: Path, report: Report, *, outside: bool = False) -> Array | None:
    """Return the array that a checked [array] section asks for; None when it cannot be used."""
    given = [name for name in ("ids", "values", "matrix") if section[name] is not None]
    if len(given) != 1:
        report.add("array", f"{' and '.join(given) or 'none'} given", wanted="exactly one of ids, values, matrix")
        return None
    if any(value is BAD for value in section.values()):
        return None
    max_running = section["max_running"]
    if section["ids"] is not None:
        return _by_ids(section["ids"], max_running, report)
    if section["matrix"] is not None:
        return _by_matrix(section["matrix"], max_running, report)
    rows = _rows(folder, folder / section["values"], report, outside=outside)
    if rows:
        return Array(values=rows, max_running=max_running)
    return None


def _by_ids(text: str, max_running: int | None, report: Report) -> Array | None:
    """Return an array of ids, as in `1-100:2%10`; the limit after % counts where there is no other."""
    ids, percent, limit = text.partition("%")
    if percent and not (limit.isdecimal() and 0 < int(limit[:18]) <= 10**9 and len(limit) <= 10):
        report.add("array.ids", "bad limit after %", got=text, wanted=_WANTED)
        return None
    ranges = _ranges(ids, report)
    if not ranges:
        return None
    if percent and not max_running:
        max_running = int(limit)
    return Array(ranges=ranges, max_running=max_running)


def _by_matrix(values: dict[str, Value], max_running: int | None, report: Report) -> Array | None:
    """Return an array of every combination of values."""
    matrix = tuple((name, tuple(choices)) for name, choices in values.items())
    if not matrix:
        report.add("array.matrix", "empty", wanted="at least one parameter with values")
        return None
    count = prod(len(choices) for _, choices in matrix)
    if not _names(values, "array.matrix", report) or not _fits(count, "array.matrix", report):
        return None
    return Array(matrix=matrix, max_running=max_running)


def _fits(count: int, path: str, report: Report) -> bool:
    if count > MAX_TASKS:
        report.add(path, f"{count:,} tasks", wanted=f"at most {MAX_TASKS:,}", hint="split the job")
    return count <= MAX_TASKS


def _ranges(ids: str, report: Report) -> tuple[Range, ...]:
    ranges = []
    for part in ids.split(","):
        found = _range(part, report)
        if found is None:
            return ()
        ranges.append(found)
    if not _fits(sum((last - first) // step + 1 for first, last, step in ranges), "array.ids", report):
        return ()
    ranges.sort()
    if all(left[1] < right[0] for left, right in pairwise(ranges)):
        return tuple(ranges)
    return _merged(ranges, report)


def _range(part: str, report: Report) -> Range | None:
    """Return one range of ids, whose last one is really in it; report what is none."""
    match = _PART.fullmatch(part)
    if not match:
        report.add("array.ids", "not understood", got=part, wanted=_WANTED)
        return None
    first = int(match[1])
    last, step = int(match[2] or first), int(match[3] or 1)
    if last < first or step < 1 or last > _MAX_ID:
        wanted = f"first-last:step, first <= last <= {_MAX_ID}, step 1 or more"
        report.add("array.ids", "impossible range", got=part, wanted=wanted)
        return None
    return first, last - (last - first) % step, step


def _merged(ranges: list[Range], report: Report) -> tuple[Range, ...]:
    """Return overlapping ranges as disjoint ascending ones."""
    if sum((last - first) // step + 1 for first, last, step in ranges) > _MERGE_UP_TO:
        report.add("array.ids", "ranges overlap", wanted="ranges that follow each other")
        return ()
    ids = sorted({number for first, last, step in ranges for number in range(first, last + 1, step)})
    merged: list[Range] = []
    for number in ids:
        if merged and merged[-1][1] == number - 1:
            merged[-1] = (merged[-1][0], number, 1)
        else:
            merged.append((number, number, 1))
    return tuple(merged)


def _names(names: Iterable[str], path: str, report: Report) -> bool:
    """Say whether the parameter names are usable: identifiers, not taken, different in upper case too."""
    before = len(report.problems)
    seen: dict[str, str] = {}
    for name in names:
        if not re.fullmatch(PARAMETER, name, re.ASCII):
            report.add(path, "name not accepted", got=name, wanted="a letter or _, then letters, digits and _")
        elif name.lower() in (*BUILT_IN, "home"):
            report.add(path, f"name {name!r} is taken", wanted=f"none of {', '.join(BUILT_IN)}, home")
        elif name.upper() in seen:
            other = seen[name.upper()]
            report.add(path, f"{other!r} and {name!r} are one environment variable", wanted="names that differ")
        seen[name.upper()] = name
    return len(report.problems) == before


def _rows(folder: Path, file: Path, report: Report, *, outside: bool) -> tuple[Row, ...]:
    """Return the rows of a values file, by its ending."""
    reader = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}.get(file.suffix.lower())
    if reader is None:
        report.add("array.values", "unknown ending", got=file.name, wanted=".csv, .jsonl or .ndjson")
        return ()
    try:
        text = _values_text(folder, file, report, outside=outside)
        if text is None:
            return ()
        rows: list[Row] = []
        for row in reader(text):
            rows.append(row)
            if not _fits(len(rows), "array.values", report):
                return ()
    except UnicodeDecodeError:
        report.add("array.values", f"{file.name} is not UTF-8")
        return ()
    except (OSError, ValueError, csv.Error, RecursionError) as cause:
        report.add(
            "array.values", f"{file.name} cannot be used: {getattr(cause, 'strerror', None) or str(cause)[:300]}"
        )
        return ()
    return _usable(rows, file, report)


def _values_text(folder: Path, file: Path, report: Report, *, outside: bool) -> str | None:
    """Return the text of a values file, None (reported) when it may not be read; OSError, UnicodeDecodeError."""
    fd = open_beside(folder, file, "array.values", report, outside=outside)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as stream:
        data = stream.read(MAX_VALUES_BYTES + 1)
        size = max(len(data), os.fstat(stream.fileno()).st_size)
    if size > MAX_VALUES_BYTES:
        report.add("array.values", f"{size:,} bytes", wanted=f"at most {MAX_VALUES_BYTES:,} bytes")
        return None
    return data.decode("utf-8-sig")


def _usable(rows: list[Row], file: Path, report: Report) -> tuple[Row, ...]:
    """Return rows of which there are some, under names that parameters can have; else report, and return none."""
    if not rows:
        report.add("array.values", f"{file.name} has no rows", wanted="a header and at least one row, or JSON objects")
        return ()
    if _names([name for name, _ in rows[0]], "array.values", report):
        return tuple(rows)
    return ()


def _csv(text: str) -> Iterator[Row]:
    lines = csv.reader(text.splitlines(keepends=True), strict=True)
    header = [name.strip() for name in next(lines, [])]
    if len(set(header)) != len(header):
        raise ValueError("a name stands twice in the header")
    _check_separator(header)
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise ValueError(f"row {number} has {len(cells)} values, the header {len(header)}")
        yield tuple(zip(header, (_checked(cell, number) for cell in cells), strict=True))


def _check_separator(header: list[str]) -> None:
    """Raise ValueError for a table whose columns stand apart by something else than commas."""
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(
                f"its header has {called} and no comma: save it with commas between the columns "
                f"(and points in decimal numbers)"
            )


def _json_lines(text: str) -> Iterator[Row]:
    names: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        pairs = json.loads(line, parse_float=Literal, parse_constant=_no_constant, object_pairs_hook=tuple)
        if not isinstance(pairs, tuple) or not pairs:
            raise ValueError(f"line {number} is not an object with values")
        row = dict(pairs)
        names = names or list(row)
        if len(row) != len(pairs) or set(row) != set(names):
            raise ValueError(f"line {number} has other names than the first, or one twice")
        yield tuple((name, _checked(row[name], number)) for name in names)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _checked(value: Value, number: int) -> str:
    problems = Report()
    text = Scalar().check(value, "", problems)
    if problems.problems or not isinstance(text, str):
        reason = problems.problems[0].message if problems.problems else show(value)
        raise ValueError(f"line {number}: {reason}")
    return text
