"""SHA-256 of files that were read before, by what the file system says of them: what is unchanged is not read again.

One file of the home for each folder that jobs are submitted from. Guarantees: it is whole or not used (it ends in its
own digest, and is replaced in one step); many processes may write it, and the last one wins; it is bounded, and so are
all of them together; without it everything is read, no more. As in git's index, a file that was written just before it
was read is not kept: it could be written again without any sign of it. What it says decides no result: an input is
kept under its digest after it was compared with that, and nodes compare it again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful, known_lists
from nexapod_batch.files.beneath import STATE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nexapod_batch.files.known_lists import KnownList

__all__ = ["KnownDigests"]

_MAGIC = b"nexapod-batch digests 1\n"
#: Device, inode, size, time of modification, time of change (ns), SHA-256.
_ENTRY = struct.Struct("<QQQqq32s")
_DIGEST = 32
#: Files of one folder that are remembered at most; bytes of all folders together.
_ENTRIES, _BYTES = 50_000, 64 << 20
#: So long a file must have been left alone when it is read. Clocks of other hosts may be behind ours by a minute.
_LOCAL_NS, _NETWORK_NS = 3_000_000_000, 60_000_000_000
#: After so long a partial file of a process that was killed goes.
_STALE_S = 3_600

Seen = tuple[int, int, int, int, int]


class KnownDigests:
    """What is known of the files that jobs of one folder name."""

    def __init__(self, place: Path, folder: Path) -> None:
        """Know, by `place`, where such files are kept; nothing is read before something is asked."""
        self._place, self._folder = place, folder
        self._entries: dict[Seen, bytes] | None = None
        self._new: dict[Seen, bytes] = {}
        self._lists: dict[str, KnownList] = {}

    def of(self, about: os.stat_result) -> str:
        """Return the digest of a file that is still what it was; "" where it must be read."""
        digest = self._known().get(_seen(about))
        return digest.hex() if digest else ""

    def _known(self) -> dict[Seen, bytes]:
        if self._entries is None:
            self._entries = _entries(self._path())
        return self._entries

    def listed(self, key: str) -> KnownList | None:
        """Return the list that is kept under a digest of whatever it was made of; None where there is none."""
        return known_lists.read(self._path(key))

    def add_list(self, key: str, known: KnownList) -> None:
        """Keep a list, of files that are `known`."""
        self._lists[key] = known

    def knows(self, states: bytes, digests: Iterable[str]) -> bool:
        """Say whether these are plain files with these digests, by their states as `Looks.states` has them."""
        entries = {**self._known(), **self._new}
        for (*seen, mode), digest in zip(STATE.iter_unpack(states), digests, strict=True):
            if not stat.S_ISREG(mode) or entries.get((*seen,), b"").hex() != digest:
                return False
        return True

    def add(self, before: os.stat_result, after: os.stat_result, digest: str, *, read_at: int, is_local: bool) -> None:
        """Remember the digest of a file that was read, by its state `before` and `after` that.

        `read_at` is when reading began, in ns since 1970. A file that may have been written in the same moment is left
        out; how near that is depends on whose clock its times are of, which is ours where its file system `is_local`.
        """
        seen = _seen(before)
        if seen != _seen(after):
            return
        quiet = _LOCAL_NS if is_local else _NETWORK_NS
        if max(before.st_mtime_ns, before.st_ctime_ns) + quiet > read_at:
            return
        self._new[seen] = bytes.fromhex(digest)

    def save(self) -> None:
        """Keep what was learnt; where that cannot be written, everything is read again the next time."""
        if not self._new and not self._lists:
            return
        with suppress(OSError):
            self._place.mkdir(mode=0o700, exist_ok=True)
            if self._new:
                self._save_digests()
            for key, known in self._lists.items():
                known_lists.write(self._path(key), known)
            _make_room(self._place)
        self._new.clear()
        self._lists.clear()

    def _save_digests(self) -> None:
        entries = {**self._new, **self._known()}  # of too many, those go that were learnt first
        rows = [_ENTRY.pack(*seen, digest) for seen, digest in list(entries.items())[:_ENTRIES]]
        body = _MAGIC + b"".join(rows)
        atomic.write(self._path(), body + hashlib.sha256(body).digest(), 0o600, durable=False)

    def forget(self) -> None:
        """Forget the folder: something in it was not what was remembered."""
        path = self._path()
        with suppress(OSError):
            for one in self._place.glob(f"{path.name}*"):
                one.unlink(missing_ok=True)

    def _path(self, key: str = "") -> Path:
        name = hashlib.sha256(os.fsencode(os.path.realpath(self._folder))).hexdigest()
        return self._place / (f"{name}-{key}" if key else name)


def _seen(found: os.stat_result) -> Seen:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _entries(path: Path) -> dict[Seen, bytes]:
    """Return what a file of ours says; nothing where it is not there, or not whole."""
    try:
        data = careful.read(path, len(_MAGIC) + _ENTRIES * _ENTRY.size + _DIGEST)
    except OSError:
        return {}
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    rows = body[len(_MAGIC) :]
    if not body.startswith(_MAGIC) or len(rows) % _ENTRY.size or hashlib.sha256(body).digest() != digest:
        return {}
    with suppress(OSError):
        os.utime(path)  # those that are used stay
    return {row[:5]: row[5] for row in _ENTRY.iter_unpack(rows)}


def _make_room(place: Path) -> None:
    """Remove the files that were used longest ago, and what a process left that was killed."""
    found = []
    with os.scandir(place) as entries:
        for entry in entries:
            with suppress(OSError):  # another process may have removed it
                about = entry.stat(follow_symlinks=False)
                found.append((about.st_mtime, about.st_size, entry.path, entry.name))
    total = 0
    stale = time.time() - _STALE_S
    for used, size, path, name in sorted(found, reverse=True):
        total += size
        if total > _BYTES or (name.startswith(".") and used < stale):
            with suppress(OSError):
                os.unlink(path)
