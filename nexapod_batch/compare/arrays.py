"""Arrays of numbers compared at once, where NumPy is installed: what it cannot settle is left to the slow way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.compare.numbers import Closeness

if TYPE_CHECKING:
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
#: Of these, those that are looked at first.
_FEW = 64


def alike(a: memoryview[Any], b: memoryview[Any], same: Callable[[Token, Token], bool]) -> int:
    """Return how many numbers at the start of two arrays are the same for certain.

    The next one may be the same all the same. Only numbers of one kind are looked at: reals within tolerances, others
    whether they are equal.
    """
    if a.format != b.format or len(a) < _MANY:
        return 0
    try:
        import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing
    except ImportError:
        return 0
    left, right = (np.frombuffer(numbers, dtype=numbers.format) for numbers in (a, b))
    close = same if isinstance(same, Closeness) and a.format in _REALS else None
    room = None if close is None else (np.empty(_TOGETHER), np.empty(_TOGETHER))
    for begin in range(0, min(len(a), len(b)), _TOGETHER):
        x, y = left[begin : begin + _TOGETHER], right[begin : begin + _TOGETHER]
        count = min(len(x), len(y))
        x, y = x[:count], y[:count]
        if _are_equal(x, y):
            continue
        if close is None or room is None:
            return begin + int(np.argmin(x == y))
        with np.errstate(invalid="ignore", over="ignore"):
            near = _near(x.astype(np.float64, copy=False), y.astype(np.float64, copy=False), close, room)
        if near is not None and not near.all():
            return begin + int(np.argmin(near))
    return min(len(a), len(b))


def _are_equal(x: Array, y: Array) -> bool:
    """Say whether two arrays have the same bytes: a few are looked at first, as most that differ do so everywhere."""
    ones, others = x.view(f"u{x.itemsize}"), y.view(f"u{y.itemsize}")
    return bool((ones[:_FEW] == others[:_FEW]).all() and (ones == others).all())


def _near(x: Array, y: Array, same: Closeness, room: tuple[Array, Array]) -> Array | None:
    """Return which pairs are close; None for all of them, found the fast way."""
    import numpy as np  # noqa: PLC0415

    if _surely_near(x, y, same, *[each[: len(x)] for each in room]):
        return None
    bound = np.maximum(np.abs(x), np.abs(y))
    bound *= same.rtol
    bound += same.atol
    near: Array = np.abs(x - y) <= bound
    if not (near.all() and np.isfinite(bound).all()):
        near &= np.isfinite(x) & np.isfinite(y)
        near |= (x == y) | (np.isnan(x) & np.isnan(y))
    return near


def _surely_near(x: Array, y: Array, same: Closeness, apart: Array, bound: Array) -> bool:
    """Say whether all pairs are finite and within the tolerance of the left one alone: the fast way."""
    import numpy as np  # noqa: PLC0415

    np.subtract(x, y, out=apart)
    np.abs(apart, out=apart)
    np.multiply(x, same.rtol, out=bound)
    np.abs(bound, out=bound)
    if same.atol:
        bound += same.atol
    apart -= bound
    return bool(apart.max(initial=-np.inf) <= 0)  # what is not finite leaves no number
