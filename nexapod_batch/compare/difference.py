"""Where two versions of one output first differ, for the difference report and for `allclose`."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from nexapod_batch.compare.formats import Reading, is_position
from nexapod_batch.compare.numbers import closeness, normalizer
from nexapod_batch.compare.stream import CHUNK, Source
from nexapod_batch.model.job import Comparator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.model.job import CompareRule

__all__ = ["Difference", "allclose", "first_difference"]

_SHOWN = 60
_END = "(end of file)"


class Difference(Struct, frozen=True, kw_only=True):
    """The first place at which two versions of a file differ."""

    name: str  # of the file
    where: str  # `line 3, word 2`, `row 3, column 2`, `.runs[3].energy`, `element 17`, `byte 12 (line 2)`
    left: str  # what stands there, shortened and printable
    right: str


def allclose(left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
    """Return the first place where |a-b| > atol + rtol max(|a|,|b|), or text or shape differ; None when all is close.

    Raises CompareError for a file that is no table.
    """
    return _compare(Reading(left, name), Reading(right, name), name, closeness(rule))


def first_difference(left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
    """Return the first place at which two files differ under the rule; None when they are equal under it.

    Raises CompareError for a file that is no table, unless the rule is `exact`.
    """
    if rule.comparator is Comparator.EXACT:
        return _bytes(Source(left, name), Source(right, name), name)
    if rule.comparator is Comparator.ALLCLOSE:
        return allclose(left, right, name, rule)
    normal = normalizer(rule)
    return _compare(Reading(left, name), Reading(right, name), name, lambda a, b: normal(a) == normal(b))


def _compare(left: Reading, right: Reading, name: str, same: Callable[[Token, Token], bool]) -> Difference | None:
    for a, b in _aligned(left.batches, right.batches):
        if a != b or any(token != token for token in a):  # noqa: PLR0124 - NaN
            count = min(len(a), len(b))
            at = next((i for i in range(count) if not same(a[i], b[i])), count)
            if at < max(len(a), len(b)):
                left.passed(a[:at])
                return Difference(name=name, where=left.where(), left=_shown(a, at), right=_shown(b, at))
        left.passed(a)
    return None


def _aligned(left: Iterator[list[Token]], right: Iterator[list[Token]]) -> Iterator[tuple[list[Token], list[Token]]]:
    """Yield batches of the same length from both sides; the last pair has one side shorter when its file is."""
    a: list[Token] = []
    b: list[Token] = []
    while True:
        a, b = a or _next(left), b or _next(right)
        if not a or not b:
            if a or b:
                yield a, b
            return
        count = min(len(a), len(b))
        yield a[:count], b[:count]
        a, b = a[count:], b[count:]


def _next(batches: Iterator[list[Token]]) -> list[Token]:
    return next((batch for batch in batches if batch), [])


def _shown(tokens: list[Token], at: int) -> str:
    if at >= len(tokens):
        return _END
    token = tokens[at]
    if is_position(token) and isinstance(token, bytes):
        return f"(column {token[1:].decode()})"
    return _printable(token) if isinstance(token, bytes) else repr(token)


def _printable(data: bytes) -> str:
    if data == b"\n":
        return "(end of line)"
    text = data[:_SHOWN].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text + ("..." if len(data) > _SHOWN else "")


def _bytes(left: Source, right: Source, name: str) -> Difference | None:
    offset, line = 0, 1
    while True:
        a, b = left.read(CHUNK), right.read(CHUNK)
        if a != b:
            at = _first_unequal(a, b)
            line += a.count(b"\n", 0, at)
            where = f"byte {offset + at} (line {line})"
            return Difference(name=name, where=where, left=_context(a, at), right=_context(b, at))
        if not a:
            return None
        offset += len(a)
        line += a.count(b"\n")


def _first_unequal(a: bytes, b: bytes) -> int:
    """Return the length of the common start, by bisection: comparing slices is a hundred times faster than bytes."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _context(data: bytes, at: int) -> str:
    """Return what stands at `at`: from the start of its line where that is near, to the end of the line."""
    if at >= len(data):
        return _END
    start = max(data.rfind(b"\n", 0, at) + 1, at - _SHOWN // 2)
    end = data.find(b"\n", at)
    return _printable(data[start : len(data) if end < 0 else end] or b"\n")
