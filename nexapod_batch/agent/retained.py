"""What a node keeps of what its coordinator took in: the next coordinator may stand in with an older copy of it all.

`held/<launch>.json`: bundles, with what the node signed for the keys of their launches. `reported/`: segments of
reports that the coordinator let go. Both stay until a signed head of its ledger covers them, and then for a day and
within bounds: the coordinator may be put back from a backup, or die, and somebody stand in with a copy that is older.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.mesh.delegating import delegation_of
from nexapod_batch.mesh.holding import MAX_HELD
from nexapod_batch.mesh.messages import MAX_LINES, Held
from nexapod_batch.spool import layout
from nexapod_batch.trust.delegation import encode_delegation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from nexapod_batch.mesh.messages import Bundle
    from nexapod_batch.model import replica

__all__ = ["KEPT_S", "Retained"]

#: Seconds for which something stays, and bytes of segments in all.
KEPT_S, _MOST = 86_400.0, 256 << 20
_HELD, _REPORTED = "held", "reported"
_TOGETHER = 64


class Retained:
    """What one node keeps for a stand-in."""

    def __init__(self, folder: Path, spool: Path) -> None:
        """Make the folders where they are missing."""
        self._held, self._reported, self._spool = folder / _HELD, folder / _REPORTED, spool
        own_folder(folder, _HELD, _REPORTED, below=base_of(folder))
        #: When the coordinator last let go of something that is kept here, seconds since 1970; 0 for never.
        self.newest = max([_at(path) for path in self._files(self._reported)], default=0.0)

    def keep(self, bundle: Bundle, opened: replica.Bundle, signature: str) -> None:
        """Keep a launch that the node takes."""
        given = encode_delegation(delegation_of(opened, bytes.fromhex(bundle.seed)))
        held = Held(launch=bundle.launch, envelope=bundle.envelope, delegation=given.decode(), signature=signature)
        path = self._held / f"{bundle.launch}.json"
        if not path.exists():
            atomic.write(path, msgjson.encode(held), mode=0o600, durable=False)

    def launches(self) -> set[str]:
        """Return the launches that are kept."""
        return {path.stem for path in self._files(self._held) if layout.is_launch_key(path.stem)}

    def batches(self, launches: Collection[str]) -> Iterator[tuple[Held, ...]]:
        """Yield those of some launches that are kept, as many at a time as fit into one call."""
        together: list[Held] = []
        size = 0
        for path in self._files(self._held):
            if path.stem not in launches:
                continue
            try:
                data = careful.read(path, MAX_HELD)
                held = msgjson.decode(data, type=Held)
            except (OSError, DecodeError):
                continue
            if together and (size + len(data) > MAX_LINES or len(together) >= _TOGETHER):
                yield tuple(together)
                together, size = [], 0
            together.append(held)
            size += len(data)
        if together:
            yield tuple(together)

    def retire(self, segments: Iterable[str]) -> None:
        """Take segments that the coordinator let go out of the reports, and keep them for a while."""
        for name in segments:
            source = self._spool / layout.segment(name)
            with suppress(FileNotFoundError):
                os.utime(source)
                source.replace(self._reported / name)
                self.newest = time.time()

    def bring_back(self) -> None:
        """Put every segment that is kept among the reports again: they are to be sent once more."""
        for path in self._files(self._reported):
            target = self._spool / layout.segment(path.name)
            if layout.is_segment(path.name) and not target.exists():
                path.replace(target)

    def prune(self, known: Collection[str], covered: float, now: float | None = None) -> None:
        """Remove what was kept for long enough; a launch in `known` stays.

        `covered` is until when all that was taken in is covered by a signed head of the ledger, seconds since 1970.
        """
        now = time.time() if now is None else now
        for path in self._files(self._held):
            if path.stem not in known and _age(path, now) > KEPT_S and _at(path) < covered:
                path.unlink(missing_ok=True)
        left = _MOST
        for path in sorted(self._files(self._reported), key=lambda one: _age(one, now)):
            if _at(path) >= covered:
                continue
            left -= _size(path)
            if left < 0 or _age(path, now) > KEPT_S:
                path.unlink(missing_ok=True)

    def _files(self, folder: Path) -> list[Path]:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]


def _at(path: Path) -> float:
    """Return when a file was written, or retired; what is gone is not old."""
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return inf


def _age(path: Path, now: float) -> float:
    return max(0.0, now - _at(path))


def _size(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
