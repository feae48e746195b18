"""Which format a file has, and how it is read: as batches of tokens.

What is packed (gzip, bzip2, xz, zstd) is read as what is in it. Binary formats are known by their first bytes, JSON and
CSV by the name; everything else is a text table. Every format yields
tokens for structure (line ends, brackets, shape) among those for values, so that two files have the same shape exactly
when these are equal. In CSV, JSON and .npy, text is quoted as a JSON string, so that it is never taken for a number.
"""

from __future__ import annotations

import codecs
import re
from array import array
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nexapod_batch.compare.formats import csv_rows, fits, json_tokens, matlab, netcdf3, nifti, npy, npz, pdb, text
from nexapod_batch.compare.formats.foreign.reader import read_as
from nexapod_batch.compare.formats.named import Rows
from nexapod_batch.compare.ignoring import patterns
from nexapod_batch.compare.numbers import Lent
from nexapod_batch.compare.unpacking import inner_name, is_packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.compare.blocks import Block, Together
    from nexapod_batch.compare.numbers import Batch
    from nexapod_batch.compare.stream import Source

__all__ = [
    "BINARY", "FORMATS", "LINES_BY_PATTERN", "Format", "Place", "Reading", "as_plain_text", "format_of_name",
    "suffix_of",
]  # fmt: skip


class Place(Protocol):
    """A place in a file; its `str` is what people call it, as `line 3, word 2`."""

    def passed(self, batch: Batch | Lent) -> None:
        """Move behind these tokens."""
        ...


class Format(NamedTuple):
    """A kind of file."""

    name: str  # stands in normalised digests
    suffixes: frozenset[str]  # of names, lower case, without the dot
    magic: tuple[bytes, ...]  # how its content may begin, whatever the name; none where only the name tells
    #: Takes the content and the suffix. CompareError, at once or from the batches, when it is not of this format.
    read: Callable[[Source, str], tuple[Place, Iterator[Batch | Lent | Together]]]


