"""Numbers of HDF5 in one piece are read where they lie: those that its library reads, and never anything else of the file."""

from __future__ import annotations

import io
from contextlib import closing
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from nexapod_batch.compare.formats.foreign.frames import send
from nexapod_batch.compare.formats.foreign.hdf5 import batches
from nexapod_batch.compare.formats.foreign.lending import Borrower
from nexapod_batch.compare.formats.foreign.programs import kept
from nexapod_batch.compare.formats.foreign.reader import _Received, _Sender
from nexapod_batch.compare.formats.foreign.stored import numbers_at
from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.registry import first_difference
from nexapod_batch.compare.stream import Source
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLOSE = CompareRule(comparator=Comparator.ALLCLOSE, rtol=1e-9, atol=0.0)
VALUES = np.random.default_rng(5).standard_normal(200_000)


@pytest.fixture(autouse=True, scope="module")
def program() -> Iterator[None]:
    """Start one program for all of these files."""
    with kept():
        yield


def compact(file: h5py.File, kind: Any = "f8") -> None:
    """Put numbers among what describes them."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.COMPACT)
    found = h5py.h5d.create(file.id, b"x", h5py.h5t.py_create(np.dtype(kind)), h5py.h5s.create_simple((10,)), how)
    found.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES[:10].astype(kind))


def of_few_bits(file: h5py.File) -> None:
    """Store whole numbers that lie in the middle of their bytes."""
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    kind.set_offset(4)
    found = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((10,)))
    found.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(10, dtype="i4"))


#: What is stored -> whether it is read where it lies.
STORED: dict[str, tuple[Callable[[h5py.File], object], bool]] = {
    "in one piece": (lambda file: file.create_dataset("x", data=VALUES), True),
    "whole numbers": (lambda file: file.create_dataset("x", data=np.arange(10, dtype="u2")), True),
    "of two axes": (lambda file: file.create_dataset("x", data=VALUES.astype("f4").reshape(400, 500)), True),
    "in chunks": (lambda file: file.create_dataset("x", data=VALUES, chunks=(1_000,)), False),
    "packed": (lambda file: file.create_dataset("x", data=VALUES, chunks=(1_000,), compression="gzip"), False),
    "never written": (lambda file: file.create_dataset("x", shape=(10,), dtype="f8", fillvalue=2.5), False),
    "among what describes it": (compact, False),
    "in the other order of bytes": (lambda file: file.create_dataset("x", data=VALUES, dtype=">f8"), False),
    "of few bits": (of_few_bits, False),
    "one number": (lambda file: file.create_dataset("x", data=2.5), False),
    "none": (lambda file: file.create_dataset("x", shape=(0, 3), dtype="f8"), False),
}  # fmt: skip


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("what", STORED)
def test_numbers_are_those_that_the_library_reads(tmp_path: Path, what: str, userblock: int) -> None:
    """However they are stored, also in a file that begins with bytes of somebody else."""
    path = tmp_path / "a.h5"
    write, there = STORED[what]
    with h5py.File(path, "w", userblock_size=userblock) as file:
        write(file)
    with h5py.File(path) as file:
        wanted = np.asarray(file["x"]).ravel().tolist()
    told = [type(batch).__name__ for batch in batches(str(path), frozenset())]
    assert ("Stored" in told) is there
    with path.open("rb") as stream:
        tokens = [token for batch in Reading(Source(stream, "a.h5")).batches for token in batch]
    assert tokens[1:] == wanted


@pytest.mark.parametrize("at", [0, 32_767, 32_768, 131_073, 199_999])
def test_a_file_in_chunks_is_compared_with_one_in_one_piece(at: int) -> None:
    """Whose blocks end elsewhere; the place is named."""
    files = []
    for how, factor, more in (({"chunks": (3_001,)}, 1.0, 0.0), ({}, 1 + 1e-12, 0.5)):
        values = VALUES * factor
        values[at] += more
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file.create_dataset("x", data=values, **how)
        files.append(io.BytesIO(stream.getvalue()))
    found = first_difference(files[0], files[1], "a.h5", CLOSE)
    assert found is not None
    assert found.where == f"/x, index ({at})"


@pytest.mark.parametrize(
    "said", [("d", 0, 1 << 40), ("d", -8, 8), ("x", 0, 8), ("u", 0, 8), ("d", 0.5, 8), ("d", "0", 8), "d", ("d", 0), None]
)
def test_what_is_said_of_a_place_is_not_believed(tmp_path: Path, said: object) -> None:
    """The file is refused, as any that a library was taken over by; a true word after it makes it no better."""
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(100))
    frames = io.BytesIO()
    for content in (said, ("d", 0, 8)):
        send(frames, "stored", content)
    with path.open("rb") as file, closing(Borrower()) as borrower:
        borrower.hand_over()
        sender = _Sender(io.BytesIO(frames.getvalue()), borrower, 1, file)
        with pytest.raises(CompareError, match="taken over"):
            list(_Received(Source(file, "a.h5"), sender, "HDF5").batches())


@pytest.mark.parametrize(
    ("begin", "size"), [(-8, 8), (0, -8), (0, 12), (8, 800_000), (800_000, 8), (1 << 70, 8), (0, 1 << 70)]
)
def test_only_whole_numbers_of_the_file_are_read(tmp_path: Path, begin: int, size: int) -> None:
    """Whatever a library that was taken over says."""
    path = tmp_path / "numbers"
    VALUES[:100_000].tofile(path)
    with path.open("rb") as file, pytest.raises(ValueError, match="nothing lies there"):
        list(numbers_at(file.fileno(), "d", begin, size))


def test_a_file_that_becomes_shorter_ends_nobody(tmp_path: Path) -> None:
    """Who has it still open may cut it off while it is read."""
    path = tmp_path / "numbers"
    VALUES.tofile(path)
    with path.open("r+b") as file:
        read = numbers_at(file.fileno(), "d", 0, VALUES.nbytes)
        first = next(read)
        assert first.view.tolist() == VALUES[: len(first)].tolist()
        file.truncate(first.view.nbytes + 4)
        with pytest.raises(ValueError, match="shorter"):
            next(read)
