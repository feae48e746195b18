"""Files that are cut, damaged, or made to hurt: refused or compared, never a crash, a hang or another exception."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
from kinds import KINDS, VALUES

from nexapod_batch.compare.registry import first_difference, normalized_digest
from nexapod_batch.errors import CompareError
from nexapod_batch.model.job import Comparator, CompareRule

CONTENT = CompareRule(comparator=Comparator.CONTENT)
#: Kinds that a process of its own reads: each try starts one.
FOREIGN = ("HDF5", "NetCDF 4", "Parquet", "Arrow, Feather", "ORC", "an image (PNG, TIFF)")
OWN = (
    "NumPy .npy", "records of NumPy", "NumPy .npz", "NetCDF 3", "a FITS image", "a FITS table", "packed text (gzip, bzip2, xz, zstd)",
    "MATLAB .mat, up to version 7", "NIfTI",
)  # fmt: skip


def outcome(name: str, data: bytes, rule: CompareRule = CONTENT) -> str:
    """Return how a file is taken: refused, or the beginning of its digest."""
    try:
        return str(normalized_digest(io.BytesIO(data), name, rule))[:16]
    except CompareError:
        return "refused"


@pytest.mark.parametrize("kind", OWN)
def test_damaged_files_are_refused_or_other_files(kind: str) -> None:
    """Cut anywhere, or with bytes changed anywhere."""
    name, write = KINDS[kind]
    whole, chance = write(VALUES, "2026-11-01"), random.Random(kind)  # noqa: S311 - no secret
    for _ in range(150):
        cut = whole[: chance.randrange(len(whole))]
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            changed[chance.randrange(min(len(whole), 600))] = chance.randrange(256)
        outcome(name, cut)
        outcome(name, bytes(changed))
    assert outcome(name, whole[: len(whole) // 3 + 7]) == "refused"


@pytest.mark.parametrize("kind", FOREIGN)
def test_damaged_files_of_libraries_are_refused_or_other_files(kind: str) -> None:
    """The process that reads them may die; this one does not."""
    name, write = KINDS[kind]
    whole, chance = write(VALUES, "2026-11-01"), random.Random(kind)  # noqa: S311 - no secret
    changed = bytearray(whole)
    for _ in range(40):
        changed[chance.randrange(8, len(whole))] = chance.randrange(256)
    outcome(name, bytes(changed))
    assert outcome(name, whole[: len(whole) // 3 + 7]) == "refused"


def fits(*cards: str) -> bytes:
    """Return a header of FITS."""
    text = "".join(card.ljust(80) for card in ("SIMPLE  =                    T", *cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    """Return a .npy file with any header."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(**members: bytes) -> bytes:
    """Return a ZIP file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    """Return a PNG that says to be of a size, with nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def netcdf3(variables: int, size: int) -> bytes:
    """Return NetCDF 3 with bytes of data behind its header that every variable says to be all its own."""

    def word(number: int) -> bytes:
        return struct.pack(">I", number)

    def head(begin: int) -> bytes:
        rest = word(1) + word(0) + word(0) * 2 + word(1) + word(size) + word(begin)  # dimensions, attributes, type
        each = [word(4) + b"v%03d" % number + rest for number in range(variables)]
        dimension = word(10) + word(1) + word(1) + b"x\0\0\0" + word(size)
        return b"CDF\x01" + word(0) + dimension + word(0) * 2 + word(11) + word(variables) + b"".join(each)

    return head(len(head(0))) + bytes(min(size, 4_000))


def stacked(count: int, size: int) -> bytes:
    """Return a ZIP file whose directory names one member many times, each of a size that it has not."""
    whole = zipped(a__npy=npy("'<u1'", "(4,)", b"abcd"))
    at = whole.index(b"PK\x01\x02")
    entry = whole[at : whole.index(b"PK\x05\x06")]
    start = entry[:24] + struct.pack("<IH", size, len("000.npy")) + entry[30:46]
    listed = b"".join(start + b"%03d.npy" % number for number in range(count))
    return whole[:at] + listed + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(listed), at, 0)