_TEXT = Format("text", frozenset(), (), text.read)
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
_ZARR = Format("zarr", frozenset({"zarr", "zip"}), (), read_as("zarr_store", "Zarr"))
#: MATLAB's begins with a text of its own.
_HDF5 = (b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3 MAT-f")
_sqlite = read_as("sqlite", "a database of SQLite", Rows)
_hdf5 = read_as("hdf5", "an HDF5 or NetCDF 4 file")
#: Every format but plain text, which everything else is.
FORMATS = (
    Format("npy", frozenset({"npy"}), (npy.MAGIC,), npy.read),
    Format("npz", frozenset({"npz"}), (npz.MAGIC,), npz.read),
    Format("fits", frozenset({"fits", "fit", "fts"}), (fits.MAGIC,), fits.read),
    Format("netcdf", frozenset(), netcdf3.MAGICS, netcdf3.read),
    Format("hdf5", frozenset({"h5", "h5ad", "hdf5", "he5", "nc", "nc4"}), _HDF5, _hdf5),
    Format("parquet", frozenset({"parquet"}), (b"PAR1",), read_as("parquet", "a Parquet file")),
    Format("arrow", frozenset({"arrow", "feather", "orc"}), (b"ARROW1\0\0",), read_as("arrow", "Arrow or ORC")),
    Format("matlab", frozenset({"mat"}), (matlab.MAGIC,), matlab.read),
    Format("nifti", frozenset({"nii"}), nifti.MAGICS, nifti.read),
    Format("sqlite", frozenset({"sqlite", "sqlite3"}), (b"SQLite format 3\0",), _sqlite),
    Format("image", frozenset({"png", "tif", "tiff", "jpg", "jpeg", "gif"}), _IMAGES, read_as("image", "an image")),
    Format("json", frozenset({"json", "jsonl", "ndjson"}), (), json_tokens.read),
    Format("xml", frozenset({"xml", "svg", "vtu", "vtp", "vti", "cml", "xmf", "xdmf", "dae"}), (), text.read_marked),
    Format("free", frozenset({"xyz", "extxyz", "cif", "mcif"}), (), text.read_free),
    Format("pdb", frozenset({"pdb", "ent"}), (), pdb.read),
    Format("csv", frozenset({"csv", "tsv"}), (), csv_rows.read),
)


#: Formats whose bytes nobody can read.
BINARY = frozenset({
    "npy", "npz", "fits", "netcdf", "hdf5", "parquet", "arrow", "matlab", "nifti", "sqlite", "zarr", "image",
})  # fmt: skip
#: Formats in which an entry of `ignore` without slashes is a regular expression for lines, too.
LINES_BY_PATTERN = frozenset({"text", "xml", "free", "pdb"})


_STORE = re.compile(r"\.zarr(?:\.zip|/\*\*)$", re.IGNORECASE)


class Reading:
    """One file as batches of tokens, and what a place in it is called.

    `blocks` are the same with what is read together left so; one of them can be gone through, and once.
    """

    def __init__(self, packed: Source) -> None:
        """Choose the format of what nothing was taken of yet.

        CompareError, also later from `batches`, when the content is not of that format; ReaderMissingError where what
        reads it is not installed.
        """
        source = unpacked(packed)
        suffix = suffix_of(source.name)
        chosen = _format(source.head, suffix)
        self.format = chosen.name
        if chosen.name not in BINARY and source.head.startswith(codecs.BOM_UTF8):
            source.read(len(codecs.BOM_UTF8))  # it says how characters are written, and is none
        if source.rule.ignore:
            source.leave_out(patterns(source.rule.ignore, bare=chosen.name in LINES_BY_PATTERN))
        self._place, blocks = chosen.read(source, suffix)
        self.blocks = _in_time(source, blocks)

    @property
    def batches(self) -> Iterator[Batch]:
        """Everything as batches of tokens, once."""
        for batch in self.lent:
            yield batch[:] if isinstance(batch, Lent) else batch

    @property
    def lent(self) -> Iterator[Batch | Lent]:
        """The same, numbers of a library uncopied: they are to be looked at before more is asked for."""
        for batch in self.blocks:
            yield batch if isinstance(batch, list | array | Lent) else batch.tokens()

    def passed(self, batch: Batch | Lent) -> None:
        """Move the place behind these tokens."""
        self._place.passed(batch)

    def passed_block(self, block: Block) -> None:
        """Move the place behind whole lines; only the last one is looked at word by word."""
        last = block.raw.rfind(b"\n") + 1
        self._place.passed([b"\n"] * block.raw.count(b"\n"))
        self._place.passed(block.read(block.raw[last:]))

    def where(self) -> str:
        """Return the name of the place of the next token, as `line 3, word 2`."""
        return str(self._place)


def _in_time(
    source: Source, blocks: Iterator[Batch | Lent | Together]
) -> Iterator[Batch | Lent | Together]:
    """Yield everything; CompareTimeError where the budget is spent, however little a file needs to be read for it."""
    for block in blocks:
        source.budget.check(source.name)
        yield block


def as_plain_text(source: Source) -> bool:
    """Say whether a file is of no format that is known, nor packed; then lines are left out of it from now on."""
    if is_packed(source.head) or _format(source.head, suffix_of(source.name)) is not _TEXT:
        return False
    source.leave_out(patterns(source.rule.ignore, bare=True))
    return True


def suffix_of(name: str) -> str:
    """Return the end of a name, in lower case and without its point: `csv` of `a.csv.gz`, `zarr` of `a.zarr/**`."""
    _, point, suffix = _STORE.sub(".zarr", inner_name(name)).rpartition(".")
    return suffix.lower() if point else ""


def format_of_name(name: str) -> str:
    """Return the name of the format that a file of this name has, unless its first bytes say another one."""
    return _format(b"", suffix_of(name)).name


def _format(head: bytes, suffix: str) -> Format:
    if suffix in _ZARR.suffixes:  # packed it begins as .npz does
        return _ZARR
    for file_format in FORMATS:
        if head.startswith(file_format.magic):
            return file_format
    for file_format in FORMATS:
        if suffix in file_format.suffixes:
            return file_format
    return _TEXT
