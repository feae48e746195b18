"""The rule under which two files would agree: guessed from where and how far they differ, and tried before."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, cast

from nexapod_batch.compare.budget import Budget, within
from nexapod_batch.compare.comparators.exact import same_length
from nexapod_batch.compare.figures import DATES, Figures, measured
from nexapod_batch.compare.formats.reading import suffix_of
from nexapod_batch.compare.ignoring import patterns
from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.registry import comparison, first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.time_tables import rows_of_times
from nexapod_batch.compare.unordered import UNORDERED
from nexapod_batch.compare.unpacking import unpacked
from nexapod_batch.errors import CompareError, CompareTimeError
from nexapod_batch.model.job import Agreement, Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.ports import Difference, Normalization

__all__ = ["as_descriptor", "suggested"]

#: What differs by more is no noise, and no rule is told that would let it pass.
_NOISE = 1e-3
#: Seconds of processor time in which one is looked for.
_SECONDS = 30.0
#: Entries of `ignore` that are guessed.
_MOST_IGNORED = 8
#: What a clock, a machine or an account writes is guessed to be ignorable; nothing else is.
_IDLE = re.compile(
    r"date|time|elapsed|wall|seconds|cpu|host|user|creat|generat|histor|modified|version|path|pid|uuid|cwd|command|"
    r"thread|\bprocess|\bn?procs\b|\bmpi\b|memory|performance|tracking|terminated|reading input|working dir",
    re.IGNORECASE,
)
_LINE, _ROW, _PART = re.compile(r"line (\d+)"), re.compile(r"row (\d+), column (\d+)"), re.compile(r"(.*?):?([^:/]+)$")
#: How lines of CSV begin that many readers take for comments.
_COMMENT = re.compile(r"\s*[#%!]")
#: With what lines begin that are no values: remarks.
_REMARKS = ("#", "%", ";")
#: Where the constant words of a line end: at a name of a day or month, or at a path. In PDF a slash begins a line.
_DATED = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b|(?<=.)/")
#: What stands behind the name of a part.
_PLACE = re.compile(r", (?:header|index .*|row \d+)$")
_LEAST_DIGITS = 3
#: Digits where nothing tells how many.
_USUAL_DIGITS = 8
#: Digits less than these two files would bear: the noise of the next run is not the same.
_MARGIN = 2
_LONGEST = 1 << 20  # bytes of a line
_TEXTS = ("delimiter", "decimal", "comments")


def suggested(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule
) -> CompareRule | None:
    """Return a rule under which two files agree, with some room for noise; None where there is none.

    `left` and `right` open the files, from their starts, as often as they are called. Raises OSError, and
    CompareTimeError where the files are too large to say.
    """
    try:
        with within(Budget(_SECONDS, grows=False)):
            return _suggested(left, right, name, rule)
    except CompareTimeError:
        raise
    except CompareError:
        return None


def _suggested(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule
) -> CompareRule | None:
    base = rule
    while len(base.ignore) <= _MOST_IGNORED:
        with left() as one, right() as other:
            figures = measured(Source(one, name, base), Source(other, name, base))
        for candidate in _candidates(figures, base):
            if _agree(left, right, name, candidate):
                return candidate
        loose = base._replace(comparator=Comparator.ALLCLOSE, digits=None, rtol=_NOISE, atol=0.0)
        difference = _differ(left, right, name, loose)
        wider = None if difference is None else _wider(left, difference, figures.format, base)
        if wider is None:
            return _in_any_order(left, right, name, base) if figures.format in UNORDERED else None
        base = wider
    return None


def _wider(left: Callable[[], BinaryIO], difference: Difference, kind: str, rule: CompareRule) -> CompareRule | None:
    """Return a rule that leaves out a difference, or reads it as numbers; None where it is no idle one."""
    if kind in {"csv", "json"} and not rule.quoted_numbers and _are_quoted_numbers(difference):
        return rule._replace(quoted_numbers=True)
    entry = _entry(left, difference, kind, rule)
    if entry is None or entry in rule.ignore:
        return None
    return rule._replace(ignore=(*rule.ignore, entry))


def _are_quoted_numbers(difference: Difference) -> bool:
    """Say whether both sides are numbers, and one of them at least in quotes."""
    sides = (difference.left, difference.right)
    numbers = [value_of(side.strip('"').strip().encode()) is not None for side in sides]
    return all(numbers) and any(side.startswith('"') for side in sides)


def _in_any_order(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, base: CompareRule
) -> CompareRule | None:
    """Return the rule under which two files with the same lines in another order agree; None where they have others."""
    plain = base._replace(rtol=None, atol=None, unordered=True)
    for rule in (
        plain._replace(comparator=Comparator.CONTENT, digits=None),
        plain._replace(comparator=Comparator.SIGNIFICANT, digits=_USUAL_DIGITS),
    ):
        if _agree(left, right, name, rule):
            return rule
    return None


def _agree(left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule) -> bool:
    """Say whether two files agree: by their normal forms where there are any, which takes a hundredth of the time."""
    if rule.agreement is not Agreement.NORMAL_FORM:
        return _differ(left, right, name, rule) is None
    normalization = cast("Normalization", comparison(rule.comparator))
    with left() as one, right() as other:
        ours, theirs = (normalization.normal_form(stream, name, rule) for stream in (one, other))
        return all(a == b for a, b in same_length(filter(None, ours), filter(None, theirs)))


def _differ(
    left: Callable[[], BinaryIO], right: Callable[[], BinaryIO], name: str, rule: CompareRule
) -> Difference | None:
    with left() as one, right() as other:
        return first_difference(one, other, name, rule)


def _candidates(figures: Figures, base: CompareRule) -> Iterator[CompareRule]:
    """Yield rules, the strictest first."""
    plain = base._replace(digits=None, rtol=None, atol=None)
    if base.ignore:
        yield plain._replace(comparator=Comparator.EXACT)
    yield plain._replace(comparator=Comparator.CONTENT)
    if figures.relative is None or figures.absolute is None:
        return
    relative, absolute = figures.relative.by, figures.absolute.by
    if relative <= _NOISE:
        most = min(14, math.floor(-math.log10(relative)) - _MARGIN)
        for digits in range(most, max(_LEAST_DIGITS, most - 3) - 1, -1):
            yield plain._replace(comparator=Comparator.SIGNIFICANT, digits=digits)
        yield plain._replace(comparator=Comparator.ALLCLOSE, rtol=_above(relative), atol=0.0)
    if absolute <= _NOISE:
        yield plain._replace(comparator=Comparator.ALLCLOSE, rtol=0.0, atol=_above(absolute))


def _above(value: float) -> float:
    """Return a round number of ten times a value or more."""
    exponent = math.floor(math.log10(10 * value))
    return float(f"{math.ceil(10 * value / 10.0**exponent)}e{exponent}")


def _entry(left: Callable[[], BinaryIO], difference: Difference, kind: str, rule: CompareRule) -> str | None:
    """Return what `ignore` must have to leave out a difference; None where it is no idle one."""
    where, texts = difference.where, f"{difference.left} {difference.right}"
    if kind == "json":
        path = re.sub(r"\[\d+\]", "[*]", where)
        return path if _is_idle(path.rpartition(".")[2], texts) else None
    if kind == "csv" and (row := _ROW.match(where)):
        number, column = int(row[1]), int(row[2])
        text = next(islice(_lines(left, difference.name, rule), number - 1, None), "")
        if _COMMENT.match(text):
            begin = _pattern(iter([text]), 1, texts)
            return begin and f"/{begin}/"
        return _column(_lines(left, difference.name, rule), column, texts)
    if line := _LINE.match(where):
        number = int(line[1])
        found = _pattern(_lines(left, difference.name, rule), number, texts)
        return found or rows_of_times(_lines(left, difference.name, rule), number)
    part = _PART.fullmatch(_PLACE.sub("", where))
    if part is None:
        return None
    is_text = difference.left[:1] == difference.right[:1] == '"'  # a variable that is called `time` has values
    idle = _is_idle(part[2], texts) if ":" in where else is_text and bool(DATES.search(texts))
    return part[2] if idle else None


def _is_idle(name: str, texts: str) -> bool:
    return bool(_IDLE.search(name) or DATES.search(texts))


def _lines(left: Callable[[], BinaryIO], name: str, rule: CompareRule) -> Iterator[str]:
    """Yield the lines of a file that count."""
    with left() as stream:
        source = unpacked(Source(stream, name, rule))
        source.leave_out(patterns(rule.ignore, bare=suffix_of(name) not in {"csv", "tsv"}))
        rest = b""
        for chunk in source.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("utf-8", "replace").rstrip("\r") for line in lines)
            rest = rest[:_LONGEST]
        yield rest.decode("utf-8", "replace")


def _column(lines: Iterator[str], number: int, texts: str) -> str | None:
    """Return the name of a column of CSV."""
    first = next(lines, "").strip("\ufeff")
    mark = next((mark for mark in ("\t", ";", ",") if mark in first), ",")
    cells = [cell.strip().strip('"') for cell in first.split(mark)]
    if 0 < number <= len(cells) and _is_idle(cells[number - 1], texts):
        return cells[number - 1]
    return None


def _pattern(lines: Iterator[str], number: int, texts: str) -> str | None:
    """Return a regular expression for a line: the words with which it begins."""
    line = next(islice(lines, number - 1, None), "")
    if not _is_idle(line[:200], f"{texts} {line[:200]}"):
        return f"^{line[0]}" if line[:1] in _REMARKS else None
    if "WALL" in line:  # the table of times of some codes: one entry for all of its lines
        return "WALL"
    words = re.match(r"[^\d=]*", line)
    begin = _DATED.split(words[0] if words else "")[0].rstrip()
    if len(begin) > 1:
        return "^" + _escaped(begin)
    longest = max(re.findall(r"[A-Za-z][A-Za-z ]+[A-Za-z]", line), key=len, default="")
    return longest if _IDLE.search(longest) else None


def _escaped(text: str) -> str:
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def as_descriptor(rule: CompareRule) -> str:
    """Return a rule as a descriptor has it, in one line."""
    words = [f'compare = "{rule.comparator}"']
    for key in ("digits", "rtol", "atol"):
        value = getattr(rule, key)
        if value is not None and not (key in {"rtol", "atol"} and value == 0.0):
            words.append(f"{key} = {value!r}")
    if rule.comparator is Comparator.ALLCLOSE and not (rule.rtol or rule.atol):
        words.append("rtol = 0.0")
    if rule.integers != "exact":
        words.append(f'integers = "{rule.integers}"')
    words += [f"{key} = {json.dumps(getattr(rule, key))}" for key in _TEXTS if getattr(rule, key)]
    words += [f"{key} = true" for key in ("quoted_numbers", "unordered") if getattr(rule, key)]
    if rule.ignore:
        words.append(f"ignore = {json.dumps(list(rule.ignore), ensure_ascii=False)}")
    if rule.normalize:
        words.append(f"normalize = {json.dumps(list(rule.normalize), ensure_ascii=False)}")
    return ", ".join(words)