REFUSED: dict[str, tuple[str, bytes]] = {
    "FITS of a size that no disk has": ("a.fits", fits("BITPIX  =   8", "NAXIS   =   3", *[f"NAXIS{i}  = 999999999999" for i in (1, 2, 3)])),
    "FITS with a negative axis": ("a.fits", fits("BITPIX  =   8", "NAXIS   =   1", "NAXIS1  =  -5")),
    "FITS with thousands of axes": ("a.fits", fits("BITPIX  =   8", "NAXIS   = 99999999")),
    "FITS with a row of its own width": ("a.fits", fits("BITPIX  =   8", "NAXIS   =   0") + fits("BITPIX  =   8")),
    "FITS without an end": ("a.fits", fits("BITPIX  =   8", "NAXIS   =   0").replace(b"END", b"ENX")),
    "an array larger than all disks": ("a.npy", npy("'<f8'", "(1 << 47,)".replace("1 << 47", str(1 << 47)))),
    "an array of objects": ("a.npy", npy("'|O'", "(1,)", b"cos\nsystem\n(S'id'\ntR.")),
    "an array of billions of elements without a byte": ("a.npy", npy("'|S0'", "(1099511627776,)")),
    "an array of billions of nothings, packed": ("a.npz", zipped(a__npy=npy("'|V0'", "(1099511627776,)"))),
    "NetCDF whose variables are one and the same": ("a.nc", netcdf3(100, 4_000)),
    "NetCDF whose records are more than there are": ("a.nc", netcdf3(1, 1 << 28)),
    "members that are more than any disk has, in one place": ("a.npz", stacked(100, 1 << 30)),
    "a record in itself, deep": ("a.npy", npy("[('a', " * 90 + "'<f8'" + ")]" * 90, "(1,)")),
    "a record of a million fields": ("a.npy", npy("[('a', '<f8', (1000, 1000))]", "(1,)")),
    "members that are no arrays": ("a.npz", zipped(a__txt=b"1")),
    "members that are no arrays, by name": ("a.npz", zipped(a__npy=b"1")),
    "NetCDF with lists of billions": ("a.nc", b"CDF\x01" + b"\0\0\0\1" + b"\0\0\0\x0a" + b"\x7f\xff\xff\xff"),
    "NetCDF with a name of gigabytes": ("a.nc", b"CDF\x01" + b"\0\0\0\1" + b"\0\0\0\x0a" + b"\0\0\0\1" + b"\x7f\xff\xff\xff"),
    "an image of billions of pixels": ("a.png", png(1 << 20, 1 << 20)),
    "an image with nothing in it": ("a.png", png(4, 4)),
    "JSON a hundred thousand levels deep": ("a.json", b"[" * 100_000 + b"]" * 100_000),
    "a cell of many megabytes": ("a.csv", b'x,"' + b"y" * (20 << 20)),
    "a cell of many megabytes, without quotes": ("a.csv", b"x," + b"9" * (5 << 20)),
    "a row of millions of cells": ("a.csv", b"," * (5 << 20)),
    "a row whose every cell goes on in the next line": ("a.csv", b'"a\nb",' * 300_000),
    "UTF-16": ("a.txt", "a 1.5\n".encode("utf-16")),
    "Parquet that is its mark alone": ("a.parquet", b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1"),
    "HDF5 that is its mark alone": ("a.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_honest_program_writes_is_refused(case: str) -> None:
    """At once, whatever a header promises."""
    name, data = REFUSED[case]
    assert outcome(name, data) == "refused"


def test_a_bomb_costs_no_memory() -> None:
    """Many megabytes of zeros are read piece by piece; as text they are none."""
    assert outcome("a.txt.gz", gzip.compress(b"1 2\n" * (1 << 16))) != "refused"
    assert outcome("a.txt.gz", gzip.compress(bytes(256 << 20))) == "refused"


def test_values_that_are_none() -> None:
    """A NaN is a NaN whatever its payload, -0.0 is 0, and infinities keep their sign."""
    payload = np.frombuffer(struct.pack("<2Q", 0x7FF8000000000001, 0xFFF8000000000000), "<f8")
    stream, other = io.BytesIO(), io.BytesIO()
    np.save(stream, np.array([*payload, -0.0, np.inf]))
    np.save(other, np.array([np.nan, np.nan, 0.0, np.inf]))
    for comparator, parameters in ((Comparator.CONTENT, {}), (Comparator.SIGNIFICANT, {"digits": 3}), (Comparator.ALLCLOSE, {"rtol": 0.0})):
        rule = CompareRule(comparator=comparator, **parameters)
        stream.seek(0)
        other.seek(0)
        assert first_difference(stream, other, "a.npy", rule) is None
        assert first_difference(io.BytesIO(stream.getvalue()), io.BytesIO(other.getvalue()[:-1] + b"\xff"), "a.npy", rule) is not None


def test_links_lead_nowhere() -> None:
    """HDF5 with circles, links to files of the machine, and data that lie in one: nothing of them is read."""
    import h5py

    def write(target: str, *, external: bool) -> bytes:
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            group = file.create_group("a")
            group["circle"] = file["/"]
            group["soft"] = h5py.SoftLink("/a/soft")
            group["far"] = h5py.ExternalLink(target, "/x")
            if external:
                file.create_dataset("data", (4,), "u1", external=[(target, 0, 4)])
        return stream.getvalue()

    assert outcome("a.h5", write("/etc/hostname", external=False)) not in {"refused", outcome("a.h5", write("/etc/passwd", external=False))}
    assert outcome("a.h5", write("/etc/hostname", external=True)) == "refused"


def test_values_that_were_never_written_take_no_time() -> None:
    """HDF5 of a kilobyte that says to hold a petabyte of zeros."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", (1 << 47,), "f8", chunks=(1 << 10,))
    assert len(stream.getvalue()) < 10_000
    assert outcome("a.h5", stream.getvalue()) == "refused"


@pytest.mark.parametrize("rows", [1_048_575, 8_200])
def test_parquet_that_lies_about_its_rows_is_refused_or_another_file(rows: int) -> None:
    """Of more than there are the rest is missing; where it says fewer, they are all that is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def written(number: int) -> bytes:
        """Return a number as the footer has it, in three bytes."""
        number *= 2
        return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14])

    stream = io.BytesIO()
    pq.write_table(pa.table({"x": np.arange(12_345) / 7}), stream, compression="none")
    whole = stream.getvalue()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer = whole[start:].replace(written(12_345), written(rows))
    assert footer != whole[start:]
    lying = outcome("a.parquet", whole[:start] + footer)
    assert lying != outcome("a.parquet", whole)
    assert rows < 12_345 or lying == "refused"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*a){20}b", "^(([a-z])+.)+[A-Z]$"])
