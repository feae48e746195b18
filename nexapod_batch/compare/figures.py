"""By how much two versions of a file differ: how many values, how far, where, and what kind of differences."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.compare.blocks import Block
from nexapod_batch.compare.budget import Budget
from nexapod_batch.compare.causes import NUMBERS, causes_of
from nexapod_batch.compare.comparators.allclose import AllClose
from nexapod_batch.compare.compound import compound_of
from nexapod_batch.compare.formats.reading import BINARY, Reading
from nexapod_batch.compare.numbers import Lent, value_of
from nexapod_batch.compare.registry import comparison
from nexapod_batch.compare.rounding import Rounding
from nexapod_batch.compare.tables import aligned, shown_token
from nexapod_batch.errors import CompareTimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source
    from nexapod_batch.model.job import CompareRule

__all__ = ["DATES", "Farthest", "Figures", "measured"]

#: Numbers this many times closer than what they are rounded to lie beside a border.
_TENTH = 10
#: Values that differ and are looked at for what they differ in.
_MOST = 10_000
#: Seconds of processor time.
_SECONDS = 15.0
#: Differences that are named one by one.
_NAMED = 5
#: What stands for a date, a time or a path in a text.
DATES = re.compile(
    r"\d{4}-\d{2}-\d{2}|\d{1,2}:[ \d]\d(:[ \d]\d)?|\b(19|20)\d{6}\b|\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b|"
    r"\b\d{1,2} ?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* ?\d{4}\b"
)
_PATHS = re.compile(r"(?:/[\w.+-]+){2,}")


class Farthest(Struct, frozen=True, kw_only=True):
    """The values that differ most."""

    by: float
    where: str
    left: str
    right: str


class Figures(Struct, kw_only=True):
    """What was found; relative differences are |a-b| / max(|a|,|b|)."""

    format: str  # text, csv, json, npy, hdf5, ...
    values: int = 0  # numbers on both sides at the same place
    numbers: int = 0  # of these, how many differ at all
    beyond: int = 0  # of these, how many differ under the rule
    border: int = 0  # of these, how many are closer than a tenth of what rounding made of their difference
    texts: int = 0  # words that differ
    absolute: Farthest | None = None
    relative: Farthest | None = None
    decades: dict[int, int] = field(default_factory=dict)  # relative differences: exponent of ten -> how many
    kinds: list[str] = field(default_factory=list)  # of texts that differ: dates, paths, words
    first: list[str] = field(default_factory=list)  # texts that differ: where, left and right
    causes: list[str] = field(default_factory=list)  # kinds of things that are all in which they differ
    shape: str = ""  # where one side has something else in its place, so that nothing behind it was measured
    through: str = ""  # how far was measured, where the time ended before the files


def measured(left: Source, right: Source, hosts: Sequence[str] | None = None) -> Figures:
    """Return by how much two files of which nothing was taken yet differ, whatever the rule: as far as time allows.

    With names of machines, of which there may be none, the causes are looked for, in binary files.
    Raises CompareError for a file that is not of the format that its name promises, or a rule without its parameters,
    and OSError.
    """
    reading, other = Reading(left), Reading(right)
    figures = Figures(format=reading.format)
    causes = None if hosts is None or reading.format not in BINARY else _Causes(hosts)
    measuring = _Measuring(figures, reading, left.rule, causes)
    try:
        whole = _measure(measuring, aligned(reading, other), Budget(_SECONDS, grows=False))
    except CompareTimeError:
        whole = False
        figures.through = reading.where()
    if whole and causes is not None:
        figures.causes = sorted(causes.found or ())
    return figures


def _measure(
    measuring: _Measuring, pairs: Iterable[tuple[Batch | Lent, Batch | Lent] | tuple[Block, Block]], time: Budget
) -> bool:
    """Go through both files; say whether everything was measured. CompareTimeError where the time is over."""
    for a, b in pairs:
        time.check("figures")
        if isinstance(a, Block) or isinstance(b, Block):
            assert isinstance(a, Block)  # noqa: S101 - then both are, and the same
            measuring.same(a)
        elif not measuring.batch(_own(a), _own(b)):
            return False
    return True


def _own(batch: Batch | Lent) -> Batch:
    return batch[:] if isinstance(batch, Lent) else batch


class _RuleOfNumbers:
    """What a rule says of two numbers."""

    def __init__(self, rule: CompareRule) -> None:
        """Take a rule whose parameters may be of no use: then all that differs does so under it."""
        self._normal: Callable[[Token], bytes] | None = None
        self._close: Callable[[Token, Token], bool] | None = None
        compares = comparison(rule.comparator)
        if isinstance(compares, Rounding):
            self._normal = compares.token(rule)
        elif isinstance(compares, AllClose):
            self._close = compares.close(rule)

    def judge(self, left: float, right: float) -> tuple[bool, bool]:
        """Say whether two numbers that are not the same differ under the rule, and but for a border of rounding."""
        if self._close is not None:
            return not self._close(left, right), False
        if self._normal is None:
            return True, False
        ours, theirs = self._normal(left), self._normal(right)
        if ours == theirs:
            return False, False
        rounded, other = value_of(ours), value_of(theirs)
        if rounded is None or other is None:
            return True, False
        return True, abs(left - right) * _TENTH < abs(rounded - other)


class _Causes:
    """The kinds of things in which values differ; the name of a part stands before its values."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.found: set[str] | None = set()  # None: something of no kind differs as well
        self._hosts, self._left = hosts, _MOST

    def add(self, reading: Reading, left: Token, right: Token) -> None:
        """Take two values that differ; the more there are, the less is asked of each."""
        if self.found is None:
            return
        self._left -= 1
        if self._left < 0 and _pairs(left, right):
            self.found.add(NUMBERS)
            return
        where = reading.where()
        kinds = causes_of(f"{where}: {shown_token(left)}", f"{where}: {shown_token(right)}", self._hosts)
        self.found = None if kinds is None or self._left < 0 else self.found | kinds


