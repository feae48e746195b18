"""`content`: the same values, to the last digit, however the file holds them.

It is for files whose bytes say more than their content: packed ones, images, arrays, tables with dates in a header.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from nexapod_batch.compare.numbers import value_of
from nexapod_batch.compare.rounding import Rounding, text_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token
    from nexapod_batch.model.job import CompareRule

__all__ = ["COMPARISON", "spelled"]

#: Any two numbers of so few digits are different doubles.
_DOUBLE_DIGITS = 15
_FORTRAN = bytes.maketrans(b"dD", b"ee")


def spelled(token: Token) -> bytes:
    """Return the one spelling of a token: numbers of the same value have the same one."""
    value = value_of(token)
    if value is None:
        return text_form(token, spelled)
    if isinstance(value, int):
        return b"%d" % value
    if math.isnan(value):
        return b"nan"
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    if isinstance(token, bytes) and len(token) > _DOUBLE_DIGITS:
        written = Decimal(token.translate(_FORTRAN).decode())
        if len(written.normalize().as_tuple().digits) > _DOUBLE_DIGITS:
            return f"{written.normalize():E}".encode()
    if value == int(value):
        return b"%d" % int(value)
    return repr(value).encode()


class Content(Rounding):
    """Tables whose values are the same."""

    def token(self, rule: CompareRule) -> Callable[[Token], bytes]:  # noqa: ARG002
        """Return the function that spells a token."""
        return spelled


COMPARISON = Content(lambda _digits, _exact: spelled)