def test_expressions_that_explode_elsewhere_do_not_here(pattern: str) -> None:
    """They take time that grows with the length of the line, or are refused for their size."""
    rule = CompareRule(comparator=Comparator.SIGNIFICANT, digits=3, ignore=(pattern,))
    assert outcome("a.txt", b"a" * 200_000 + b"!\n1.5\n", rule)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.xml", "a.xyz", "a.pdb", "a.tsv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_text_of_two_bytes_a_character_is_refused(name: str, encoding: str) -> None:
    """By every reader of text, with or without a mark in front."""
    assert outcome(name, '["a", 1.5]\n'.encode(encoding)) == "refused"


@pytest.mark.parametrize("left", [b"1.5 2\r\n3 4\n", b"1.5 2\n3 4\r\n", b"1.5 2\r\n3 4"])
def test_mixed_line_ends_are_line_ends(left: bytes) -> None:
    """As one line would be."""
    assert outcome("a.txt", left) == outcome("a.txt", b"1.5 2\n3 4\n")


@pytest.mark.parametrize("side", ["{blanks}1.5,a", "1.5{blanks},a", "{blanks}x{blanks},{blanks},1.5", "{blanks}"])
def test_blanks_around_cells_cost_no_more_than_other_bytes(side: str) -> None:
    """A megabyte of them is read as three are: they stand around numbers, and belong to texts."""
    long, short = (side.format(blanks=" " * count).encode() + b"\n1,2\n" for count in (1 << 20, 3))
    assert (outcome("a.csv", long) == outcome("a.csv", short)) is ("x" not in side and "," in side)
    assert outcome("a.csv", long) != "refused"


@pytest.mark.parametrize("line", ["{blanks}=", "a{blanks}\t1.5", "1.5{blanks};{blanks};"])
def test_gaps_without_a_word_behind_them_are_passed_once(line: str) -> None:
    """A megabyte of blanks before a mark says as much as three, and takes no longer than other bytes."""
    long, short = (line.format(blanks=" " * count).encode() + b"\n1 2\n" for count in (900_000, 3))
    assert outcome("a.txt", long) == outcome("a.txt", short) != "refused"


@pytest.mark.parametrize(
    ("head", "ignored"),
    [("t [s]", True), ("t(K)", True), ("t [a[b]", True), ("t [a] [b]", False), ("t]", False), ("t [s] x", False),
     ("t" + " " * 900_000 + "x", False), ("t" + "[" * 500_000, False), ("t [" + "(" * 500_000 + "]", True)],
    ids=["a unit", "brackets", "in one another", "two", "no begin", "no end", "blanks", "many begin", "many in one"],
)  # fmt: skip
def test_units_of_heads_are_looked_for_once(head: str, ignored: bool) -> None:
    """Behind the name, in the last brackets, whatever stands in them."""
    rule = CompareRule(comparator=Comparator.CONTENT, ignore=("t",))
    one, other = (outcome("a.csv", f"{head},b\n{value},2\n".encode(), rule) for value in (1, 3))
    assert (one == other) is ignored
