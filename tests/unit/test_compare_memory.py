"""What a reader holds at once is bounded, whatever a header promises and however little room its values take."""

from __future__ import annotations

import io
import struct
from itertools import islice

import numpy as np
import pytest
from unit.test_compare_hostile import fits, npy, outcome

from nexapod_batch.compare.formats.reading import Reading
from nexapod_batch.compare.stream import CHUNK, Source


def table(columns: int) -> bytes:
    """Return a FITS table of one byte a row, and of columns that take none."""
    cards = ["XTENSION= 'BINTABLE'", "BITPIX  =   8", "NAXIS   =   2", "NAXIS1  =   1", f"NAXIS2  = {CHUNK}", "PCOUNT  =   0", "GCOUNT  =   1"]
    cards += [f"TFIELDS = {columns + 1}", "TFORM1  = '1B'", *(f"{f'TFORM{number}':8}= '0A'" for number in range(2, columns + 2)), "END"]
    text = "".join(card.ljust(80) for card in cards)
    return fits("BITPIX  =   8", "NAXIS   =   0") + text.ljust(-(-len(text) // 2880) * 2880).encode() + bytes(CHUNK)


#: Files of whose values many take no bytes, or lie far apart: name and content.
NOTHINGS: dict[str, tuple[str, bytes]] = {
    "a record of texts without a byte": ("a.npy", npy("[('a', '|u1'), ('b', '|S0', (9999,))]", f"({CHUNK},)", bytes(CHUNK))),
    "a table of texts without a byte": ("a.fits", table(998)),
    "an array in Fortran's order": ("a.npy", npy("'|u1'", f"(2, {1 << 21})", bytes(1 << 22)).replace(b"False", b"True ")),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTHINGS)
def test_a_batch_has_no_more_values_than_a_chunk_has_bytes(case: str) -> None:
    """Whatever their width is."""
    name, data = NOTHINGS[case]
    batches = Reading(Source(io.BytesIO(data), name)).batches
    assert 0 < max(len(batch) for batch in islice(batches, 1, 4)) <= CHUNK + 10_000


@pytest.mark.parametrize("kind", ["u1", "<i2", "<f4", ">f8", "<c16", "S3", "<U2"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (7, 1), (1, 7)])
def test_arrays_in_fortran_order_are_the_same(kind: str, shape: tuple[int, ...]) -> None:
    """Of every width."""
    values = (np.arange(np.prod(shape)) % 5).reshape(shape).astype(kind)
    taken = []
    for array in (values, np.asfortranarray(values)):
        stream = io.BytesIO()
        np.save(stream, array)
        taken.append(outcome("a.npy", stream.getvalue()))
    assert taken[0] == taken[1] != "refused"


def long_netcdf(size: int) -> bytes:
    """Return NetCDF 3 with attributes of many bytes."""
    each = 1 << 23
    attribute = struct.pack(">I", 4) + b"name" + struct.pack(">II", 1, each) + bytes(each)
    return b"CDF\x01" + bytes(12) + struct.pack(">II", 12, size // each) + attribute * (size // each) + bytes(8)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b"1" * (65 << 20)),
        ("a.json", b'"' + b"a" * (65 << 20) + b'"'),
        ("a.nc", long_netcdf(72 << 20)),
    ],
    ids=["a number of megabytes", "a string of megabytes", "a header of megabytes"],
)
def test_what_would_have_to_be_held_as_a_whole_is_refused(name: str, data: bytes) -> None:
    """Where it is longer than any honest one."""
    assert outcome(name, data) == "refused"
