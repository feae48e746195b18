"""Tasks while which executors were killed, and when that is the task's own doing.

An executor may be killed by accident, and so may a worker; what ran then is lost and replaced. A task during which that
happens again and again does it itself, or makes others do it: it has an error like one that is over its time. Kept in
the spool, since a command of the same account can kill the worker as well; runners in jobs of a scheduler share it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.spool.lock import Lock
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TOLERATED", "Deaths"]

#: Deaths that are bad luck.
TOLERATED = 2
#: Seconds after which a death is forgotten, and before which one is that a clock which was set back has to come.
_FORGOTTEN_S = 3600.0
_MOST = 1000  # tasks


class Deaths:
    """How often executors died on this node, by task."""

    def __init__(self, file: Path) -> None:
        """Read what is known."""
        self._file = file
        self._times: dict[str, list[float]] = {}
        self._read()

    def _read(self) -> None:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found = careful.load(self._file)
            self._times = {str(task): [float(time) for time in times] for task, times in found.items()}

    def add(self, task: str) -> None:
        """Count one more, and keep that."""
        lock = Lock(self._file.with_suffix(".lock"))
        held = False
        with suppress(OSError):  # and where a command of this account holds it, one that others count may be forgotten
            held = lock.take("")
        self._read()
        self._count(task)
        with suppress(OSError):  # a full disk: this worker knows all the same
            atomic.write(self._file, orjson.dumps(self._times), mode=0o600)
        if held:
            lock.release()

    def _count(self, task: str) -> None:
        now = time.time()
        times = self._times.pop(task, [])
        self._times[task] = [*(time for time in times if abs(now - time) < _FORGOTTEN_S), now]
        while len(self._times) > _MOST:
            del self._times[next(iter(self._times))]

    def verdict(self, task: str) -> tuple[Outcome, str] | None:
        """Return what a replica of a task must be called; None as long as nothing is held against it."""
        if not self._times:
            return None
        now = time.time()
        count = sum(abs(now - one) < _FORGOTTEN_S for one in self._times.get(task, ()))
        if count <= TOLERATED:
            return None
        return Outcome.FAILED, f"its executor was killed {count} times while this ran: it must not end what runs it"
