"""Lines of numbers that are rounded together have the normal form of those that are rounded word by word."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexapod_batch.compare.blocks import block_of, rounded
from nexapod_batch.compare.comparators.round import COMPARISON as ROUND
from nexapod_batch.compare.comparators.significant import COMPARISON as SIGNIFICANT
from nexapod_batch.compare.formats import text
from nexapod_batch.compare.registry import normalized_digest
from nexapod_batch.model.job import Comparator, CompareRule
from nexapod_batch.testing.comparators import Trickle

#: Numbers as programs write them, and words that only look so.
styles = st.sampled_from(["%r", "%.3f", "%.15e", "%12.4f", "%20.10f", "%.1f", "%.17g", "%E"])
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10), st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, 0.05, 9.9999999999, 1e15, 1e-300]),
)  # fmt: skip
odd = st.sampled_from(["1", "00.5", "1e400", "1.0e-400", ".5", "5.", "+1.5", "nan", "x", "-", "0.0e-999", "1.5.5", "0." + "0" * 400 + "1", "1.5E5", "2.5e+05", "1D05"])
words = st.one_of(st.tuples(styles, values).map(lambda pair: pair[0] % pair[1]), st.tuples(styles, values).map(lambda pair: pair[0] % pair[1]), odd)
between = st.sampled_from([" ", " ", " ", "  ", "\n", "\n", "\n ", " \n", "\n\n", "\t", ","])
contents = st.lists(st.tuples(words, between), max_size=30).map(lambda pairs: "".join(word + gap for word, gap in pairs).encode())


def one_by_one(content: bytes, rule: CompareRule) -> bytes:
    """Return the normal form, word by word."""
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    return b" ".join(map(comparison.token(rule), text._tokens(text._PLAIN, content))) + b" "


@pytest.mark.parametrize("rule", [CompareRule(comparator=Comparator.SIGNIFICANT, digits=digits) for digits in (1, 4, 8, 17)] + [CompareRule(comparator=Comparator.ROUND, digits=digits) for digits in (0, 2, 9)])
@settings(max_examples=60)
@given(contents)
def test_a_block_is_what_its_words_are(rule: CompareRule, content: bytes) -> None:
    """Whatever stands in it; what no block can be made of is none."""
    lines = content.rstrip(b"\n")
    block = block_of(lines, lambda part: text._tokens(text._PLAIN, part))
    if block is None:
        return
    assert block.tokens() == text._tokens(text._PLAIN, lines)
    comparison = SIGNIFICANT if rule.comparator is Comparator.SIGNIFICANT else ROUND
    style = comparison.style(rule)
    assert rounded(block, style, style % 0.0) == one_by_one(lines, rule)


@pytest.mark.parametrize("digits", [1, 2, 7, 9, 10, 11])
@pytest.mark.parametrize("kind", ["everywhere", "on borders", "near powers of ten"])
def test_many_numbers_are_rounded_as_one_is(digits: int, kind: str) -> None:
    """By NumPy: numbers of every size, and those that lie on a border of rounding or of a decade."""
    random = np.random.default_rng(7)
    numbers = random.standard_normal(9_000) * 10.0 ** random.integers(-280, 280, 9_000)
    if kind == "on borders":
        numbers = (random.integers(-(10**digits), 10**digits, 9_000) + 0.5) * 10.0 ** random.integers(-12, 12, 9_000)
    if kind == "near powers of ten":
        numbers = 10.0 ** random.integers(-300, 300, 9_000) * (1 + random.integers(-9, 9, 9_000) * 1e-16)
    if kind == "on borders":
        numbers[::50], numbers[1::50] = 0.0, -0.0
    lines = "\n".join(" ".join(f"{one:.17e}" for one in row) for row in numbers.reshape(-1, 9)).encode()
    block = block_of(lines, lambda part: text._tokens(text._PLAIN, part))
    assert block is not None
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=digits)
    style = SIGNIFICANT.style(rule)
    assert rounded(block, style, style % 0.0) == one_by_one(lines, rule)


@pytest.mark.parametrize("tail", [b"", b"\n", b"\n\n\n", b"\nx 1\n", b"\n1.5", b"  \n"])
def test_how_a_file_is_cut_changes_nothing(tail: bytes) -> None:
    """Blocks end where chunks do."""
    content = b"1.5 2.5\n-0.25 1e-3\n" * 30_000 + b"1.5 2.5\n" * 20_000 + b"3.5" + tail
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=5)
    whole = normalized_digest(io.BytesIO(content), "a.txt", rule)
    assert normalized_digest(Trickle(content, 70_001), "a.txt", rule) == whole  # type: ignore[arg-type]
    assert (normalized_digest(io.BytesIO(content.replace(b"3.5", b"3.6")), "a.txt", rule) == whole) is False
    assert (normalized_digest(io.BytesIO(content.rstrip(b" \n") + b"\n"), "a.txt", rule) == whole) is (tail.strip(b" \n") == b"" or tail in {b"\nx 1\n", b"\n1.5"})
