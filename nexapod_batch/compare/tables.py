"""Where two tables first differ, token by token."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from nexapod_batch.compare.arrays import alike
from nexapod_batch.compare.formats.lines import is_position
from nexapod_batch.compare.formats.named import shown
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.ports import Difference
from nexapod_batch.compare.shown import END, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.compare.stream import Source

__all__ = ["aligned", "first_unequal", "shown_token"]


def first_unequal(
    left: Source, right: Source, name: str, same: Callable[[Token, Token], bool]
) -> Difference | None:
    """Return the first place at which two tables have tokens that are not the `same`; None when there is none.

    Raises CompareError for a file that is no table.
    """
    reading, other = Reading(left), Reading(right)
    for a, b in aligned(reading.batches, other.batches):
        if a == b:
            reading.passed(a)
            continue
        at = _first(a, b, same)
        reading.passed(a[:at])
        if at < max(len(a), len(b)):
            return Difference(name=name, where=reading.where(), left=_shown(a, at), right=_shown(b, at))
    return None


def _first(a: Batch, b: Batch, same: Callable[[Token, Token], bool]) -> int:
    """Return the index of the first two tokens that are not the same; where one side ends if there are none."""
    count, begin = min(len(a), len(b)), 0
    if isinstance(a, array) and isinstance(b, array):
        begin = alike(a, b, same)
    for at in range(begin, count):
        if not same(a[at], b[at]):
            return at
    return count


def aligned(left: Iterator[Batch], right: Iterator[Batch]) -> Iterator[tuple[Batch, Batch]]:
    """Yield batches of the same length from both sides; the last pair has one side shorter when its file is."""
    a: Batch = []
    b: Batch = []
    while True:
        a, b = a or _next(left), b or _next(right)
        if not a or not b:
            if a or b:
                yield a, b
            return
        if len(a) == len(b):
            yield a, b
            a = b = []
            continue
        count = min(len(a), len(b))
        yield a[:count], b[:count]
        a, b = a[count:], b[count:]


def _next(batches: Iterator[Batch]) -> Batch:
    return next((batch for batch in batches if batch), [])


def _shown(tokens: Batch, at: int) -> str:
    if at >= len(tokens):
        return END
    return shown_token(tokens[at])


def shown_token(token: Token) -> str:
    """Return a token as people may see it."""
    if not isinstance(token, bytes):
        return repr(token)
    if (begun := shown(token)) is not None:
        return printable(begun.encode())
    if is_position(token):
        return f"(column {token[1:].decode()})"
    return printable(token)