class _Measuring:
    """Goes through two files token by token."""

    def __init__(self, figures: Figures, reading: Reading, rule: CompareRule, causes: _Causes | None) -> None:
        self._figures, self._reading, self._rule = figures, reading, _RuleOfNumbers(rule)
        self._causes = causes

    def same(self, block: Block) -> None:
        """Take lines that both have."""
        self._figures.values += sum(value_of(token) is not None for token in block.tokens())
        self._reading.passed_block(block)

    def batch(self, a: Batch, b: Batch) -> bool:
        """Take one batch; say whether those behind it can be measured."""
        if a == b:
            self._figures.values += sum(value_of(token) is not None for token in a)
            self._reading.passed(a)
            return True
        behind = 0
        for at in range(min(len(a), len(b))):
            if a[at] == b[at]:
                self._figures.values += value_of(a[at]) is not None
                continue
            self._reading.passed(a[behind:at])
            behind = at
            if not self._token(a[at], b[at]):
                return False
        self._reading.passed(a[behind:])
        if len(a) != len(b):
            self._figures.shape = self._reading.where()
        return len(a) == len(b)

    def _token(self, left: Token, right: Token) -> bool:
        """Take two tokens that differ; say whether what follows stands in the same place."""
        if _is_structure(left) or _is_structure(right):
            self._figures.shape = self._reading.where()
            return False
        if self._causes is not None:
            self._causes.add(self._reading, left, right)
        numbers = _pairs(left, right)
        for one, other in numbers:
            self._number(one, other)
        if not numbers:
            self._text(left, right)
        return True

    def _number(self, left: float, right: float) -> None:
        found = self._figures
        found.values += 1
        if left == right or (math.isnan(left) and math.isnan(right)):
            return
        found.numbers += 1
        beyond, border = self._rule.judge(left, right)
        found.beyond += beyond
        found.border += border
        try:
            absolute = abs(float(left) - float(right))
        except OverflowError:
            absolute = math.inf
        largest = max(abs(left), abs(right))
        relative = absolute / largest if math.isfinite(absolute) and largest else math.inf
        decade = math.floor(math.log10(relative)) if 0 < relative < math.inf else 99
        found.decades[decade] = found.decades.get(decade, 0) + 1
        if found.absolute is None or absolute > found.absolute.by:
            found.absolute = self._farthest(absolute, left, right)
        if found.relative is None or relative > found.relative.by:
            found.relative = self._farthest(relative, left, right)

    def _farthest(self, by: float, left: float, right: float) -> Farthest:
        return Farthest(by=by, where=self._reading.where(), left=repr(left), right=repr(right))

    def _text(self, left: Token, right: Token) -> None:
        found = self._figures
        found.texts += 1
        one, other = shown_token(left), shown_token(right)
        kind = _kind(one, other)
        if kind not in found.kinds:
            found.kinds.append(kind)
        if len(found.first) < _NAMED:
            found.first.append(f"{self._reading.where()}: {one} | {other}")


def _is_structure(token: Token) -> bool:
    return isinstance(token, bytes) and (token[:1] == b"@" or token in {b"\n", b"{", b"}", b"[", b"]"})


def _pairs(left: Token, right: Token) -> list[tuple[float, float]]:
    """Return the numbers of two tokens side by side; empty where they are texts."""
    a, b = value_of(left), value_of(right)
    if a is not None and b is not None:
        return [(a, b)]
    one, other = compound_of(left), compound_of(right)
    if one is None or other is None or one.around != other.around:
        return []
    return [(value_of(x) or 0.0, value_of(y) or 0.0) for x, y in zip(one.values, other.values, strict=True)]


def _kind(left: str, right: str) -> str:
    for name, pattern in (("dates", DATES), ("paths", _PATHS)):
        if pattern.sub("", left) == pattern.sub("", right):
            return name
    return "words"
