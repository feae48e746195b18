"""Digests of the files that a descriptor names: read, or known since an earlier job named them unchanged.

What is known is taken at a look where that is enough (a plain name of a plain file beneath the folder, on a file system
of this machine alone); else the file is opened, which is when a server of files says how it is now, and not read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from nexapod_batch.config.job.paths import PLAIN, open_beside
from nexapod_batch.files.beneath import Looks, is_local
from nexapod_batch.files.known_lists import KnownList, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from io import BufferedReader
    from pathlib import Path
    from typing import Self

    from nexapod_batch.files.known_digests import KnownDigests
    from nexapod_batch.schema.kinds import Report

__all__ = ["Pin", "Pins"]

#: Digest of a file, and whether its owner may run it.
Pin = tuple[str, bool]

_SMALL = 1 << 20  # bytes of a file that is read at once


class Pins:
    """What pins the files beside one descriptor."""

    def __init__(self, folder: Path, *, outside: bool, known: KnownDigests | None) -> None:
        """Read nothing yet; with `outside` files may lie outside the folder. None is `known` where nobody remembers."""
        self.folder, self.outside, self.known = folder, outside, known
        self._prefix = os.path.join(folder, "")
        self._looks = Looks(folder)

    def __enter__(self) -> Self:
        """Do nothing: what is opened is closed in the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the folder that is open."""
        self._looks.close()

    def path(self, name: str) -> str:
        """Return where a plain name below the folder leads."""
        return self._prefix + name

    def at_a_look(self, name: str) -> Pin | None:
        """Return the pin of a file that need not be opened, by its plain name below the folder."""
        if self.known is None or PLAIN(name) is None:
            return None
        found = self._looks.at(name)
        digest = self.known.of(found) if found else ""
        if found is None or not digest:
            return None
        return digest, bool(found.st_mode & stat.S_IXUSR)

    def recalled(self, key: str) -> bytes | memoryview | None:
        """Return what was made of a list of files that are all still what they were; None where that is not known."""
        known = self.known.listed(key) if self.known is not None else None
        return known.made if known is not None and known.is_unchanged(self._looks) else None

    def remember(self, key: str, names: Sequence[str], digests: Iterable[str], made: bytes) -> None:
        """Keep, once the job is stored, what was made of files, by their names below the folder and their digests."""
        if self.known is None or not all(map(PLAIN, names)):
            return
        runs = runs_of(names)
        states = self._looks.states(runs)
        if states is not None and self.known.knows(states, digests):
            self.known.add_list(key, KnownList(runs, hashlib.sha256(states).digest(), made))

    def read(self, source: Path, given: str | None, where: str, report: Report) -> Pin | None:
        """Return the pin of a file; None when it cannot be used, or is not the one that was `given`, with a report."""
        fd = open_beside(self.folder, source, f"{where}.source", report, outside=self.outside)
        if fd is None:
            return None
        try:
            with os.fdopen(fd, "rb") as stream:
                pin = self._of(stream)
        except OSError as cause:
            what = f"{source}: {(cause.strerror or str(cause)).lower()}"
            report.add(f"{where}.source", what, wanted="a file to read")
            return None
        if given is not None and given.lower() != pin[0]:
            report.add(
                f"{where}.sha256",
                f"{source.name} is not the file that was meant: got {pin[0]}",
                wanted=given.lower(),
                hint="restore the file, or correct sha256",
            )
            return None
        return pin

    def _of(self, stream: BufferedReader) -> Pin:
        read_at = time.time_ns()
        fd = stream.fileno()
        seen = os.fstat(fd)
        digest = self.known.of(seen) if self.known else ""
        if not digest:
            digest = _sha256(stream, seen.st_size)
            if self.known is not None:
                self.known.add(seen, os.fstat(fd), digest, read_at=read_at, is_local=is_local(fd))
        return digest, bool(seen.st_mode & stat.S_IXUSR)


def _sha256(stream: BufferedReader, size: int) -> str:
    """Return the digest of a file; a small one is read at once, which costs a third."""
    if size < _SMALL:
        data = stream.read(_SMALL)
        if len(data) < _SMALL:
            return hashlib.sha256(data).hexdigest()
        stream.seek(0)  # it grew meanwhile
    return hashlib.file_digest(stream, "sha256").hexdigest()
