"""Arrays of numbers compared at once, where NumPy is installed: what it cannot settle is left to the slow way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.compare.numbers import Closeness

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from nexapod_batch.compare.numbers import Token

    Array = np.ndarray[Any, Any]

__all__ = ["Alike"]

_REALS = frozenset("fd")
#: Numbers of fewer than this are not worth loading NumPy for.
_MANY = 1_024
#: Numbers that are looked at together: they stay in the processor's cache.
_TOGETHER = 1 << 15
#: Of these, those that are looked at first.
_FEW = 64


class Alike:
    """Says of two arrays after the other how many numbers at their start are the same for certain."""

    def __init__(self, same: Callable[[Token, Token], bool]) -> None:
        """Take what says whether two numbers are the same."""
        self._same = same
        self._room: tuple[Array, Array] | None = None  # what is made of numbers, in memory that is used again

    def __call__(self, a: memoryview[Any], b: memoryview[Any]) -> int:
        """Return how many numbers are the same; the next one may be so all the same.

        Only numbers of one kind are looked at: reals within tolerances, others whether they are equal.
        """
        if a.format != b.format or len(a) < _MANY:
            return 0
        try:
            import numpy as np  # noqa: PLC0415 - it takes long to load, and may be missing
        except ImportError:
            return 0
        left, right = (np.frombuffer(numbers, dtype=numbers.format) for numbers in (a, b))
        close = self._same if isinstance(self._same, Closeness) and a.format in _REALS else None
        count = min(len(a), len(b))
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, count, _TOGETHER):
                end = min(begin + _TOGETHER, count)
                x, y = left[begin:end], right[begin:end]
                if _are_equal(x, y):
                    continue
                near = x == y if close is None else self._near(x, y, close)
                if near is not None and not near.all():
                    return begin + int(np.argmin(near))
        return count

    def _near(self, x: Array, y: Array, same: Closeness) -> Array | None:
        """Return which pairs are close; None for all of them, found the fast way."""
        import numpy as np  # noqa: PLC0415

        x, y = (numbers.astype(np.float64, copy=False) for numbers in (x, y))
        self._room = self._room or (np.empty(_TOGETHER), np.empty(_TOGETHER))
        apart, bound = (each[: len(x)] for each in self._room)
        return None if _surely_near(x, y, same, apart, bound) else _near(x, y, same)


def _are_equal(x: Array, y: Array) -> bool:
    """Say whether two arrays have the same bytes: a few are looked at first, as most that differ do so everywhere."""
    if x[:_FEW].tobytes() != y[:_FEW].tobytes():
        return False
    kind = f"u{x.itemsize}"
    return bool((x.view(kind) == y.view(kind)).all())


def _near(x: Array, y: Array, same: Closeness) -> Array:
    """Return which pairs are close."""
    import numpy as np  # noqa: PLC0415

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
    if (apart < bound).all():  # which is neither infinite nor no number
        return True
    apart -= bound  # where both are nothing
    return bool(apart.max(initial=-np.inf) <= 0)  # what is not finite leaves no number
