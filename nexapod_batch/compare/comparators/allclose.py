"""`allclose`: numbers with |a-b| <= atol + rtol max(|a|,|b|), and the same text around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare.compound import compound_of
from nexapod_batch.compare.numbers import Closeness
from nexapod_batch.compare.ports import Comparison
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.tables import first_unequal

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.compare.ports import Difference
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON"]


class AllClose(Comparison):
    """Tables within tolerances: no equivalence, so that only two files at a time can be compared."""

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
        """Return the first number that is not close, or the first text or shape that differs."""
        close = self.close(rule)
        return first_unequal(Source(left, name, rule), Source(right, name, rule), name, close)


    def close(self, rule: CompareRule) -> Callable[[Token, Token], bool]:
        """Return what says whether two tokens are close, or hold numbers that are."""
        rtol, atol, exact = rule.rtol or 0.0, rule.atol or 0.0, rule.integers == "exact"
        alone = Closeness(rtol, atol, exact_integers=exact)

        def within(left: Token, right: Token) -> bool:
            a, b = compound_of(left), compound_of(right)
            if a is None or b is None or a.around != b.around:
                return False
            return all(map(alone, a.values, b.values))

        return Closeness(rtol, atol, exact_integers=exact, within=within)


COMPARISON = AllClose()
