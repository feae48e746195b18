"""Tasks while which executors were killed, and when that is the task's own doing.

An executor may be killed by accident, and so may a worker; what ran then is lost and replaced. A task during which that
happens again and again does it itself, or makes others do it: it has an error like one that is over its time. Kept in
the spool, since a command of the same account can kill the worker as well.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE", "TOLERATED", "Deaths"]

FILE = "deaths.json"
#: Deaths that are bad luck.
TOLERATED = 2
#: Seconds after which a death is forgotten.
_FORGOTTEN_S = 3600.0
_MOST = 1000  # tasks


class Deaths:
    """How often executors died on this node, by task."""

    def __init__(self, file: Path | None) -> None:
        """Read what is known; without a file it is known as long as this worker lives."""
        self._file = file
        self._times: dict[str, list[float]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            if file is not None:
                found = orjson.loads(file.read_bytes())
                self._times = {str(task): [float(one) for one in times] for task, times in found.items()}

    def add(self, task: str) -> None:
        """Count one more, and keep that."""
        now = time.time()
        times = self._times.pop(task, [])
        self._times[task] = [*(one for one in times if now - one < _FORGOTTEN_S), now]
        while len(self._times) > _MOST:
            del self._times[next(iter(self._times))]
        if self._file is not None:
            with suppress(OSError):  # a full disk: this worker knows all the same
                atomic.write(self._file, orjson.dumps(self._times), mode=0o600)

    def verdict(self, task: str) -> tuple[Outcome, str] | None:
        """Return what a replica of a task must be called; None as long as nothing is held against it."""
        if not self._times:
            return None
        now = time.time()
        count = sum(now - one < _FORGOTTEN_S for one in self._times.get(task, ()))
        if count <= TOLERATED:
            return None
        return Outcome.FAILED, f"its executor was killed {count} times while this ran: it must not end what runs it"
