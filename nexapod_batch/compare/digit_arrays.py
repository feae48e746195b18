"""Many numbers at once: read from their digits, rounded, and written, by NumPy.

Everything is done in whole numbers, so that nothing is lost: a number is `magnitude x 10^scale`. Rounding is that of
the double nearest to what is written, which differs from rounding what is written next to a border alone: what lies
there is left out (`sure`), and whoever asked reads it by itself.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    #: An array of NumPy: of bytes, of whole numbers, of truth values.
    Array = np.ndarray[Any, Any]
    #: Whole numbers, or one for all.
    Counts = Array | int

__all__ = ["MOST_DIGITS", "PADDING", "Decimals", "Places", "Rounded", "parsed", "put", "records", "rounded"]

#: Bytes that are to stand before and behind the text, as it is read eight characters at a time.
PADDING = 32
#: Digits up to which a number of as many digits is told by its double.
MOST_DIGITS = 15
#: Digits of the whole part, and of the fraction, that are read; of a longer fraction the rest is only looked at.
_MOST_WHOLE, _MOST_FRACTION, _LONGEST_FRACTION = 16, 16, 24
#: Digits that a magnitude may have.
_MOST_MAGNITUDE = 18
#: Powers of ten up to this are doubles, and whole numbers below that are.
_EXACT_POWER, _EXACT_WHOLE = 22, 1 << 53


class Places(NamedTuple):
    """Where words stand in a text."""

    start: Array
    end: Array
    point: Array  # where the decimal point stands, `end` where there is none
    exponent: Array  # where the letter of the exponent stands, -1 where there is none


class Decimals(NamedTuple):
    """What words are worth; where one is not `sure`, it may be anything."""

    magnitude: Array
    scale: Array
    negative: Array
    whole: Array  # whether it is written without point and exponent
    longer: Array  # whether digits follow that `magnitude` leaves out
    sure: Array


class Rounded(NamedTuple):
    """Numbers of so many digits: `digits x 10^(exponent - count + 1)`; both are 0 for zero."""

    digits: Array
    exponent: Array
    lost: Array  # whether something was left out
    sure: Array


@cache
def _powers() -> Array:
    """Return the powers of ten that a whole number of eight bytes holds."""
    import numpy as np  # noqa: PLC0415 - whoever calls has looked whether it is there

    return np.array([10**power for power in range(20)], np.uint64)


@cache
def _doubles() -> Array:
    """Return the powers of ten that are doubles."""
    import numpy as np  # noqa: PLC0415

    return np.array([10.0**power for power in range(_EXACT_POWER + 1)])


class _Digits:
    """Characters of a text, read eight at a time; of a word of them the lowest byte is the first character."""

    def __init__(self, text: bytes) -> None:
        import numpy as np  # noqa: PLC0415

        self._eights = np.ndarray((len(text) - 7,), "<u8", buffer=text, strides=(1,))
        self._other: Array = np.zeros((), np.uint64)

    def before(self, places: Array, count: Counts) -> Array:
        """Return the number that the last `count` of the eight characters before each place are."""
        shift = _as_shift(count)
        eight = self._eights[PADDING - 8 :][places]
        eight ^= 0x3030303030303030
        eight >>= shift
        eight <<= shift
        return self._number(eight)

    def behind(self, places: Array, skipped: int, count: Counts) -> Array:
        """Return the number that the first `count` of the eight characters behind each place are.

        No more may be skipped than the padding has behind those.
        """
        eight = self._eights[PADDING + skipped :][places]
        eight ^= 0x3030303030303030
        eight <<= _as_shift(count)
        return self._number(eight)

    def are_all(self) -> Array:
        """Say for each place whether all that was read were digits."""
        good: Array = (self._other & 0x8080808080808080) == 0
        return good

    def _number(self, eight: Array) -> Array:
        self._other = self._other | (eight + 0x7676767676767676) | eight  # a byte above 9 has its highest bit
        eight *= 2561
        eight >>= 8
        eight &= 0x00FF00FF00FF00FF
        eight *= 6553601
        eight >>= 16
        eight &= 0x0000FFFF0000FFFF
        eight *= 42949672960001
        eight >>= 32
        return eight


def _as_shift(count: Counts) -> Array:
    """Return by how many bits a word of eight characters is shifted of which so many are read."""
    import numpy as np  # noqa: PLC0415

    return np.asarray(64 - 8 * count).astype(np.uint64)


def _settled(counts: Array) -> Counts:
    """Return one number where all are the same, as in most tables: what is done with it is then done once."""
    if not len(counts) or (counts != counts[0]).any():
        return counts
    return int(counts[0])


def _most(counts: Counts) -> int:
    return counts if isinstance(counts, int) else int(counts.max(initial=0))


def _within(counts: Counts, low: int, high: int) -> Counts:
    """Return numbers that are brought between two others."""
    if isinstance(counts, int):
        return min(max(counts, low), high)
    if not len(counts) or (counts.min() >= low and counts.max() <= high):
        return counts  # which is found out in half the time
    return counts.clip(low, high)


def parsed(text: bytes, places: Places) -> Decimals:
    """Return what words are worth; `text` has its padding, and `places` count from behind it."""
    import numpy as np  # noqa: PLC0415

    letters = np.frombuffer(text, np.uint8)[PADDING:]
    first = letters[places.start]
    negative = first == ord("-")
    begin = places.start + (negative | (first == ord("+")))
    has_exponent = places.exponent >= 0
    lettered = bool(has_exponent.any())
    end = np.where(has_exponent, places.exponent, places.end) if lettered else places.end
    before, behind = _settled(places.point - begin), _settled(end - places.point - 1)
    behind = _within(behind, 0, len(letters))
    kept = _within(behind, 0, _MOST_FRACTION)
    magnitude, sure = _magnitude(_Digits(text), places.point, before, behind)
    if _most(before) > 1:
        sure &= (before <= 1) | (letters[begin] != ord("0"))
    scale = np.zeros(len(first), np.int64) - kept
    if lettered:
        scale += _exponents(letters, places, has_exponent, sure)
    whole = places.point == places.end
    longer = np.zeros(len(first), bool) | (np.asarray(behind) > kept)
    return Decimals(magnitude, scale, negative, whole, longer, sure)


def _magnitude(digits: _Digits, points: Array, before: Counts, behind: Counts) -> tuple[Array, Array]:
    """Return the digits around points as whole numbers, so many of them, and which are surely all digits and held."""
    import numpy as np  # noqa: PLC0415

    powers, most = _powers(), _most(behind)
    sure = np.ones(len(points), bool)
    if _most(before) > _MOST_WHOLE or most > _LONGEST_FRACTION:
        sure &= (np.asarray(before) <= _MOST_WHOLE) & (np.asarray(behind) <= _LONGEST_FRACTION)
    if _most(before) + min(most, _MOST_FRACTION) > _MOST_MAGNITUDE:
        sure &= before + _within(behind, 0, _MOST_FRACTION) <= _MOST_MAGNITUDE
    sure &= np.asarray(before + behind > 0)
    magnitude = digits.before(points, _within(before, 0, 8))
    if _most(before) > 8:
        magnitude += 100_000_000 * digits.before(points - 8, _within(before - 8, 0, 8))
    for skipped in range(0, min(most, _LONGEST_FRACTION), 8):
        count = _within(behind - skipped, 0, 8)
        number = digits.behind(points, 1 + skipped, count)
        if skipped < _MOST_FRACTION:
            magnitude *= powers[count]
            magnitude += number
    return magnitude, sure & digits.are_all()


def _exponents(letters: Array, places: Places, has_exponent: Array, sure: Array) -> Array:
    """Return the exponents of two digits, 0 where there is none; nothing is sure where there is another one."""
    mark = places.exponent
    sign, tens, ones = letters[1:][mark], letters[2:][mark] - ord("0"), letters[3:][mark] - ord("0")
    minus = sign == ord("-")
    good = (places.end - mark == 4) & (minus | (sign == ord("+"))) & (tens <= 9) & (ones <= 9)
    sure &= good & (places.point < mark) | ~has_exponent
    value = (tens * 10 + ones).astype("i8")
    exponents: Array = value * (1 - 2 * minus) * has_exponent
    return exponents


def rounded(decimals: Decimals, digits: int) -> Rounded:
    """Return numbers rounded to `digits` digits."""
    import numpy as np  # noqa: PLC0415

    powers = _powers()
    length = _lengths(decimals.magnitude)
    if not len(length) or length.max() <= digits:
        return _not_cut(decimals, length, digits)
    cut = _settled(np.maximum(length - digits, 0))
    divisor = powers[cut]
    kept = decimals.magnitude // divisor
    rest = (decimals.magnitude - kept * divisor).view(np.int64)
    half = (divisor >> np.uint64(1)).astype(np.int64)
    up = (rest > half) & (divisor > 1)
    sure = decimals.sure & ~((length <= digits) & decimals.longer)
    slack = (decimals.magnitude >> 53).view(np.int64) + decimals.longer
    ties = np.flatnonzero((np.abs(rest - half) <= slack) & (divisor > 1) & decimals.sure)
    if len(ties):
        up[ties], settled = _ties(decimals, ties, rest[ties] == np.broadcast_to(half, rest.shape)[ties])
        sure[ties] &= settled
    if (length < digits).any():
        kept *= powers[np.clip(digits - length, 0, digits)]
    kept += up
    carried = kept == 10**digits
    kept[carried] = 10 ** (digits - 1)
    exponent = length - 1 + decimals.scale + carried
    exponent[decimals.magnitude == 0] = 0
    return Rounded(kept, exponent, rest != 0, sure & (np.abs(exponent) < 100))


def _not_cut(decimals: Decimals, length: Array, digits: int) -> Rounded:
    """Return numbers of which none has more digits than are kept, and so none is rounded."""
    import numpy as np  # noqa: PLC0415

    kept = decimals.magnitude * _powers()[np.minimum(digits - length, digits)]
    exponent = (length - 1 + decimals.scale) * (decimals.magnitude != 0)
    sure = decimals.sure & ~decimals.longer & (np.abs(exponent) < 100)
    return Rounded(kept, exponent, np.zeros(len(length), bool), sure)


def _lengths(magnitude: Array) -> Array:
    """Return how many digits whole numbers have: 0 for 0."""
    import numpy as np  # noqa: PLC0415

    bits = (magnitude.astype(np.float64).view(np.int64) >> 52) - 1022  # one more than the logarithm to 2; less for 0
    length: Array = np.maximum(bits * 1233 >> 12, 0)  # of the least number that has so many bits, or one digit less
    length += magnitude >= _powers()[length]
    return length


def _ties(decimals: Decimals, ties: Array, exactly: Array) -> tuple[Array, Array]:
    """Return for what is written halfway between two numbers whether its double lies above, and where that is sure."""
    import numpy as np  # noqa: PLC0415

    magnitude, scale = decimals.magnitude[ties], decimals.scale[ties]
    settled = exactly & (magnitude < _EXACT_WHOLE) & (np.abs(scale) <= _EXACT_POWER) & ~decimals.longer[ties]
    power = _doubles()[np.where(settled, np.abs(scale), 0)]
    double = magnitude.astype(np.float64)
    finer = magnitude.astype(np.longdouble)
    double = np.where(scale < 0, double / power, double * power)
    finer = np.where(scale < 0, finer / power, finer * power)
    return double > finer, settled & (double != finer)


def records(kept: Array, exponent: Array, digits: int) -> list[Array]:
    """Return numbers as `d.ddde+dd ` in words of eight characters each, of which the lowest byte is the first."""
    import numpy as np  # noqa: PLC0415

    powers = _powers()
    size = np.abs(exponent).astype(np.uint64)
    tens = size // 10
    tail = np.where(exponent < 0, np.uint64(0x2030302D65), np.uint64(0x2030302B65))  # `e-00 `, `e+00 `
    tail = tail + (tens << 16) + (size - tens * 10 << 24)
    first = kept // powers[digits - 1]
    rest = kept - first * powers[digits - 1]
    found = [first + ord("0")]
    if digits > 1:
        found[0] = found[0] | (ord(".") << 8)
        for at in range(0, digits - 1, 8):
            count = min(8, digits - 1 - at)
            behind = powers[digits - 1 - at - count]
            group = rest // behind
            rest = rest - group * behind
            put(found, _written(group * powers[8 - count]) & ((1 << 8 * count) - 1), 2 + at, count)
    put(found, tail, digits + (digits > 1), len("e+00 "))
    return found


def _written(value: Array) -> Array:
    """Return whole numbers below 10^8 as eight characters."""
    high = value // 10_000
    pair = high | (value - high * 10_000 << 32)
    high = (pair * 10_486 >> 20) & 0x0000007F0000007F
    pair = high | (pair - high * 100 << 16)
    high = (pair * 103 >> 10) & 0x000F000F000F000F
    characters: Array = (high | (pair - high * 10 << 8)) + 0x3030303030303030
    return characters


def put(words: list[Array], value: Array, at: int, most: int = 8) -> None:
    """Put up to `most` characters, and no others, at a place behind which nothing stands yet."""
    word, byte = divmod(at, 8)
    while len(words) <= word + 1:
        words.append(words[0] * 0)
    words[word] = words[word] | (value << 8 * byte)
    if byte + most > 8:
        words[word + 1] = words[word + 1] | (value >> 8 * (8 - byte))
