"""Where two tables first differ, token by token."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from nexapod_batch.compare.arrays import Alike
from nexapod_batch.compare.blocks import Block
from nexapod_batch.compare.formats.lines import is_position
from nexapod_batch.compare.formats.named import shown
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.numbers import Lent
from nexapod_batch.compare.ports import Difference
from nexapod_batch.compare.shown import END, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from nexapod_batch.compare.blocks import Together
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
    alike = Alike(same)
    for a, b in aligned(reading, other):
        if isinstance(a, Block) or isinstance(b, Block):
            assert isinstance(a, Block)  # noqa: S101 - then both are, and the same
            reading.passed_block(a)
            continue
        if isinstance(a, list) and a == b:
            reading.passed(a)
            continue
        at = _first(a, b, same, alike)
        reading.passed(a if at == len(a) else a[:at])
        if at < max(len(a), len(b)):
            ours, theirs = _shown(a[at : at + 1]), _shown(b[at : at + 1])
            return Difference(name=name, where=reading.where(), left=ours, right=theirs)
    return None


def _first(a: Batch | Lent, b: Batch | Lent, same: Callable[[Token, Token], bool], alike: Alike) -> int:
    """Return the index of the first two tokens that are not the same; where one side ends if there are none."""
    count, begin = min(len(a), len(b)), 0
    if not isinstance(a, list) and not isinstance(b, list):
        begin = alike(_view(a), _view(b))
    if begin == count:
        return count
    for at, (one, other) in enumerate(zip(a[begin:count], b[begin:count], strict=True), begin):
        if not same(one, other):
            return at
    return count


def _view(numbers: array[Any] | Lent) -> memoryview[Any]:
    return numbers.view if isinstance(numbers, Lent) else memoryview(numbers)


def aligned(
    left: Reading, right: Reading
) -> Iterator[tuple[Batch | Lent, Batch | Lent] | tuple[Block, Block]]:
    """Yield batches of the same length from both sides; the last pair has one side shorter when its file is.

    Whole lines that are the same on both sides are left together: most of large files is read no further.
    """
    a: Batch | Lent = []
    b: Batch | Lent = []
    while True:
        if not a and not b:
            one, other = _next(left.blocks), _next(right.blocks)
            if isinstance(one, Block) and isinstance(other, Block) and _are_same(one, other):
                yield one, other
                continue
            a, b = _tokens(one), _tokens(other)
        a, b = a or _tokens(_next(left.blocks)), b or _tokens(_next(right.blocks))
        if not a or not b:
            if a or b:
                yield a, b
            return
        if len(a) == len(b):
            yield a, b
            a = b = []
            continue
        count = min(len(a), len(b))
        yield _part(a, 0, count), _part(b, 0, count)
        a, b = _part(a, count, len(a)), _part(b, count, len(b))


def _part(batch: Batch | Lent, begin: int, end: int) -> Batch | Lent:
    """Return some tokens; of numbers that are lent, where they lie: the rest is looked at before more is asked for."""
    return Lent(batch.view[begin:end]) if isinstance(batch, Lent) else batch[begin:end]


def _next(blocks: Iterator[Batch | Lent | Together]) -> Batch | Lent | Together:
    return next((block for block in blocks if block), [])


def _tokens(block: Batch | Lent | Together) -> Batch | Lent:
    return block if isinstance(block, list | array | Lent) else block.tokens()


def _are_same(one: Block, other: Block) -> bool:
    """Say whether two blocks are the same lines, read in the same way."""
    return one.raw == other.raw and one.layout == other.layout


def _shown(tokens: Batch) -> str:
    if not tokens:
        return END
    return shown_token(tokens[0])


def shown_token(token: Token) -> str:
    """Return a token as people may see it."""
    if not isinstance(token, bytes):
        return repr(token)
    if (begun := shown(token)) is not None:
        return printable(begun.encode())
    if is_position(token):
        return f"(column {token[1:].decode()})"
    return printable(token)
