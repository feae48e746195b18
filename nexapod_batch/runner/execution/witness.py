"""What the machine knows of a replica that its exit code does not say: killed processes, a full disk.

An exit code of 0 is no success where the kernel or the file system says otherwise.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.runner.execution.folders.disk_space import room
from nexapod_batch.runner.processes.oom_kills import Kills, Rise, judge
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from nexapod_batch.runner.execution.slate import Seat
    from nexapod_batch.runner.processes.process_tree import Result

__all__ = ["CAREFUL_S", "Witness"]

#: For which replicas run one after the other, once the kernel killed something and nobody knows whose.
CAREFUL_S = 600.0
_KILLED = 128 + signal.SIGKILL  # as a shell says it of what it started


class Witness:
    """Watches the machine while one replica after the other runs here."""

    def __init__(self, work: str, seat: Seat | None, worker: int) -> None:
        """Find out what the kernel counts; without a seat there is nobody beside what runs.

        `work` is the folder of the work folders; what a process `worker` started is no stranger.
        """
        self._work, self._seat, self._worker = work, seat, worker
        self._folders: tuple[str, ...] = (work,)  # whose disks are looked at
        self._tmp = ""  # the folder of temporary files that this is about
        self._kills = Kills()
        self._before, self._began, self._full = 0, 0.0, ""

    def turn(self) -> None:
        """Say that the next replica is at hand, for who must know which one it was."""
        if self._seat is not None:
            self._seat.turn()

    def begin(self, tmp: str) -> None:
        """Look, right before a command starts whose temporary files lie in `tmp`."""
        if tmp != self._tmp:
            self._tmp = tmp
            self._folders = (self._work, tmp) if tmp and not _on_one_disk(self._work, tmp) else (self._work,)
        self._before, self._began, self._full = self._kills.count(), time.monotonic(), ""
        if self._seat is not None:
            self._seat.begin()

    def look(self) -> float:
        """Look at the disks, as nobody else does before the end; return the seconds until that is due again."""
        found = {folder: room(folder) for folder in self._folders}
        self._full = self._full or next((folder for folder, left in found.items() if left.full), "")
        return min(left.look_in for left in found.values())

    def deadline(self, when: float) -> None:
        """Say when the command must be told to end, for who watches over us; 0 while its time stands still."""
        if self._seat is not None:
            self._seat.deadline = when

    def end(self) -> None:
        """Say that nothing of the command lives."""
        if self._seat is not None:
            self._seat.deadline = 0.0
            self._seat.end()

    def judge(self, result: Result) -> tuple[Outcome, str] | None:
        """Return why a result that nobody stopped is none; None when nothing is known against it."""
        killed = self._kills.count() - self._before
        if killed > 0:
            why = judge(self._rise(killed, own=result.signal == signal.SIGKILL or result.status == _KILLED))
            if why is not None:
                return why
        self.look()
        if self._seat is not None and self._seat.slate.full_at >= self._began:
            self._full = self._full or self._work
        if not self._full:
            return None
        where = self._work if self._full == self._work else "temporary files"
        return Outcome.NODE, f"the disk of {where} was full while this ran: what it wrote may be incomplete"

    def _rise(self, killed: int, *, own: bool) -> Rise:
        beside = explained = 0
        if self._seat is not None:
            now = time.monotonic()
            if own:
                self._seat.killed_at = now
            for other in self._seat.slate.others(self._seat):
                explained += other.killed_at >= self._began
                beside += other.running or max(other.began, other.ended) >= self._began
        shared = beside > 0 or self._kills.strangers(self._worker)
        if self._seat is not None and shared and not own and killed > explained:
            self._seat.slate.careful_until = time.monotonic() + CAREFUL_S
        return Rise(killed, own, explained, shared, self._kills.limit_mib())


def _on_one_disk(folder: str, other: str) -> bool:
    with suppress(OSError):
        return os.stat(folder).st_dev == os.stat(other).st_dev
    return False
