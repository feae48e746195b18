"""`round`: equal after rounding to `digits` decimal places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.compare.rounding import Rounding, normalizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON", "decimal_places"]


def decimal_places(digits: int, exact_integers: bool) -> Callable[[Token], bytes]:
    """Return the function that brings a token into its normal form: numbers with `digits` decimal places.

    It loses nothing of a whole number that a double holds; `exact_integers` says the same of the others.
    """
    tail = b"." + b"0" * digits if digits else b""
    style = b"%%.%df" % digits
    return normalizer(style, (lambda value: b"%d" % value + tail) if exact_integers else None)


class Round(Rounding):
    """Tables whose numbers are equal after rounding to decimal places."""

    def style(self, rule: CompareRule) -> bytes:
        """Return printf's style for numbers with a point."""
        return b"%%.%df" % (rule.digits or 0)


COMPARISON = Round(decimal_places)
