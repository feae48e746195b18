"""`allclose`: numbers with |a-b| <= atol + rtol max(|a|,|b|), and the same text around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare.numbers import closeness
from nexapod_batch.compare.ports import Comparison
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.tables import first_unequal

if TYPE_CHECKING:
    from nexapod_batch.compare.ports import Difference
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON"]


class AllClose(Comparison):
    """Tables within tolerances: no equivalence, so that only two files at a time can be compared."""

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
        """Return the first number that is not close, or the first text or shape that differs."""
        close = closeness(rule.rtol or 0.0, rule.atol or 0.0, exact_integers=rule.integers == "exact")
        return first_unequal(Source(left, name, rule), Source(right, name, rule), name, close)


COMPARISON = AllClose()
