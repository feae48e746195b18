"""Arrays are compared at once as they are number by number."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from nexapod_batch.compare.arrays import alike
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
    assert alike(left, right, close) == (3_000 if close(left[1_999], right[1_999]) else 1_999)
    assert alike(right, left, close) == alike(left, right, close)


def test_what_is_no_pair_of_reals_is_left_to_the_slow_way() -> None:
    """Whole numbers, arrays of two kinds, short ones, and rounding."""
    close = Closeness(1.0, 1.0, exact_integers=False)
    assert alike(array("q", [1] * 3_000), array("q", [1] * 3_000), close) == 0
    assert alike(array("f", [1] * 3_000), array("d", [1] * 3_000), close) == 0
    assert alike(array("d", [1] * 3), array("d", [1] * 3), close) == 0
    assert alike(array("d", [1] * 3_000), array("d", [1] * 3_000), lambda a, b: a == b) == 0
