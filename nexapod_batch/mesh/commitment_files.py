"""Files of commitments in the spool of a node that joined: those that wait, and those that were taken in.

| path | what |
|---|---|
| `committed/<time>-<sha256>` | what the node committed itself to, until that is in the database |
| `bound/<time>-<sha256>` | the same afterwards, until the segments with the reports are let go |

The second is for a database that is put back to an older copy: it reads the segments that are still here once more, and
must know what their reports were committed to.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch.errors import TryAgainError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.mesh.commitment import check_commitments
from nexapod_batch.mesh.segments import MAX_SEGMENTS, check_room
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["BOUND", "COMMITTED", "forget_bound", "in_folder", "keep", "note_taken"]

COMMITTED, BOUND = "committed", "bound"
_MOST, _NAME = 4 << 20, re.compile(r"[0-9]{20}-[0-9a-f]{64}")


def in_folder(spool: Path, folder: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each file of commitments in one of the two, as they came, and what it says; a bad one says nothing."""
    try:
        names = sorted(os.listdir(spool / folder))
    except FileNotFoundError:  # of a node from before there were any
        return
    for name in names:
        path = spool / folder / name
        if _NAME.fullmatch(name):
            try:
                committed = msgjson.decode(careful.read(path, _MOST), type=dict[str, str])
                check_commitments(committed)
            except (OSError, DecodeError, VerificationError):
                committed = {}
            yield path, committed


def keep(spool: Path, committed: Mapping[str, str]) -> None:
    """Keep what a node committed itself to; the same again is there already. TryAgainError where too much waits."""
    if not committed:
        return
    data = msgjson.encode(committed, order="sorted")
    folder, digest = spool / COMMITTED, hashlib.sha256(data).hexdigest()
    own_folder(folder, below=base_of(spool))
    waiting = os.listdir(folder)
    if any(name.endswith(digest) for name in waiting):
        return
    if len(waiting) >= MAX_SEGMENTS:
        raise TryAgainError("too many commitments wait to be taken in", wanted=f"at most {MAX_SEGMENTS} files")
    check_room(folder, len(data))
    atomic.write(folder / f"{time.time_ns():020d}-{digest}", data, mode=0o600)


def note_taken(path: Path) -> None:
    """Keep a file of `committed/` in `bound/`: what it says is in the database, durably."""
    spool = path.parent.parent
    own_folder(spool, BOUND, below=base_of(spool))
    with suppress(FileNotFoundError):
        path.replace(spool / BOUND / path.name)


def forget_bound(spool: Path) -> None:
    """Remove what was taken in, once no segment is here that it could be for."""
    if any(layout.is_segment(name) for name in os.listdir(spool / layout.REPORTS)):
        return
    for path, _ in in_folder(spool, BOUND):
        path.unlink(missing_ok=True)
