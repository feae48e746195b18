"""Numbers of libraries come by memory that both sides see: the same as from anywhere else, and never more than there is."""

from __future__ import annotations

import io
import itertools
import mmap
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from nexapod_batch.compare.formats.foreign.lending import SLOT, Borrower, Lender
from nexapod_batch.compare.formats.foreign.programs import kept
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)
#: Bytes of several turns through all slots.
MUCH = 20 * SLOT


@pytest.fixture(autouse=True, scope="module")
def program() -> Iterator[None]:
    """Start one program for all of these files."""
    with kept():
        yield


def hdf5(values: np.ndarray[Any, Any], **how: Any) -> bytes:
    """Return a file with one dataset."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", data=values, **how)
    return stream.getvalue()


def whole(_: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Store in one piece."""
    return {}


def packed(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Store in chunks that are packed."""
    return {"chunks": (min(100, len(values)), *values.shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}


def swapped(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Store in the order of bytes that this machine does not have."""
    return {"dtype": values.dtype.newbyteorder("S")}


@pytest.mark.parametrize("store", [whole, packed, swapped])
@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "u2", "i1", "f2", "c16", "?"])
@pytest.mark.parametrize("shape", [(331, 1_009), (3, 7, 11_003)])
def test_numbers_are_those_of_the_file(store: Callable[[np.ndarray[Any, Any]], dict[str, Any]], kind: str, shape: tuple[int, ...]) -> None:
    """In their order, however they are stored, also where a row does not end with a slot."""
    values = np.random.default_rng(1).integers(0, 100, shape).astype(kind)
    if store is packed:
        values = values.reshape(-1, values.shape[-1])
    data = hdf5(values, **store(values))
    batches = list(Reading(Source(io.BytesIO(data), "a.h5")).batches)
    tokens = [token for batch in batches[1:] for token in batch]
    flat = values.ravel()
    assert tokens == (flat.view("f8") if kind == "c16" else flat).tolist()


@pytest.mark.parametrize("store", [whole, packed])
@pytest.mark.parametrize("at", [0, 12_345, 331 * 1_009 - 1])
def test_the_first_number_that_is_not_close_is_named(store: Callable[[np.ndarray[Any, Any]], dict[str, Any]], at: int) -> None:
    """Among close ones, wherever it stands; both sides may be stored in other ways."""
    values = np.random.default_rng(2).standard_normal((331, 1_009))
    other = values * (1 + 1e-12)
    other.flat[at] += 1
    row, column = divmod(at, 1_009)
    found = first_difference(io.BytesIO(hdf5(values)), io.BytesIO(hdf5(other, **store(other))), "a.h5", CLOSE)
    assert found is not None
    assert (found.where, found.left, found.right) == (f"/x, index ({row}, {column})", repr(float(values.flat[at])), repr(float(other.flat[at])))
    close = values * (1 + 1e-12)
    assert first_difference(io.BytesIO(hdf5(values)), io.BytesIO(hdf5(close, **store(close))), "a.h5", CLOSE) is None


def flushed() -> None:
    """Do nothing: these pieces are told by no file."""


def test_what_is_given_back_is_used_again() -> None:
    """Whatever is sent comes, in its order, by a memory of a few slots."""
    sent = np.random.default_rng(3).integers(0, 256, MUCH + 5, "u1")
    with closing(Borrower()) as borrower:
        lender = Lender(borrower.memory, borrower.free)
        found = b"".join(bytes(lent.view) for size in lender.pieces(sent.data, flushed) for lent in borrower.borrowed("B", size))
        borrower.hand_over()
    assert found == sent.tobytes()


def test_whoever_lends_ends_with_whoever_reads() -> None:
    """A slot that nobody gives back any more is not waited for."""
    borrower = Borrower()
    lender = Lender(borrower.memory, borrower.free)
    borrower.close()
    with pytest.raises(BrokenPipeError):
        list(lender.pieces(memoryview(bytes(MUCH)), flushed))
    borrower.hand_over()


def test_a_library_that_never_takes_slots_back_is_not_waited_for() -> None:
    """However much it sends."""
    with closing(Borrower()) as borrower:
        with pytest.raises(ValueError, match="takes back"):
            list(itertools.chain.from_iterable(borrower.borrowed("B", 1) for _ in range(1 << 20)))
        borrower.hand_over()


@pytest.mark.parametrize(("code", "size"), [("d", SLOT + 8), ("d", 12), ("B", -1)])
def test_more_than_a_slot_is_not_believed(code: str, size: int) -> None:
    """Nor a part of a number."""
    with closing(Borrower()) as borrower:
        with pytest.raises(ValueError, match="slot"):
            list(borrower.borrowed(code, size))
        borrower.hand_over()


def test_a_library_that_was_taken_over_cannot_cut_the_memory_off() -> None:
    """Whoever looks at memory that is gone would be ended."""
    with closing(Borrower()) as borrower:
        for size in (0, SLOT << 10):
            with pytest.raises(PermissionError):
                os.ftruncate(borrower.memory, size)
        mapped = mmap.mmap(borrower.memory, SLOT)
        mapped[:1] = b"x"
        assert next(borrower.borrowed("B", 1)).view.tobytes() == b"x"
        mapped.close()
        borrower.hand_over()
