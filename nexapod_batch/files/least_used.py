"""A folder of files under their digests that is to stay within a limit: which of them go, and which are left over.

What lies there, and when it was used last, is an argument of `over`. What is needed never goes, and counts as well.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

__all__ = ["LEFT_S", "MARKED_S", "Kept", "drop", "is_digest", "listed", "make_room", "note_use", "over", "remove"]

is_digest = re.compile(r"[0-9a-f]{64}").fullmatch
#: The time of a file is that of its last use, to within so many seconds: a mark for each use costs more than it tells.
MARKED_S = 3_600
#: After so many seconds nobody goes on with a part of a file, which has no digest for a name.
LEFT_S = 7 * 86_400


class Kept(NamedTuple):
    """A file of the folder."""

    name: str
    size: int  # bytes
    used: float  # when it was used last, in any unit; of what is no digest, seconds since 1970


def over(files: Iterable[Kept], needed: Collection[str], limit: int, now: float) -> list[str]:
    """Return the names of files that go, those that were used longest ago first.

    Args:
        files: What lies there.
        needed: Digests of what stays, whatever the limit.
        limit: Bytes that all of it may have together.
        now: Seconds since 1970, by which what was left over is old.

    """
    gone, spare, total = [], [], 0
    for file in files:
        if not is_digest(file.name):
            if file.used + LEFT_S < now:
                gone.append(file.name)
            continue
        total += file.size
        if file.name not in needed:
            spare.append(file)
    for file in sorted(spare, key=lambda one: (one.used, one.name)):
        if total <= limit:
            break
        total -= file.size
        gone.append(file.name)
    return gone


def listed(folder: str | Path) -> list[Kept]:
    """Return what lies in a folder, by the time of each file; nothing where there is none."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # gone meanwhile
                about = entry.stat(follow_symlinks=False)
                found.append(Kept(entry.name, about.st_size, about.st_mtime))
    return found


def remove(path: str | Path) -> bool:
    """Remove what lies in the place of a file, whatever it is; say whether there was something that could go."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except IsADirectoryError:
        from shutil import rmtree  # noqa: PLC0415 - runners start without it

        rmtree(path, ignore_errors=True)
    return True


def drop(folder: str | Path, names: Iterable[str]) -> int:
    """Remove files of a folder; return how many there were."""
    return sum([remove(f"{folder}/{name}") for name in names])


def make_room(folder: str | Path, limit: int, now: float, *, needed: Collection[str] = ()) -> int:
    """Remove files until the folder has `limit` bytes at most, or what is needed alone; return how many."""
    return drop(folder, over(listed(folder), needed, limit, now))


def note_use(path: str | Path) -> None:
    """Note that a file is used now; one that is gone stays so."""
    with suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) > MARKED_S:
            os.utime(path)
