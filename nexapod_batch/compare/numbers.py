"""Which tokens are numbers, and when two of them are close.

A number is what C and Fortran print: `1`, `-1.5`, `.5`, `1e-3`, `1.0D+03`, `nan`, `inf`, `-Infinity`. What may be a
name, or a part of a number, is text and equals only the same spelling: `00501`, and the `05` of `0,05` (a zero in
front); `1E05` and `1D05` (an exponent with neither a point nor, for E, a sign). An exponent of three digits may have
lost its letter, as in Fortran's `0.1234-100`. Rules that hold for every format:

- `-0` is `0`. `inf` equals only `inf` of the same sign.
- Whole numbers are exact: they count and name things. `2` is `2.00000000001` rounded, but 20261129 is never 20261131,
  unless the rule has `integers = "approximate"`.
- A number that a double cannot hold (`1e400`, `1e-400`) is text: it equals only the same spelling.
"""

from __future__ import annotations

import math
import re
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["Batch", "Closeness", "Lent", "Token", "value_of"]

#: A word of a file: text as bytes; a number as it was written, or as the value that a binary file holds.
Token = bytes | float | int


class Lent:
    """Numbers that lie in another's memory, until the next batch is asked for."""

    def __init__(self, view: memoryview[Any]) -> None:
        """Take numbers of a kind of `array`."""
        self.view = view

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.view)

    def __iter__(self) -> Iterator[int | float]:
        """Yield them one by one."""
        return iter(self.view)

    def __getitem__(self, which: slice) -> array[Any]:
        """Return a copy of some, which stays."""
        numbers: array[Any] = array(self.view.format)
        numbers.frombytes(self.view[which].cast("B"))
        return numbers


#: Tokens that a format yields together; numbers of a binary file as they lie in it.
Batch = list[Token] | array  # type: ignore[type-arg] # of numbers of any kind

_WHOLE = re.compile(rb"[+-]?(?:0|[1-9]\d*)")
_REAL = re.compile(
    rb"[+-]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?(?:0|[1-9]\d*)[eE][+-]\d+"
    rb"|[+-]?(?:nan|inf|infinity)",
    re.IGNORECASE,
)
_NO_LETTER = re.compile(rb"([+-]?\d?\.\d{2,})([+-][123]\d\d)")
_NOT_ZERO = re.compile(rb"[1-9]")
_FORTRAN = bytes.maketrans(b"dD", b"ee")
#: A whole number longer than this is text: no double is as large.
_MAX_CHARS = 300


def value_of(token: Token) -> float | int | None:
    """Return the value of a token that is a number, None for text. Whole numbers come as int."""
    if not isinstance(token, bytes):
        return token
    if _WHOLE.fullmatch(token):
        if len(token) <= _MAX_CHARS:
            return int(token)
        return None
    if _REAL.fullmatch(token) is not None:
        return _real(token)
    lost = _NO_LETTER.fullmatch(token)
    if lost is None:
        return None
    return _real(lost[1] + b"e" + lost[2])


def _real(token: bytes) -> float | None:
    """Return the value of what is spelled as a number with a fraction or an exponent; None where no double holds it."""
    spelled_finite = token[-1:].isdigit() or token[-1:] == b"."
    if not spelled_finite:  # nan, inf
        return float(token)
    value = float(token.translate(_FORTRAN))
    if math.isinf(value):
        return None
    if value == 0 and _NOT_ZERO.search(re.split(rb"[eEdD]", token)[0]):
        return None  # underflow: 1e-400 is not 0
    return value


def _differ(left: Token, right: Token) -> bool:  # noqa: ARG001
    return False


class Closeness:
    """Says whether two tokens are the same text, or numbers with |a-b| <= atol + rtol max(|a|,|b|).

    NaN is close to NaN and an infinity to itself: two replicas that both overflowed at the same place agree.
    """

    def __init__(
        self, rtol: float, atol: float, *, exact_integers: bool, within: Callable[[Token, Token], bool] = _differ
    ) -> None:
        """Take the tolerances.

        With `exact_integers` two whole numbers must be the same one; `within` is asked about two texts that are not.
        """
        self.rtol, self.atol, self.exact_integers = rtol, atol, exact_integers
        self._within = within

    def __call__(self, left: Token, right: Token) -> bool:
        """Say whether two tokens are close."""
        a, b = value_of(left), value_of(right)
        if a is None or b is None:
            return a is b and (left == right or self._within(left, right))
        if a == b:
            return True
        if self.exact_integers and isinstance(a, int) and isinstance(b, int):
            return False
        if not (math.isfinite(a) and math.isfinite(b)):
            return math.isnan(a) and math.isnan(b)
        return abs(a - b) <= self.atol + self.rtol * max(abs(a), abs(b))
