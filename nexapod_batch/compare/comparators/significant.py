"""`significant`: equal after rounding to `digits` significant digits."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context
from typing import TYPE_CHECKING

from nexapod_batch.compare.rounding import Rounding, normalizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON", "significant_digits"]

#: Whole numbers below this fit a double exactly.
_EXACT = 10**15


def significant_digits(digits: int, exact_integers: bool) -> Callable[[Token], bytes]:
    """Return the function that brings a token into its normal form: numbers with `digits` significant digits."""
    return normalizer(b"%%.%de" % (digits - 1), _whole(digits) if exact_integers else None)


def _whole(digits: int) -> Callable[[int], bytes]:
    """Return how a whole number is written: as rounding writes it where that loses nothing, else in full."""
    context = Context(prec=digits, rounding=ROUND_HALF_EVEN)
    style = f".{digits - 1}e"

    def whole(value: int) -> bytes:
        text = b"%d" % value
        if len(text.strip(b"-0")) > digits:
            return text  # not even the number itself is written in so few digits
        if abs(value) < _EXACT:
            return format(float(value), style).encode()
        mantissa, exponent = format(context.create_decimal(value), style).split("e")
        return f"{mantissa}e{int(exponent):+03d}".encode()  # two exponent digits at least, as printf writes them

    return whole


class Significant(Rounding):
    """Tables whose numbers are equal after rounding to significant digits."""

    def style(self, rule: CompareRule) -> bytes:
        """Return printf's style for numbers with a point."""
        return b"%%.%de" % ((rule.digits or 1) - 1)


COMPARISON = Significant(significant_digits)
