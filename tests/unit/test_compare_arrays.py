"""Arrays are compared at once as they are number by number."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from nexapod_batch.compare.arrays import Alike
from nexapod_batch.compare.numbers import Closeness

#: Pairs on both sides of every border, and what is no number.
PAIRS = [
    (1.0, 1.0), (1.0, 1.0 + 1e-9), (1.0, 1.1), (0.0, -0.0), (0.0, 1e-12), (np.nan, np.nan), (np.nan, 1.0), (np.inf, np.inf),
    (np.inf, -np.inf), (np.inf, 1e308), (1e308, -1e308), (1e-320, 0.0), (-1.0, 1.0), (1e300, 1.0000000001e300),
]  # fmt: skip


@pytest.mark.parametrize("code", ["d", "f"])
@pytest.mark.parametrize(("rtol", "atol"), [(0.0, 0.0), (1e-8, 0.0), (0.0, 1e-9), (1e-6, 1e-6)])
@pytest.mark.parametrize("pair", PAIRS)
def test_one_pair_among_many(code: str, rtol: float, atol: float, pair: tuple[float, float]) -> None:
    """What stands at a place decides how far two arrays are alike, as it does by itself."""
    left, right = array(code, [2.5] * 3_000), array(code, [2.5] * 3_000)
    with np.errstate(over="ignore"):
        left[1_999], right[1_999] = np.array(pair).astype(code).tolist()
    close = Closeness(rtol, atol, exact_integers=True)
    one, other = memoryview(left), memoryview(right)
    assert Alike(close)(one, other) == (3_000 if close(left[1_999], right[1_999]) else 1_999)
    assert Alike(close)(other, one) == Alike(close)(one, other)


@pytest.mark.parametrize("code", ["b", "Q", "q", "H", "d"])
def test_what_is_no_pair_of_close_reals_is_told_where_it_is_equal(code: str) -> None:
    """Whole numbers, and reals under rounding."""
    left, right = (memoryview(array(code, [1] * 30_000)) for _ in range(2))
    other = memoryview(array(code, [1] * 20_001 + [2] * 9_999))
    for same in (Closeness(1.0, 1.0, exact_integers=False), lambda a, b: a == b):
        if code != "d" or not isinstance(same, Closeness):
            assert [Alike(same)(left, right), Alike(same)(left, other)] == [30_000, 20_001]


def test_what_has_the_same_bytes_is_the_same() -> None:
    """Numbers that are none included."""
    one, other = (memoryview(array("d", [float("nan"), float("inf"), -0.0] * 9_000)) for _ in range(2))
    assert Alike(lambda a, b: a == b)(one, other) == 27_000


def test_the_longer_array_is_left_behind_the_shorter_one() -> None:
    """What one side has more is no part of it."""
    one, other = memoryview(array("d", [1.5] * 30_000)), memoryview(array("d", [1.5 + 1e-12] * 20_000))
    assert Alike(Closeness(1e-9, 0.0, exact_integers=True))(one, other) == 20_000


def test_other_pairs_are_left_to_the_slow_way() -> None:
    """Arrays of two kinds, and short ones."""
    close = Closeness(1.0, 1.0, exact_integers=False)
    assert Alike(close)(memoryview(array("f", [1] * 3_000)), memoryview(array("d", [1] * 3_000))) == 0
    assert Alike(close)(memoryview(array("d", [1] * 3)), memoryview(array("d", [1] * 3))) == 0
