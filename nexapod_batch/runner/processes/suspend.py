"""A process tree brought to a halt and set going again.

Only what was running is stopped, and only what was stopped here goes on: a process that a command stopped itself stays
as it is. Stopping repeats until no process is found that was missed, since a tree may fork while it is being stopped.
"""

from __future__ import annotations

import signal

from nexapod_batch.runner.processes import descendants

__all__ = ["Freezer"]

_QUIET = frozenset({"T", "t", "Z", "X", ""})  # stopped, traced, ended, gone


class Freezer:
    """Stops and continues everything below one process, which itself goes on."""

    def __init__(self, pid: int) -> None:
        """Remember below whom."""
        self._pid = pid
        self._stopped: list[int] = []

    def stop(self) -> None:
        """Stop everything that runs; to be repeated as long as it is to stay so."""
        while found := [pid for pid in descendants.find(self._pid) if descendants.state(pid) not in _QUIET]:
            new = [pid for pid in found if pid not in self._stopped]
            descendants.signal_all(found, signal.SIGSTOP)
            self._stopped += new
            if not new:  # signalled before, and not there yet: in the kernel, or somebody else's
                return

    def go(self) -> None:
        """Continue what was stopped here; the last one first, so that no parent finds a child that hangs."""
        mine = set(descendants.find(self._pid))  # a number may belong to a stranger by now
        descendants.signal_all([pid for pid in reversed(self._stopped) if pid in mine], signal.SIGCONT)
        self._stopped.clear()
