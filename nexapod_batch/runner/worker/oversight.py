"""What a worker sees to while executors run: the owner's rulings, the machine's alarm, time limits, the disk."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from nexapod_batch.runner.execution.folders.disk_space import room
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.usage import Alarm
from nexapod_batch.runner.worker.watcher import OVERDUE_S, WATCH_S

if TYPE_CHECKING:
    from nexapod_batch.runner.execution.slate import Slate
    from nexapod_batch.runner.owner.monitor import OwnerMonitor
    from nexapod_batch.runner.owner.rules import Ruling
    from nexapod_batch.runner.worker.assignments import Assignments
    from nexapod_batch.runner.worker.executor_pool import ExecutorHandle

__all__ = ["REST_S", "Oversight"]

REST_S = 0.5  # between two looks while there has been nothing to do for long


class Oversight:
    """Watches over the executors of one worker."""

    def __init__(self, assignments: Assignments, owner: OwnerMonitor, slate: Slate, work: str) -> None:
        """Remember what to watch; `work` is the folder whose disk commands fill."""
        self._assignments, self._owner, self._slate, self._work = assignments, owner, slate, work
        self._executors = assignments.executors
        self._alarm = Alarm()
        self._next_watch = self._next_room = 0.0
        self._careful = 0.0  # until then one replica runs at a time

    @property
    def one_at_a_time(self) -> bool:
        """Whether only one replica may run now."""
        return time.monotonic() < self._careful

    def obey_owner(self) -> None:
        """Let the executors look at what runs, and suspend, continue and give up what the owner wants them to."""
        if self._alarm.rings(time.monotonic()):
            for executor in self._executors.busy():
                executor.send({"look": True}, urgent=True)
        if self._assignments.allocator is not None:
            self._assignments.allocator.mind()
        before = self._owner.courtesy
        changed = self._owner.look(self._assignments.running)
        if self._owner.courtesy != before:
            self._executors.renew()
        if changed:
            for executor in self._executors.busy():
                self._apply(self._owner.ruling, executor)

    def _apply(self, ruling: Ruling, executor: ExecutorHandle) -> None:
        """Tell an executor what a new ruling means for what it has."""
        message: dict[str, Any] = {}
        why = ruling.suspend.get(executor.turn, "")
        if bool(why) != bool(executor.suspended):
            message["pause"] = bool(why)
        executor.suspended = why
        if executor.turn in ruling.give_up and executor.given_up != executor.turn and len(executor.held) == 1:
            executor.given_up = executor.turn  # several are short ones: all but the first come back
            message["give_up"] = self._assignments.names(executor.held, ruling.give_up[executor.turn])
        if message:
            executor.send(message, urgent=True)

    def watch(self, now: float) -> float:
        """Watch over the executors and their disk; return the seconds until that is due again."""
        if not self._executors.is_busy():
            return REST_S
        if now >= self._next_room:
            left = room(self._work)
            if left.full:
                self._slate.full_at = now
            self._next_room = now + left.look_in
        if now >= self._next_watch:
            self._next_watch = now + WATCH_S
            self._end_overdue(now)
        careful = self._slate.careful_until
        if careful > now > self._careful:
            told = f"one replica at a time for {careful - now:.0f} s: the kernel killed something, whose is not known"
            print(told, file=sys.stderr, flush=True)  # noqa: T201 - worker.log
        self._careful = careful
        return self._next_room - now

    def _end_overdue(self, now: float) -> None:
        """Kill executors that do not end what is over its time."""
        for executor in self._executors.busy():
            deadline = self._slate.look_at(executor.number).deadline
            if deadline and now > deadline + OVERDUE_S:
                executor.overdue = True
                descendants.signal_all([executor.pid], signal.SIGKILL)
