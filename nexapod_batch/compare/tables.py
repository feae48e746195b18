"""Where two tables first differ, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.compare.formats.lines import is_position
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.ports import Difference
from nexapod_batch.compare.shown import END, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.stream import Source

__all__ = ["first_unequal"]


def first_unequal(
    left: Source, right: Source, name: str, same: Callable[[Token, Token], bool]
) -> Difference | None:
    """Return the first place at which two tables have tokens that are not the `same`; None when there is none.

    Raises CompareError for a file that is no table.
    """
    reading, other = Reading(left), Reading(right)
    for a, b in _aligned(reading.batches, other.batches):
        if a == b:
            reading.passed(a)
            continue
        at = _first(a, b, same)
        reading.passed(a[:at])
        if at < max(len(a), len(b)):
            return Difference(name=name, where=reading.where(), left=_shown(a, at), right=_shown(b, at))
    return None


def _first(a: list[Token], b: list[Token], same: Callable[[Token, Token], bool]) -> int:
    """Return the index of the first two tokens that are not the same; where one side ends if there are none."""
    count = min(len(a), len(b))
    for at in range(count):
        if not same(a[at], b[at]):
            return at
    return count


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
        return END
    token = tokens[at]
    if not isinstance(token, bytes):
        return repr(token)
    if is_position(token):
        return f"(column {token[1:].decode()})"
    return printable(token)
