"""When the server listened: a node is silent only while it would have been heard.

A server that was switched off, slept, or whose clock was set by a day heard nobody: what its nodes run is not given to
others for that. One small file in the folder of all spools says from when to when it listened without a gap.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct
from msgspec import json as msgjson

from nexapod_batch.files import atomic, careful

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE", "Heard", "Listener", "heard", "silent_s"]

FILE = ".listening"
#: Seconds between two notes of it, and how much longer it is believed that the server listens.
_NOTED_S, _BELIEVED_S = 60.0, 180.0
#: Seconds between two clocks' ways: more is a step of one of them, or a sleep.
_STEP_S = 30.0
_MAX_BYTES = 4096


class Heard(Struct, frozen=True):
    """For so long the server listened without a gap, in seconds since 1970."""

    since: float
    until: float


class Listener:
    """Notes that the server listens; asked before each pass."""

    def __init__(self, spools: Path) -> None:
        """Begin to listen now."""
        self._file = spools / FILE
        self._since, self._noted = time.time(), 0.0
        self._way = self._since - time.monotonic()

    def note(self) -> None:
        """Go on listening, or begin anew where the clock was set or the machine slept."""
        now, monotonic = time.time(), time.monotonic()
        if abs(now - monotonic - self._way) > _STEP_S:
            self._since, self._noted = now, 0.0
        self._way = now - monotonic  # a clock that is drawn slowly is no step
        if self._noted and monotonic - self._noted < _NOTED_S:
            return
        with suppress(OSError):  # a full disk: nodes are silent for less long than they were
            atomic.write(self._file, msgjson.encode(Heard(self._since, now)), mode=0o600, durable=False)
            self._noted = monotonic


def heard(spools: Path) -> Heard | None:
    """Return when the server listened last; None where none has noted it."""
    try:
        return msgjson.decode(careful.read(spools / FILE, _MAX_BYTES), type=Heard)
    except (OSError, DecodeError):
        return None


def silent_s(seen: float, now: float, listened: Heard | None) -> float:
    """Return for how many seconds a node that called last at `seen` could have called, and did not. Pure."""
    if listened is None:
        return max(0.0, now - seen)
    begin = listened.since if seen > now else max(seen, listened.since)
    return max(0.0, min(now, listened.until + _BELIEVED_S) - begin)
