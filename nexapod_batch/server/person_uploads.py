"""Inputs that people send before the job that needs them, by SHA-256: what was cut goes on where it ended.

Each person has a folder of their own, so that nobody learns what others sent. What no job took is removed after a day.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.errors import TryAgainError
from nexapod_batch.files.own import own_folder
from nexapod_batch.mesh.blobs import Upload, check_room, swept

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.config.settings import Paths

__all__ = ["MOST", "append", "find", "folder_of", "progress"]

#: Bytes, and files, that one person may have here at once.
MOST, _FILES = 64 << 30, 10_000


def folder_of(paths: Paths, person: str) -> Path:
    """Return where the inputs of a person are."""
    name = hashlib.sha256(person.encode()).hexdigest()[:32]
    return paths.home / "server" / "inputs" / name


def progress(folder: Path, digest: str) -> tuple[int, bool]:
    """Return how many bytes of an input are here, and whether that is all of it."""
    upload = Upload(folder, digest)
    return upload.size(), upload.complete()


def append(folder: Path, digest: str, start: int, data: bytes | memoryview, total: int) -> int:
    """Append a part of an input, comparing its SHA-256 at the end; return how many bytes are here then.

    OffsetError where it does not go on there, VerificationError where it is something else.

    Raises:
        TryAgainError: There is no room for it.

    """
    own_folder(folder)
    upload = Upload(folder, digest)
    if upload.complete():
        return upload.size()
    there, files = swept(folder, whole=True)
    if there + total - start > MOST or files >= _FILES:
        hint = "what no job took is removed after a day"
        raise TryAgainError("too much was sent for jobs that did not come", wanted=f"at most {MOST} bytes", hint=hint)
    check_room(folder, total - start)
    size = upload.append(start, data)
    if size == total:
        upload.finish()
    return size


def find(folder: Path, digest: str) -> Path | None:
    """Return the file of an input that is here, and is to stay for another day; None where it is not."""
    path = folder / digest
    with suppress(FileNotFoundError):
        os.utime(path)
        return path
    return None

