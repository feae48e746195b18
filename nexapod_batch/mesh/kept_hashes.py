"""SHA-256 of blobs that grow, as far as this process wrote them: at the end nothing has to be read again.

What is kept counts for the very file that it is of, as it was left. After a restart, or where somebody else touched the
file, there is nothing, and the file is read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["is_kept", "keep", "take"]

#: Blobs whose hashes are kept at once; that of the one which waits longest goes first.
_MOST = 1_000
_kept: dict[str, tuple[tuple[int, ...], hashlib._Hash]] = {}


def is_kept(path: Path, status: os.stat_result) -> bool:
    """Say whether the hash of a file whose status is this can be taken."""
    return status.st_size == 0 or _kept.get(str(path), ((), None))[0] == _stamp(status)


def take(path: Path, status: os.stat_result) -> hashlib._Hash | None:
    """Return the hash of a file whose status is this, for the caller alone to go on with; None where none is kept."""
    kept = _kept.pop(str(path), None)
    if status.st_size == 0:
        return hashlib.sha256()
    if kept is None or kept[0] != _stamp(status):
        return None
    return kept[1]


def keep(path: Path, status: os.stat_result, digest: hashlib._Hash) -> None:
    """Keep the hash of a file whose status is this now."""
    _kept[str(path)] = (_stamp(status), digest)
    while len(_kept) > _MOST:
        _kept.pop(next(iter(_kept), ""), None)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
