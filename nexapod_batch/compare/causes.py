"""What kinds of things two versions of a file differ in, where nothing else differs: dates, paths, host names, ...

Such differences come from the clock and the machine, not from the computation. Lines are looked at with everything of a
kind taken out: where the rest is the same, these kinds are the whole difference.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from nexapod_batch.compare.ignoring import patterns
from nexapod_batch.compare.unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.compare.stream import Source

__all__ = ["BLANKS", "LINE_ENDS", "NUMBERS", "ORDER", "PACKING", "causes_of", "causes_of_lines"]

#: Kinds beside those that `_KINDS` name: blanks alone, how lines end, which line comes first, values of a computation.
BLANKS: Final = "blanks"
LINE_ENDS: Final = "line_ends"
ORDER: Final = "order"
NUMBERS: Final = "numbers"
#: Nothing but how a file holds its values.
PACKING: Final = "packing"
#: More lines, or bytes of them, that differ are not looked at; nor are longer lines.
_MOST, _MOST_BYTES, _LONGEST = 20_000, 8 << 20, 1 << 14
_WEEKDAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp][Mm]\b)?"
_DAY = rf"(?:{_MONTH} {{1,3}}\d{{1,2}}|\d{{1,2}}[ -]{_MONTH})(?:[ ,-]{{1,3}}\d{{4}}\b)?"
_DATES = (
    rf"(?:{_WEEKDAY},? {{1,3}})?{_DAY}(?:[ ,]{{1,3}}{_CLOCK})?(?: {{1,3}}[A-Z]{{3,4}}\b)?(?: {{1,3}}\d{{4}}\b)?",
    rf"\b{_WEEKDAY}\b",
    rf"\b\d{{4}}[-/]\d{{2}}[-/]\d{{2}}(?:[T _]{{1,3}}{_CLOCK})?(?:Z\b|[+-]\d{{2}}:?\d{{2}})?",
    r"\b\d{1,2}[./]\d{1,2}[./](?:19|20)\d{2}\b",
    rf"\b{_CLOCK}",
    r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:[T_-]?\d{6}Z?)?(?!\d)",
    r"(?:time|date|epoch|stamp|created|modified)\w{0,12}\W{1,4}\d{9,13}(?:\.\d{1,9})?",
    r"(?:elapsed|wall|cpu)[ _-]?(?:time|clock|seconds)?\W{1,4}\d{1,12}(?:\.\d{1,12})?(?:e[+-]?\d{1,3})?",
    r"\d{1,12}(?:\.\d{1,12})? {0,3}(?:s|sec|secs|seconds) (?:wall|elapsed|cpu)",
)
_THREADS = (
    r"\b\d{1,6}[ -](?:(?:openmp|omp|mpi|blas|mkl|cpu) )?(?:threads?|cpus?|process(?:es)?|procs?|workers?|ranks)\b",
    r"(?:threads|cpus|nprocs|workers|ntasks)\w{0,12}\W{1,4}\d{1,6}\b",
)
_HOSTS = (
    r"\b(?:host|hostname|nodename|node|machine|server|computer)\b\W{1,4}[a-z][\w.-]{0,80}",
    r"\b[a-z][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,62}){0,6}\.(?:local|localdomain|lan|internal|cluster|edu|org|net|com)\b",
)
_PATHS = (r"(?<![\w.\0])~?/(?=[a-z_.\0])[\w.+@%:~\0-]{1,255}(?:/[\w.+@%:~\0-]{1,255}){0,40}/?",)
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eEdD][+-]?\d{1,5})?|\b(?:nan|inf)\b", re.IGNORECASE)
#: What differs where one side has no line end behind its last line.
_AT_THE_END = frozenset({LINE_ENDS})
_BLANKS = re.compile(r"\s+")


class _Kind(NamedTuple):
    """What one kind of cause looks like in a line."""

    name: str
    looks: re.Pattern[str]


def _kind(name: str, looks: Sequence[str]) -> _Kind:
    return _Kind(name, re.compile("|".join(looks), re.IGNORECASE))


#: In the order in which they are taken out: a path may hold a date.
_KINDS = (
    _kind("dates", _DATES), _kind("threads", _THREADS), _kind("hosts", _HOSTS), _kind("paths", _PATHS),
    _Kind(NUMBERS, _NUMBER),
)  # fmt: skip


def causes_of(left: str, right: str, hosts: Sequence[str] = ()) -> frozenset[str] | None:
    """Return in which kinds of things two lines differ; None where something else does.

    `hosts` are names of machines that are known.
    """
    causes = set()
    if max(len(left), len(right)) > _LONGEST:
        return None
    if left.endswith("\r") != right.endswith("\r"):
        causes.add(LINE_ENDS)
    left, right = left.rstrip("\r"), right.rstrip("\r")
    for kind in _kinds(hosts):
        if left == right:
            break
        ours, theirs = kind.looks.findall(left), kind.looks.findall(right)
        if ours != theirs:
            causes.add(kind.name)
        left, right = kind.looks.sub("\0", left), kind.looks.sub("\0", right)
    if _BLANKS.sub(" ", left).strip() != _BLANKS.sub(" ", right).strip():
        return None
    return frozenset(causes or {BLANKS})


def _kinds(hosts: Sequence[str]) -> Iterator[_Kind]:
    if names := [re.escape(host) for host in hosts if host]:
        yield _Kind("hosts", re.compile(rf"\b(?:{'|'.join(sorted(names, key=len, reverse=True))})\b"))
    yield from _KINDS


def causes_of_lines(left: Source, right: Source, *, bare: bool, hosts: Sequence[str] = ()) -> list[str]:
    """Return the kinds of things that are all in which two text files differ; empty where something else does.

    Nothing was taken of the files yet. With `bare`, entries of `ignore` without slashes are for lines. Raises
    CompareError for a file that cannot be unpacked, and OSError.
    """
    return sorted(_of_lines(_lines(left, bare=bare), _lines(right, bare=bare), hosts))


def _lines(packed: Source, *, bare: bool) -> Iterator[str]:
    """Yield the lines of a file that count, with what stands at their ends; long ones in pieces."""
    source = unpacked(packed)
    source.leave_out(patterns(source.rule.ignore, bare=bare))
    rest = b""
    for chunk in source.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
        if len(rest) > _LONGEST:
            yield rest.decode("utf-8", "replace")
            rest = b""
    yield rest.decode("utf-8", "replace")


def _of_lines(left: Iterator[str], right: Iterator[str], hosts: Sequence[str]) -> frozenset[str]:
    """Return the kinds in which lines differ, or that the same lines come in another order."""
    pairs = _differing(left, right)
    if len(pairs) > 1 and Counter(one for one, _ in pairs) == Counter(other for _, other in pairs):
        return frozenset({ORDER})
    causes: frozenset[str] = frozenset()
    for one, other in pairs:
        found = causes_of(one, other, hosts) if one or other else _AT_THE_END
        if found is None:
            return frozenset()
        causes |= found
    return causes


def _differing(left: Iterator[str], right: Iterator[str]) -> list[tuple[str, str]]:
    """Return the pairs of lines that differ, "" for one that is not there; none where they are too many."""
    pairs: list[tuple[str, str]] = []
    size = 0
    for one, other in zip_longest(left, right):
        if one == other:
            continue
        pairs.append((one or "", other or ""))
        size += len(one or "") + len(other or "")
        if len(pairs) > _MOST or size > _MOST_BYTES:
            return []
    return pairs
