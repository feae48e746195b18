"""A folder of files under their digests that is not to grow for ever: what was not used for longest goes first.

The time of the last use is a file's time of modification: the time of the last access is kept on few file systems.
Whoever reads a file that goes meanwhile reads it to its end, or is told that it is gone and brings it again.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LEFT_OVER_S", "drop", "make_room", "note_use"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: What a fetch left that nobody goes on with, after so many seconds.
LEFT_OVER_S = 7 * 86_400.0


class _File(NamedTuple):
    used: float  # seconds since 1970
    name: str
    size: int


def note_use(file: Path) -> None:
    """Note that a file is used now; one that is gone stays so."""
    with suppress(OSError):
        os.utime(file)


def drop(file: Path) -> None:
    """Remove what lies under the name of a file, whatever it is by now; what cannot be removed stays."""
    try:
        file.unlink(missing_ok=True)
    except IsADirectoryError:
        from shutil import rmtree  # noqa: PLC0415 - runners start without it

        rmtree(file, ignore_errors=True)


def make_room(folder: Path, limit: int, now: float, *, keep: str = "") -> None:
    """Remove files until the others have `limit` bytes at most.

    Args:
        folder: Where files lie under their digests.
        limit: Bytes; below 0 as 0.
        now: Seconds since 1970, by which parts of files are old.
        keep: The digest of a file that stays, and counts.

    """
    files = sorted(_files(folder, now))
    left = sum(file.size for file in files)
    for file in files:
        if left <= limit:
            return
        if file.name == keep:
            continue
        with suppress(OSError):  # another process made room as well
            (folder / file.name).unlink()
        left -= file.size


def _files(folder: Path, now: float) -> Iterator[_File]:
    """Yield the files of a folder; old parts of files go."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if _DIGEST.fullmatch(entry.name):
                    yield _File(status.st_mtime, entry.name, status.st_size)
                elif entry.name.startswith(".fetch-") and now - status.st_mtime > LEFT_OVER_S:
                    os.unlink(entry.path)
