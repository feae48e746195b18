"""NumPy's .npz: a ZIP file of arrays, each a .npy file; the order, dates and packing of its members do not count."""

from __future__ import annotations

import errno
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from nexapod_batch.compare.budget import most_of, size_of
from nexapod_batch.compare.formats import npy
from nexapod_batch.compare.formats.named import Parts, is_ignored
from nexapod_batch.compare.ignoring import names
from nexapod_batch.compare.stream import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.compare.numbers import Batch

__all__ = ["MAGIC", "read"]

MAGIC = b"PK\x03\x04"
_MOST_MEMBERS = 10_000


def read(source: Source, suffix: str) -> tuple[Parts, Iterator[Batch]]:  # noqa: ARG001
    """Return the place and the batches of the arrays, sorted by name."""
    return Parts(), _batches(source)


def _batches(source: Source) -> Iterator[Batch]:
    ignored = names(source.rule.ignore)
    with source.file() as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for member in _members(source, archive, most_of(size_of(file))):
                    name = member.filename.removesuffix(".npy")
                    if not is_ignored(ignored, name):
                        yield from _array(source, archive, member, name)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise  # it cannot be read now
            source.refuse("an offset before its start", "a whole .npz file")
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            source.refuse(str(error), "a whole .npz file")


def _members(source: Source, archive: zipfile.ZipFile, most: int) -> list[zipfile.ZipInfo]:
    """Return the arrays, which are `most` bytes together at most, unpacked: members may lie over each other."""
    members = sorted(archive.infolist(), key=lambda member: member.filename)
    if len(members) > _MOST_MEMBERS:
        source.refuse(f"{len(members)} members", f"at most {_MOST_MEMBERS}")
    if sum(member.file_size for member in members) > most:
        source.refuse("arrays of more bytes than such a file may hold", f"at most {most}")
    if len({member.filename for member in members}) < len(members):
        source.refuse("a name twice", "each array once")
    for member in members:
        if not member.filename.endswith(".npy"):
            source.refuse(f"member {member.filename[:80]!a}", "arrays alone (.npy)")
    return members


def _array(source: Source, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Iterator[Batch]:
    with archive.open(member) as stream:
        inner = Source(cast("BinaryIO", stream), f"{source.name}: {name}", source.rule, packed=True)
        head, batches = npy.array_of(inner)
        yield [head.begun(name)]
        yield from batches
