"""NumPy arrays as batches of tokens."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nexapod_batch.compare.budget import most_of
from nexapod_batch.compare.formats.named import part, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.compare.formats.foreign.frames import Sent
    from nexapod_batch.compare.numbers import Token

__all__ = ["Budget", "Chunked", "blocks", "code_of", "fields_of", "numbers", "parts_of", "tokens"]

#: Bytes that are read at once, where chunks do not make them more, and bytes of the largest chunk.
_BLOCK, _LARGEST = 4 << 20, 256 << 20
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


class Chunked(Protocol):
    """An array in a file, which is read by slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its size along each axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the kind of its values."""
        ...


class Budget:
    """What may come out of a file: values that were never written take no room in it, and as long to read."""

    def __init__(self, size: int) -> None:
        """Take the bytes of the file."""
        self._left = most_of(size)

    def take(self, name: str, shape: Sequence[int], itemsize: int) -> None:
        """Count an array.

        Raises:
            ValueError: There is more in the file than may be.

        """
        self._left -= prod(shape) * max(1, itemsize)
        if self._left < 0:
            raise ValueError(f"{name}, shape {list(shape)}: larger than what such a file may hold")


def parts_of(name: str, values: np.ndarray[Any, Any]) -> Iterator[Sent]:
    """Yield the values of an array; a record goes field by field."""
    fields = fields_of(values.dtype)
    for field in fields:
        yield [part(f"{name}.{field}", values.shape)]
        yield from parts_of(f"{name}.{field}", values[field])
    if not fields:
        found = numbers(values)
        yield tokens(values) if found is None else found


def code_of(dtype: np.dtype[Any]) -> str | None:
    """Return the code of `array` for numbers that lie in memory as it has them; None for what must be made such."""
    return _CODES.get(f"{dtype.kind}{dtype.itemsize}") if dtype.isnative and dtype.kind in "iuf" else None


def blocks(
    dataset: Chunked, chunks: tuple[int, ...] | None, size: int = _BLOCK
) -> Iterator[tuple[slice | int, ...]]:
    """Yield slices that cover a dataset in C order, each of about a block, which has so many bytes.

    Raises:
        ValueError: A chunk, which is always read as a whole, is too large.

    """
    shape = dataset.shape
    if 0 in shape:
        return
    if not shape:
        yield ()
        return
    width = max(1, dataset.dtype.itemsize)
    chunks = chunks or (1,) * len(shape)
    if prod(chunks) * width > _LARGEST:
        raise ValueError(f"chunks of more than {_LARGEST} bytes")
    axis = 0  # the first along which a slice of one index is no more than a block
    while axis < len(shape) - 1 and prod(shape[axis + 1 :]) * width > size:
        axis += 1
    row = prod(shape[axis + 1 :]) * width
    step = max(1, size // row)
    if chunks[axis] * row <= _LARGEST // 4:
        step = -(-step // chunks[axis]) * chunks[axis]
    for index in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*map(int, index), slice(start, min(start + step, shape[axis])))
