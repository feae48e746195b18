"""What a worker is doing, for whoever looks: `running.json` in the spool, written anew when it changes.

It is a notice and no record: nothing depends on it, it is not durable, and it goes with the worker. Who reads it
compares its incarnation with that of the lock.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.files import atomic
from nexapod_batch.spool.claims import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FILE", "Board", "ran_alone"]

FILE = "running.json"
EVERY_S = 0.5  # between two writings, at least: short replicas come and go unseen


class Board:
    """The notice of one incarnation of a worker."""

    def __init__(self, spool: Path, incarnation: str) -> None:
        """Remember where it is; nothing is written yet."""
        self._file = spool / FILE
        self._head = {"schema": 1, "incarnation": incarnation, "pid": os.getpid(), "since": time.time()}
        self._head["boot"] = boot_id()
        self._shown: Any = None
        self._next = 0.0

    def show(self, what: Callable[[], dict[str, Any]]) -> None:
        """Write what is there now, if it is time to and something else than before."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        found = what()
        if found != self._shown:
            with suppress(OSError):  # nothing depends on it
                atomic.write(self._file, orjson.dumps({**self._head, **found}), mode=0o600, durable=False)
                self._shown = found

    def clear(self) -> None:
        """Take the notice away."""
        self._shown = None
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def ran_alone(spool: Path) -> list[str]:
    """Return the task that a worker was at when it was killed, and its notice stayed; none if there were several."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        left = orjson.loads((spool / FILE).read_bytes())
        (spool / FILE).unlink(missing_ok=True)  # counted once
        tasks = [str(row["task"]) for row in left["replicas"]]
        if len(tasks) == 1 and left["boot"] == boot_id():
            return tasks
    return []
