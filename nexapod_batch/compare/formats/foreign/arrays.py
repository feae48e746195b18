"""NumPy arrays as batches of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nexapod_batch.compare.formats.named import text

if TYPE_CHECKING:
    from typing import Any

    from nexapod_batch.compare.numbers import Token

__all__ = ["fields_of", "numbers", "tokens"]

#: kind and bytes of a dtype -> code of `array`
_CODES = {
    "b1": "B", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f4": "f", "f8": "d",
}  # fmt: skip


def numbers(values: np.ndarray[Any, Any]) -> memoryview[Any] | None:
    """Return numbers in C order as they lie in memory; None for what is no array of numbers."""
    kind = values.dtype.kind
    if kind == "c":
        values = np.ascontiguousarray(values).view(values.real.dtype)
    elif kind == "f" and values.dtype.itemsize == 2:
        values = values.astype("f4")
    code = _CODES.get(f"{values.dtype.kind}{values.dtype.itemsize}")
    if code is None:
        return None
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    view: memoryview[Any] = native.reshape(-1).view("B").data
    return view.cast(code)  # type: ignore[call-overload, no-any-return] # one of array's


def tokens(values: np.ndarray[Any, Any]) -> list[Token]:
    """Return what is no array of numbers, value by value."""
    return [_token(value) for value in values.ravel().tolist()]


def _token(value: object) -> Token:
    if isinstance(value, bytes):
        return text(value.rstrip(b"\0").decode("utf-8", "backslashreplace"))
    if isinstance(value, bool | int | float) and not (isinstance(value, int) and value.bit_length() > 63):
        return value
    if isinstance(value, np.ndarray):
        return text(str(value.tolist()))
    return text(str(value))


def fields_of(dtype: np.dtype[Any]) -> list[str]:
    """Return the names of the values of a record; empty for what is none."""
    return list(dtype.names or ())
