"""Arrays of numbers compared at once, where NumPy is installed: what it cannot settle is left to the slow way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.compare.numbers import Closeness

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from nexapod_batch.compare.numbers import Token

__all__ = ["alike"]

_REALS = frozenset("fd")
#: Numbers of fewer than this are not worth loading NumPy for.
_MANY = 1_024


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
    left, right = (np.frombuffer(one, dtype=one.typecode).astype(np.float64, copy=False) for one in (a, b))
    with np.errstate(invalid="ignore", over="ignore"):
        bound = same.atol + same.rtol * np.maximum(np.abs(left), np.abs(right))
        near = (np.abs(left - right) <= bound) & np.isfinite(left) & np.isfinite(right)
    near |= (left == right) | (np.isnan(left) & np.isnan(right))
    if near.all():
        return len(a)
    return int(np.argmin(near))
