"""Images that lie on this machine: a SIF file is copied into the cache, a sandbox folder is built into one.

A copy, not a hard link: whoever edits the file afterwards must not change what jobs were pinned to. Where the file
system can, the copy shares its blocks with the original until one of them changes.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import ImageError
from nexapod_batch.images import sif
from nexapod_batch.images.cache import faults, mismatch

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.images.cache import Cache, Image, Progress

__all__ = ["from_file"]

#: Copied at once: enough that the file system can share whole extents.
_AT_ONCE = 1 << 30


def from_file(cache: Cache, file: Path, wanted: str, progress: Progress) -> Image:
    """Return the image of a SIF file; ImageError when it is none, or not the one `wanted` (SHA-256, or "")."""
    header = sif.read(file)
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"image {file} cannot be read", got=error.strerror, wanted="a SIF file") from error
    if wanted and sha256 != wanted:
        raise mismatch(str(file), sha256, wanted)
    if cache.image(sha256) is None:
        with cache.pulling(sha256, progress) as folder:
            if cache.image(sha256) is None:
                cache.make_room(header.size)
                progress.start(f"copying {file}", None)
                _copy(file, folder / "image.sif", cache.folder)
                return cache.keep(folder / "image.sif", str(file), sha256)
    return cache.refer(sha256, str(file))


def _copy(source: Path, target: Path, folder: Path) -> None:
    try:
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"image {source} cannot be read", got=error.strerror, wanted="a SIF file") from error
    with faults(folder):
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _copy_range(reader, writer)
        finally:
            os.close(reader)
            os.close(writer)


def _copy_range(reader: int, writer: int) -> None:
    """Copy all of a file inside the kernel, or through it where the two file systems do not know each other."""
    try:
        while os.copy_file_range(reader, writer, _AT_ONCE):
            pass
    except OSError as error:
        if os.lseek(writer, 0, os.SEEK_CUR):  # it worked so far: the fault is a real one
            raise
        if error.errno not in {18, 22, 38, 95}:  # EXDEV, EINVAL, ENOSYS, EOPNOTSUPP
            raise
        os.lseek(reader, 0, os.SEEK_SET)
        with open(reader, "rb", closefd=False) as source, open(writer, "wb", closefd=False) as sink:
            while block := source.read(1 << 20):
                sink.write(block)
