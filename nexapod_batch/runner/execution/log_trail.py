"""Notes of what a replica writes to stdout and stderr while it runs: see `trust.trail`.

A replica that takes its time gets one after half a minute, and then whenever there is something new: as seldom as suits
how long it has run already, so that a week has no more than some hundred.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from nexapod_batch.trust.statement import LogTrail
from nexapod_batch.trust.trail import FIRST, MAX_NOTES, Chunk, Note, encode_note, noted, replica_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.runner.execution.logs import Logs
    from nexapod_batch.runner.launches.launch import OpenedLaunch

__all__ = ["TrailOfLogs"]

#: A replica that has run for this many times as long as it had to for its first note waits as long for the next one.
_SLOWER = 100
#: Bytes of one log that a note covers, at most: the rest follows at once, and limits are looked at in between.
_MAX_BYTES = 64 << 20
_BLOCK = 1 << 20


class TrailOfLogs:
    """The trail of one replica."""

    def __init__(self, launch: OpenedLaunch, index: int, logs: Logs, begins_s: float) -> None:
        """Begin a trail; `begins_s` is how long the command has run by then."""
        self._name = str(launch.name(index))
        self._key = replica_key(launch.signer.trail_secret(), launch.bundle.replicas[index].nonce)
        self._logs, self._begins_s = logs, begins_s
        self._ends = [0, 0]  # of what was noted of stdout and of stderr
        self._number, self._head = 0, FIRST

    def note(self, elapsed: float) -> tuple[bytes | None, float]:
        """Return a line for the segment, None where nothing is new, and when to ask again; both as time of the command.

        OSError where a log cannot be read.
        """
        behind = False
        chunks = []
        for stream, fd in enumerate(self._logs.descriptors):
            chunk, is_behind = _chunk(fd, self._ends[stream])
            chunks.append(chunk)
            behind = behind or is_behind
        due = elapsed + (1.0 if behind else max(self._begins_s, elapsed / _SLOWER))
        if not self._is_new(chunks) or self._number == MAX_NOTES:
            return None, due
        self._ends = [chunk.end for chunk in chunks]
        self._number += 1
        stdout, stderr = chunks
        unsigned = Note(self._name, self._number, round(time.time() * 1000), stdout, stderr, self._head, mac="")
        note = noted(self._key, unsigned)
        self._head = note.mac
        return encode_note(note), due

    @property
    def head(self) -> LogTrail | None:
        """What goes into the statement: None before the first note."""
        if self._number:
            return LogTrail(self._number, self._head)
        return None

    def _is_new(self, chunks: Sequence[Chunk]) -> bool:
        """Say whether a log has grown, or was cut."""
        return any(chunk.end != end for chunk, end in zip(chunks, self._ends, strict=True))


def _chunk(fd: int, start: int) -> tuple[Chunk, bool]:
    """Return what is new of a log from a position on, all of it where it was cut, and whether there is more."""
    size = os.fstat(fd).st_size
    if size < start:
        start = 0
    digest, end, stop = hashlib.sha256(), start, min(size, start + _MAX_BYTES)
    while end < stop:
        data = os.pread(fd, min(_BLOCK, stop - end), end)
        if not data:  # it was cut meanwhile: the next note sees it
            break
        digest.update(data)
        end += len(data)
    return Chunk(start, end, digest.hexdigest()), end < size
