"""Arrays of numbers compared at once, where NumPy is installed: what it cannot settle is left to the slow way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.compare.numbers import Closeness

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    import numpy as np

    from nexapod_batch.compare.numbers import Token

    Array = np.ndarray[Any, Any]

__all__ = ["alike"]

_REALS = frozenset("fd")
#: Numbers of fewer than this are not worth loading NumPy for.
_MANY = 1_024
#: Numbers that are looked at together: they stay in the processor's cache.
_TOGETHER = 1 << 14


def alike(
    a: array,  # type: ignore[type-arg] # of numbers of any kind
    b: array,  # type: ignore[type-arg]
    same: Callable[[Token, Token], bool],
) -> int:
    """Return how many numbers at the start of two arrays are the same for certain.

    The next one may be the same all the same. Only reals of one kind are looked at, and only within tolerances.
    """
    if not isinstance(same, Closeness) or a.typecode != b.typecode or a.typecode not in _REALS or len(a) < _MANY:
        return 0
    try:
        import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing
    except ImportError:
        return 0
    left, right = (np.frombuffer(numbers, dtype=numbers.typecode) for numbers in (a, b))
    for begin in range(0, len(a), _TOGETHER):
        x, y = (side[begin : begin + _TOGETHER].astype(np.float64, copy=False) for side in (left, right))
        with np.errstate(invalid="ignore", over="ignore"):
            if _surely_alike(x, y, same):
                continue
            bound = np.maximum(np.abs(x), np.abs(y))
            bound *= same.rtol
            bound += same.atol
            near = np.abs(x - y) <= bound
            if near.all() and np.isfinite(bound).all():
                continue
            near &= np.isfinite(x) & np.isfinite(y)
            near |= (x == y) | (np.isnan(x) & np.isnan(y))
        if not near.all():
            return begin + int(np.argmin(near))
    return len(a)


def _surely_alike(x: Array, y: Array, same: Closeness) -> bool:
    """Say whether all numbers are finite and within the tolerance of the left one alone: the fast way."""
    import numpy as np  # noqa: PLC0415

    apart, bound = x - y, np.abs(x)
    np.abs(apart, out=apart)
    bound *= same.rtol
    if same.atol:
        bound += same.atol
    return bool((apart <= bound).all() and bound.max() < np.inf)
