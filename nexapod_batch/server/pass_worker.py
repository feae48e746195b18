"""The process that makes the passes of a server: told to by lines on stdin, it tells of each by a line on stdout.

It ends when its stdin does, so that it never outlives the server, however that ended.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.commands.driving import drive
from nexapod_batch.coordinator.commands.upkeep.left_uploads import remove_uploads
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import umask
from nexapod_batch.mesh.listening import Listener
from nexapod_batch.wording import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.commands.reconcile import Pass
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["main"]

#: Seconds between two looks at what people and nodes left half sent.
_SWEPT_S = 3_600.0


def _nap(seconds: float) -> str:
    """Wait for at most so long; return `news` when somebody wakes this process, `end` when nobody is there any more."""
    ready, _, _ = select.select([0], [], [], seconds)
    if not ready:
        return ""
    return "news" if os.read(0, 65536) else "end"


def _say(**fields: object) -> None:
    os.write(1, (json.dumps({"at": time.time(), **fields}) + "\n").encode())  # nothing is left for the end to flush


def _tell(done: Pass) -> None:
    _say(
        ingested=done.ingested, decided=done.decided, launched=done.launched, published=done.published, lost=done.lost,
        moved=done.moved, quarantined=done.quarantined, open_jobs=done.open_jobs,
        faults=[one_line(fault) for fault in done.faults], standing=len(done.standing),
    )  # fmt: skip


def _fault(error: Exception) -> None:
    text = error.one_line if isinstance(error, NexapodError) else str(error)
    log.warning(__name__, "a pass failed", error=text)
    _say(failed=text)


class _Sweeper:
    """Removes now and then what nobody goes on sending: who never comes back sends nothing that would have it done."""

    def __init__(self, c: Coordinator) -> None:
        """Have the first pass followed by a look."""
        self._coordinator, self._due = c, time.monotonic()

    def heard(self, done: Pass) -> None:
        """Tell of a pass, and look when it is time to."""
        _tell(done)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _SWEPT_S
            remove_uploads(self._coordinator)


def main(arguments: Sequence[str]) -> int:
    """Make passes over the home whose paths are the arguments, until stdin ends."""
    home, results, *config = map(Path, arguments)
    with umask.private(), open_coordinator(Paths(home, tuple(config), results)) as c:
        try:
            listener = Listener(c.paths.home / "spool")
            listener.note()

            def nap(seconds: float) -> str:
                answer = _nap(seconds)
                listener.note()
                return answer

            drive(c, nap, _Sweeper(c).heard, _fault)
        except BrokenPipeError:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
