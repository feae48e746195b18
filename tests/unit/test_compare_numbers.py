"""Numbers: which tokens are numbers, how they round, when they are close."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.compare.numbers import Closeness, value_of
from nexapod_batch.compare.registry import comparison
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token


def rule(comparator: str, digits: int | None) -> CompareRule:
    """Return a rounding rule."""
    return CompareRule(comparator=Comparator(comparator), digits=digits)


def normalizer(one: CompareRule) -> Callable[[Token], bytes]:
    """Return how a rule writes a token."""
    return comparison(one.comparator).token(one)  # type: ignore[attr-defined] # both comparators that round


def close(left: bytes, right: bytes, rtol: float = 0.0, atol: float = 0.0) -> bool:
    """Compare two tokens by closeness."""
    return Closeness(rtol, atol, exact_integers=False)(left, right)


@pytest.mark.parametrize(
    ("token", "expected"),
    [(b"1", 1.0), (b"-.5", -0.5), (b"+2.", 2.0), (b"1e-3", 1e-3), (b"1.0D+03", 1e3), (b"-Infinity", -math.inf)],
)
def test_spellings_of_numbers(token: bytes, expected: float) -> None:
    """C's, Python's and Fortran's spellings are numbers."""
    assert expected == value_of(token)


@pytest.mark.parametrize("token", [
    b"1_0", b"0x10", b"1e", b".", b"-", b"e5", b"nano", b"1,5", b"1.2.3", b"\xd9\xa1", b"05", b"-007", b"00.5",
    b"0012.5e3", b"1E05", b"12e5", b"1D05", b"1D+05", b"-00000000000000000000",
])
def test_words_that_are_no_numbers(token: bytes) -> None:
    """What Python's float takes beyond C, and what nobody takes, is text, also for rounding."""
    assert value_of(token) is None
    assert token == normalizer(rule("round", 2))(token)


@pytest.mark.parametrize("token", [b"1e400", b"-1e400", b"1e-400", b"9" * 400])
def test_numbers_beyond_a_double_are_text(token: bytes) -> None:
    """An overflow is not infinity, and an underflow is not zero."""
    assert value_of(token) is None
    assert token == normalizer(rule("significant", 3))(token)


@pytest.mark.parametrize(
    ("comparator", "digits", "left", "right"),
    [
        ("round", 2, b"-0.001", b"0"),
        ("round", 2, b"1.234", b"1.2301"),
        ("round", 0, b"7", b"7.2"),
        ("round", 3, b"-NaN", b"nan"),
        ("round", 1, b"-0", b"0.0"),
        ("round", 1, b"+12", b"12.0"),
        ("significant", 8, b"1.00000000123", b"1"),
        ("significant", 3, b"-0.0", b"0"),
        ("significant", 3, b"1.2345E+02", b"123"),
        ("significant", 3, b"123000000000000000000", b"1.23e20"),
        ("significant", 1, b"100000000000000000000", b"1e+20"),
        ("significant", 6, b"20261129.2", b"20261131.1"),
        ("significant", 3, b"1.5D+03", b"1.5e3"),
    ],
)
def test_equal_after_rounding(comparator: str, digits: int, left: bytes, right: bytes) -> None:
    """Tokens that round to the same number have one normal form."""
    normal = normalizer(rule(comparator, digits))
    assert normal(left) == normal(right)


@pytest.mark.parametrize(
    ("comparator", "digits", "left", "right"),
    [
        ("round", 2, b"1.23", b"1.24"),
        ("round", 2, b"9007199254740993", b"9007199254740992"),
        ("round", 2, b"inf", b"-inf"),
        ("significant", 3, b"1.23", b"-1.23"),
        ("significant", 17, b"12345678901234567", b"12345678901234568"),
        ("significant", 2, b"nan", b"inf"),
        ("significant", 2, b"1e-30", b"0"),
        ("significant", 3, b"123400000000000000000", b"1.23e20"),
        ("significant", 6, b"20261129", b"20261131"),
        ("significant", 6, b"20261129", b"20261129.4"),
        ("significant", 3, b"00501", b"501"),
        ("significant", 3, b"007.5", b"7.5"),
        ("significant", 3, b"05", b"5"),
        ("significant", 3, b"05E3", b"5E3"),
        ("significant", 3, b"1D05", b"1E05"),
        ("significant", 3, b"1E05", b"100000"),
        ("round", 1, b"00000000000000000012", b"12"),
    ],
)
def test_different_after_rounding(comparator: str, digits: int, left: bytes, right: bytes) -> None:
    """Tokens that round to different numbers have different normal forms."""
    normal = normalizer(rule(comparator, digits))
    assert normal(left) != normal(right)


@pytest.mark.parametrize(("comparator", "digits"), [("round", -1), ("round", 18), ("significant", 0), ("round", None)])
def test_digits_that_cannot_be_used(comparator: str, digits: int | None) -> None:
    """Digits out of range are named with the range."""
    with pytest.raises(CompareError, match=r"wanted [01] to 17"):
        normalizer(rule(comparator, digits))


def test_closeness() -> None:
    """The tolerance is relative to the larger of both, so that the order does not matter."""
    assert close(b"100", b"101", rtol=0.01)
    assert not close(b"100", b"101.1", rtol=0.01)
    assert close(b"nan", b"-nan")
    assert close(b"inf", b"inf")
    assert not close(b"inf", b"1e308", rtol=1.0)
    assert not close(b"1", b"one", atol=9.0)
    assert close(b"one", b"one")
    assert not close(b"9007199254740993", b"9007199254740992", atol=0.5)


@given(st.floats(), st.integers(1, 17))
def test_rounding_agrees_with_the_value(value: float, digits: int) -> None:
    """Rounding the spelling and rounding the value are the same, and rounding twice changes nothing."""
    normal = normalizer(rule("significant", digits))
    once = normal(repr(value).encode())
    assert once == normal(value)
    assert once == normal(once)


@given(st.integers(-(10**30), 10**30), st.integers(0, 17))
def test_whole_numbers_survive_round(value: int, digits: int) -> None:
    """Two whole numbers are equal under round exactly when they are equal."""
    normal = normalizer(rule("round", digits))
    assert normal(b"%d" % value) == normal(value)
    assert normal(b"%d" % value) != normal(b"%d" % (value + 1))


@given(st.integers(-(10**30), 10**30), st.integers(1, 17))
def test_whole_numbers_are_exact_under_significant(value: int, digits: int) -> None:
    """Two whole numbers are equal exactly when they are the same one, however many digits are asked for."""
    normal = normalizer(rule("significant", digits))
    assert normal(b"%d" % value) == normal(value)
    assert normal(value) not in (normal(value + 1), normal(-value - 1), normal(value * 10 + 1))


@given(st.binary(min_size=1, max_size=12), st.sampled_from(["round", "significant"]))
def test_no_token_breaks_a_comparator(token: bytes, comparator: str) -> None:
    """Any bytes have a normal form, and are close to themselves."""
    assert isinstance(normalizer(rule(comparator, 5))(token), bytes)
    assert close(token, token)


@given(st.floats(), st.floats(), st.floats(0, 1), st.floats(0, 1))
def test_closeness_is_symmetric(a: float, b: float, rtol: float, atol: float) -> None:
    """Who is left and who is right does not matter."""
    same = Closeness(rtol, atol, exact_integers=False)
    assert same(a, b) == same(b, a)
