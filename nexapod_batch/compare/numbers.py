"""Which tokens are numbers, how a number is rounded, and when two are close.

A number is what C and Fortran print: `1`, `-1.5`, `.5`, `1e-3`, `1.0D+03`, `nan`, `inf`, `-Infinity`. What may be a
name, or a part of a number, is text and equals only the same spelling: `00501`, and the `05` of `0,05` (a zero in
front); `1E05` and `1D05` (an exponent with neither a point nor, for E, a sign). Rules that hold for every format:

- Rounding is done on the double nearest to the token, with C's `printf`: correctly rounded, the same on every machine.
- `-0` is `0`, also when it came from rounding. All NaN are one value. `inf` equals only `inf` of the same sign.
- Whole numbers are exact: they count and name things. `2` is `2.00000000001` rounded, but 20261129 is never 20261131.
- A number that a double cannot hold (`1e400`, `1e-400`) is text: it equals only the same spelling.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_EVEN, Context
from typing import TYPE_CHECKING

from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.model.job import CompareRule

__all__ = ["Token", "closeness", "normalizer", "value_of"]

#: A word of a file: text as bytes; a number as it was written, or as the value that a binary file holds.
Token = bytes | float | int

_WHOLE = re.compile(rb"[+-]?(?:0|[1-9]\d*)")
_REAL = re.compile(
    rb"[+-]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?(?:0|[1-9]\d*)[eE][+-]\d+"
    rb"|[+-]?(?:nan|inf|infinity)",
    re.IGNORECASE,
)
_MANTISSA = re.compile(rb"[1-9]")
_FORTRAN = bytes.maketrans(b"dD", b"ee")
#: Whole numbers below this fit a double exactly.
_EXACT = 10**15
#: A whole number longer than this is text: no double is as large.
_MAX_CHARS = 300
#: Between these a double is no whole number that was too long, no overflow and no underflow.
_SAFE_LOW, _SAFE_HIGH = 1e-290, 1e15
#: First bytes of tokens that are never numbers.
_NEVER = frozenset(b'"\n=,;:()[]{}')
#: 17 significant digits identify every double.
_MAX_DIGITS = 17


def value_of(token: Token) -> float | int | None:
    """Return the value of a token that is a number, None for text. Whole numbers come as int."""
    if not isinstance(token, bytes):
        return token
    if _WHOLE.fullmatch(token):
        return int(token) if len(token) <= _MAX_CHARS else None
    if _REAL.fullmatch(token) is None:
        return None
    # The D of Fortran; `nan` and `inf` contain no d that is followed by digits, `infinity` none at all.
    value = float(token.translate(_FORTRAN) if token[-1:].isdigit() else token)
    spelled_finite = token[-1:].isdigit() or token[-1:] == b"."
    if spelled_finite and math.isinf(value):
        return None
    if value == 0 and _MANTISSA.search(re.split(rb"[eEdD]", token)[0]):
        return None  # underflow: 1e-400 is not 0
    return value


def normalizer(rule: CompareRule) -> Callable[[Token], bytes]:
    """Return the function that brings a token into its normal form; only for `round` and `significant`.

    Two tokens are equal under the rule exactly when their normal forms are. Raises CompareError for digits that the
    comparator cannot use.
    """
    digits = rule.digits
    least = 1 if rule.comparator is Comparator.SIGNIFICANT else 0
    if digits is None or not least <= digits <= _MAX_DIGITS:
        raise CompareError(f"{rule.comparator} cannot use these digits", got=digits, wanted=f"{least} to {_MAX_DIGITS}")
    style = b"%%.%de" % (digits - 1) if least else b"%%.%df" % digits
    whole = _whole_significant(digits) if least else _whole_round(digits)
    finite = _finite(style)

    def normal(token: Token) -> bytes:
        # The short way for nearly every token of a real table; it decides nothing that the long one would not.
        if isinstance(token, bytes):
            if token[0] in _NEVER:
                return token
            if b"." in token and not _zero_in_front(token):
                try:
                    number = float(token)
                except ValueError:
                    number = 0.0
                if (_SAFE_LOW < number < _SAFE_HIGH or -_SAFE_HIGH < number < -_SAFE_LOW) and b"_" not in token:
                    return finite(number)
        return _normal(token, finite, whole)

    return normal


def _zero_in_front(token: bytes) -> bool:
    """Say whether the first digit is a zero that another one follows."""
    start = 1 if token[0] in b"+-" else 0
    return token[start] == 48 and token[start + 1 : start + 2].isdigit()  # 48: zero


def _normal(token: Token, finite: Callable[[float], bytes], whole: Callable[[int], bytes]) -> bytes:
    value = value_of(token)
    if value is None:
        return token if isinstance(token, bytes) else b"%r" % token
    if isinstance(value, int):
        return whole(value)
    if math.isfinite(value):
        return finite(value)
    return b"nan" if math.isnan(value) else b"inf" if value > 0 else b"-inf"


def _finite(style: bytes) -> Callable[[float], bytes]:
    zero = style % 0.0

    def finite(value: float) -> bytes:
        text = style % value
        return zero if text[0] == 45 and text[1:] == zero else text  # 45: minus

    return finite


def closeness(rule: CompareRule) -> Callable[[Token, Token], bool]:
    """Return whether two tokens are the same text, or numbers with |a-b| <= atol + rtol max(|a|,|b|).

    NaN is close to NaN and an infinity to itself: two replicas that both overflowed at the same place agree.
    """
    atol, rtol = rule.atol or 0.0, rule.rtol or 0.0

    def close(left: Token, right: Token) -> bool:
        a, b = value_of(left), value_of(right)
        if a is None or b is None:
            return a is b and left == right
        if a == b:
            return True
        if not (math.isfinite(a) and math.isfinite(b)):
            return math.isnan(a) and math.isnan(b)
        return abs(a - b) <= atol + rtol * max(abs(a), abs(b))

    return close


def _whole_round(digits: int) -> Callable[[int], bytes]:
    tail = b"." + b"0" * digits if digits else b""
    return lambda value: b"%d" % value + tail


def _whole_significant(digits: int) -> Callable[[int], bytes]:
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
