"""What comparators that round have in common: tokens brought into a normal form, one by one.

Rounding is done on the double nearest to the token, with C's `printf`: correctly rounded, the same on every machine.
`-0` is `0`, also when it came from rounding. All NaN are one value.
"""

from __future__ import annotations

import math
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from nexapod_batch.compare import unordered
from nexapod_batch.compare.blocks import Known
from nexapod_batch.compare.compound import compound_of
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.numbers import Lent, value_of
from nexapod_batch.compare.ports import Difference, Normalization
from nexapod_batch.compare.stream import Source
from nexapod_batch.compare.tables import first_unequal
from nexapod_batch.errors import CompareError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from nexapod_batch.compare.blocks import Together
    from nexapod_batch.compare.numbers import Batch, Token
    from nexapod_batch.model.job import CompareRule

__all__ = ["Rounding", "normalizer", "text_form"]

#: Between these a double is no whole number that was too long, no overflow and no underflow.
_SAFE_LOW, _SAFE_HIGH = 1e-290, 1e15
#: First bytes of tokens that are never numbers.
_NEVER = frozenset(b'"\n=,;:()[]{}')
#: 17 significant digits identify every double.
_MAX_DIGITS = 17
_MINUS, _ZERO = b"-0"


class Rounding(Normalization):
    """Tables whose numbers are equal after rounding."""

    def __init__(self, by_digits: Callable[[int, bool], Callable[[Token], bytes]]) -> None:
        """Take what makes the function that brings a token into its normal form.

        It is told how many digits are kept, and whether whole numbers are exact.
        """
        self._rounded = lru_cache(maxsize=4)(by_digits)

    def normal_form(self, stream: BinaryIO, name: str, rule: CompareRule) -> Iterator[bytes]:
        """Yield the format, then the normal form of each token with a blank behind it.

        The format is a line, in which `approximate` stands where whole numbers are.
        """
        yield from self.normal(Source(stream, name, rule))

    def normal(self, source: Source) -> Iterator[bytes]:
        """Yield the normal form of a file of which nothing was taken yet."""
        rule = source.rule
        normal = self.token(rule)
        reading = Reading(source)
        head = reading.format if rule.integers == "exact" else f"{reading.format} {rule.integers}"
        yield f"{head}\n".encode()
        if rule.unordered:
            yield unordered.form(reading, normal)
            return
        style, exact, known = self.style(rule), rule.integers == "exact", Known(normal)
        for batch in reading.blocks:
            form = _together(batch, style, exact, known) if style else None
            if form is None:
                tokens = batch if isinstance(batch, list | array | Lent) else batch.tokens()
                form = b" ".join(map(normal, tokens)) + b" " if tokens else b""
            yield form

    def first_difference(self, left: BinaryIO, right: BinaryIO, name: str, rule: CompareRule) -> Difference | None:
        """Return the first token whose normal forms differ."""
        return self.differs(Source(left, name, rule), Source(right, name, rule), name)

    def differs(self, left: Source, right: Source, name: str) -> Difference | None:
        """Return the first difference of two files of which nothing was taken yet."""
        normal = self.token(left.rule)
        if left.rule.unordered:
            return unordered.difference(Reading(left), Reading(right), name, normal)
        return first_unequal(left, right, name, lambda a, b: normal(a) == normal(b))

    def style(self, rule: CompareRule) -> bytes:  # noqa: ARG002
        """Return printf's style for numbers with a point; b"" where there is none."""
        return b""

    def token(self, rule: CompareRule) -> Callable[[Token], bytes]:
        """Return the function that brings a token into its normal form: equal are tokens that have the same.

        Raises CompareError for digits that the comparator cannot use.
        """
        digits, least = rule.digits, rule.comparator.min_digits
        if digits is None or not least <= digits <= _MAX_DIGITS:
            wanted = f"{least} to {_MAX_DIGITS}"
            raise CompareError(f"{rule.comparator} cannot use these digits", got=digits, wanted=wanted)
        return self._rounded(digits, rule.integers == "exact")


def _together(batch: Batch | Lent | Together, style: bytes, exact_integers: bool, known: Known) -> bytes | None:
    """Return the normal form of a batch that is written at once; None where it must be token by token."""
    if isinstance(batch, list):
        return None
    if isinstance(batch, Lent):
        return _of_reals(batch.view, style)
    if isinstance(batch, array):
        return _of_reals(memoryview(batch), style)
    return batch.form(style, exact_integers, known)


def _of_reals(numbers: memoryview[Any], style: bytes) -> bytes | None:
    """Return the normal form of reals as a binary file holds them; None for other numbers, and what is not finite."""
    if numbers.format not in {"f", "d"}:
        return None
    values = numbers.tolist()
    if not math.isfinite(sum(values)):
        return None
    zero = style % 0.0 + b" "
    return ((style + b" ") * len(values) % tuple(values)).replace(b"-" + zero, zero)


def normalizer(style: bytes, whole: Callable[[int], bytes] | None) -> Callable[[Token], bytes]:
    """Return the function that brings a token into its normal form.

    `style` is printf's for numbers with a fraction or an exponent; `whole` writes whole numbers, of which it may round
    away nothing. Without it they are written as others.
    """
    finite = _finite(style)
    whole = whole or _as_finite(finite)

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


def _as_finite(finite: Callable[[float], bytes]) -> Callable[[int], bytes]:
    def whole(value: int) -> bytes:
        try:
            return finite(float(value))
        except OverflowError:  # larger than any double
            return b"%d" % value

    return whole


def _zero_in_front(token: bytes) -> bool:
    """Say whether the first digit is a zero that another one follows."""
    start = 1 if token[0] in b"+-" else 0
    return token[start] == _ZERO and token[start + 1 : start + 2].isdigit()


def _normal(token: Token, finite: Callable[[float], bytes], whole: Callable[[int], bytes]) -> bytes:
    value = value_of(token)
    if value is None:
        return text_form(token, lambda part: _normal(part, finite, whole))
    if isinstance(value, int):
        return whole(value)
    if math.isfinite(value):
        return finite(value)
    if math.isnan(value):
        return b"nan"
    if value > 0:
        return b"inf"
    return b"-inf"


def text_form(token: Token, normal: Callable[[Token], bytes]) -> bytes:
    """Return the normal form of what is no number, and may hold some."""
    if not isinstance(token, bytes):
        return b"%r" % token
    compound = compound_of(token)
    if compound is None:
        return token
    return compound.around.replace(b"\0", b"#") + b"|" + b"|".join(map(normal, compound.values))


def _finite(style: bytes) -> Callable[[float], bytes]:
    zero = style % 0.0

    def finite(value: float) -> bytes:
        text = style % value
        if text[0] == _MINUS and text[1:] == zero:
            return zero
        return text

    return finite
