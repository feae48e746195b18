"""The header of a SIF file, read without a container runtime: architecture, age, labels, and whether it is whole.

Source: the Singularity Image Format, version 1 (github.com/apptainer/sif, `pkg/sif`). All numbers are little-endian.
A file is hostile until it was read: every offset is checked against the size of the file before it is followed.
"""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field

from nexapod_batch.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["ARCHITECTURES", "Sif", "read"]

#: Go's name of an architecture -> what `uname -m` calls it, which is what numeric classes are made of.
ARCHITECTURES = {
    "386": "i686", "amd64": "x86_64", "arm": "armv7l", "arm64": "aarch64", "ppc64": "ppc64", "ppc64le": "ppc64le",
    "mips": "mips", "mipsle": "mips", "mips64": "mips64", "mips64le": "mips64", "s390x": "s390x", "riscv64": "riscv64",
}  # fmt: skip

#: Codes of the header, in their order: b"01" is the first.
_CODES = tuple(ARCHITECTURES)
_MAGIC = b"SIF_MAGIC\0"
#: Launch script, magic, version, architecture, id, created, modified; descriptors: free, total, offset, size; data:
#: offset, size.
_HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
#: Type, used, id, group, link, offset, size, size with padding, created, modified, uid, gid, name, extra.
_DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
_JSON, _LABELS, _PARTITION = 0x4006, 0x4003, 0x4004
#: Names by which `apptainer inspect` finds what it shows, and the most that is read of it.
_METADATA = b"inspect-metadata.json"
_METADATA_MAX = 4 * 1024 * 1024
#: More descriptors than any builder makes.
_DESCRIPTORS_MAX = 4_096


class Sif(Struct, frozen=True, kw_only=True):
    """What the header of an image says."""

    architecture: str  # as `uname -m` says it; "" where the header does not
    created: int  # seconds since 1970
    size: int  # bytes
    labels: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, name: str = "") -> Sif:
    """Return what an image file says of itself; ImageError when it is no SIF file, or not all of one.

    `name` is what a person calls the file, where that is something else than its path.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream, name or str(path))
    except OSError as error:
        raise ImageError(f"image {name or path} cannot be read", got=error.strerror, wanted="a SIF file") from error


def _read(stream: BinaryIO, name: str) -> Sif:
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(_HEADER.size)
    if head[32:42] != _MAGIC:
        what = "an empty file" if not size else "another kind of file"
        raise ImageError(f"image {name} is no SIF file", got=what, wanted="a file that apptainer build made")
    if len(head) < _HEADER.size:
        raise _truncated(name, size, _HEADER.size)
    (_, _, version, code, _, created, _, _, total, offset, length, _, _) = _HEADER.unpack(head)
    if version[:2] != b"01":
        raise ImageError(f"image {name} has an unknown format", got=f"SIF version {version[:2]!r}", wanted="01")
    if not 0 < total <= _DESCRIPTORS_MAX or offset < _HEADER.size or length < 0:
        raise ImageError(f"image {name} is damaged", got=f"{total} descriptors at {offset}", wanted="a SIF header")
    if offset + total * _DESCRIPTOR.size > size:
        raise _truncated(name, size, offset + total * _DESCRIPTOR.size)
    stream.seek(offset)
    parts = list(_descriptors(stream.read(total * _DESCRIPTOR.size)))
    _check_parts(parts, size, name)
    return Sif(architecture=_architecture(code), created=created, size=size, labels=_labels(stream, parts))


def _check_parts(parts: list[tuple[int, int, int, bytes]], size: int, name: str) -> None:
    """Raise ImageError unless every part lies in the file, and one of them is a file system."""
    for _, start, length, _ in parts:
        if start < 0 or length < 0:
            raise ImageError(f"image {name} is damaged", got=f"{length} bytes at {start}", wanted="a SIF header")
        if start + length > size:
            raise _truncated(name, size, start + length)
    if not any(kind == _PARTITION for kind, *_ in parts):
        raise ImageError(f"image {name} holds no file system", wanted="a file that apptainer build made")


def _descriptors(table: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, offset, size and name of every descriptor in use."""
    for kind, used, *_, offset, size, _, _, _, _, _, name, _ in _DESCRIPTOR.iter_unpack(table):
        if used:
            yield kind, offset, size, name.rstrip(b"\0")


def _architecture(code: bytes) -> str:
    number = int(code[:2]) if code[:2].isdigit() else 0
    if 0 < number <= len(_CODES):
        return ARCHITECTURES[_CODES[number - 1]]
    return ""


def _labels(stream: BinaryIO, parts: list[tuple[int, int, int, bytes]]) -> dict[str, str]:
    """Return the labels, of either place where builders put them; none where they cannot be read."""
    for kind, offset, size, name in parts:
        if size > _METADATA_MAX or not (kind == _LABELS or (kind == _JSON and name == _METADATA)):
            continue
        stream.seek(offset)
        try:
            found = json.loads(stream.read(size))
            found = found["data"]["attributes"]["labels"] if kind == _JSON else found
            return {str(key): str(value) for key, value in sorted(found.items())}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return {}


def _truncated(name: str, size: int, wanted: int) -> ImageError:
    return ImageError(
        f"image {name} is truncated",
        got=f"{size} bytes",
        wanted=f"{wanted} or more",
        hint="copy or build it again",
    )
