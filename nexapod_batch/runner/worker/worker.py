"""The main process of a worker: claims launches, feeds executors, and sees to it that nothing outlives them.

It runs no command itself. Guarantees:

* CPUs, memory and GPUs (`gpu.allocator`) of the node are handed out as tokens (`assignments`): what runs side by side
  fits the node;
* nothing starts that the owner of the machine does not want to (`owner.monitor`), and what waits then is not claimed;
* an executor that dies costs what it held, nothing else: its commands are killed (the worker is their subreaper), its
  replicas are given up, another executor takes its place;
* an executor that does not end what is over its time is killed, and the next one reports that; a task during which
  executors are killed again and again has an error (`executor_deaths.py`);
* a worker that ends leaves no process; one that is killed takes its executors with it (PDEATHSIG), and they their
  commands;
* a worker of older code than its coordinator's takes nothing more, and a worker of that code takes its place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError
from nexapod_batch.files import open_files
from nexapod_batch.files.own import own_folder
from nexapod_batch.runner.execution.folders.work_dirs import remove_strays
from nexapod_batch.runner.execution.slate import Slate
from nexapod_batch.runner.launches.allocation import TIME_OVER, is_over
from nexapod_batch.runner.owner.monitor import OwnerMonitor
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.worker.assignments import Assignments
from nexapod_batch.runner.worker.cpus import Cpus
from nexapod_batch.runner.worker.executor_deaths import Deaths
from nexapod_batch.runner.worker.intake import Intake, settings_version
from nexapod_batch.runner.worker.oversight import REST_S, Oversight
from nexapod_batch.spool import layout
from nexapod_batch.spool.lock import Lock
from nexapod_batch.spool.runner_spool import Spool
from nexapod_batch.spool.status_file import StatusWriter, take_sole_task

if TYPE_CHECKING:
    from nexapod_batch.runner.gpu.allocator import GpuAllocator
    from nexapod_batch.runner.launches.allocation import Allocation
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["Worker"]

POLL_S = (0.005, 0.05)  # between two looks into the spool: while busy or just woken, and at rest
_MIN_FILES = 20  # with which one replica at a time can run
PAUSED_S = 0.25  # and while the owner lets nothing start


class Worker:
    """One worker; `run` returns when there was nothing to do for a while, or a signal said so."""

    def __init__(
        self,
        node: NodeConfig,
        incarnation: str,
        allocation: Allocation | None = None,
        *,
        parent: int = 0,
        stay: bool = False,
    ) -> None:
        """Prepare; nothing is locked or started yet. With an allocation only its launches are run.

        With the process id of a `parent` the worker stops when that process is its parent no more. One that is to
        `stay` rests when there is nothing to do, without executors.
        """
        self._node, self._incarnation = node, incarnation
        own_folder(node.work)
        native_id = allocation.native_id if allocation else node.native_id
        mine = None if allocation is None else frozenset(allocation.launches)
        self._spool = Spool(node.spool, incarnation, node.host, native_id, mine)
        self._intake = Intake(node, self._spool, None if allocation is None else allocation.launches)
        self._lasts_s = allocation.lasts_s if allocation else 0
        self._alone = allocation is not None  # a scheduler's job has only one worker
        owned = allocation is None and not node.native_id
        self._owner = OwnerMonitor(node, owned=owned)
        self._cpus = Cpus(node.cpus) if owned else None
        self._status = None if self._alone else StatusWriter(node.spool, incarnation)
        self._stopping = False
        self._over = False  # it stops because the time of its allocation is over
        self._parent, self._stay = parent, stay
        self._settings = settings_version(node.spool)
        self._slate = Slate()
        self._deaths = Deaths(node.spool / layout.EXECUTOR_DEATHS)

    def run(self) -> bool:
        """Work until idle; False when another worker holds the spool."""
        if self._alone:  # others work on this spool too, on launches of their own
            self._prepare()
            self._serve()
            return True
        lock = Lock(self._node.spool / layout.LOCK)
        if not lock.take(self._incarnation):
            return False
        self._clear_away()
        self._prepare()
        while True:
            self._serve()
            if self._stay and self._rest():
                continue
            lock.release()
            if self._intake.outdated and not self._stopping:
                self._make_room()
            if not self._goes_on(lock):
                return True

    def _goes_on(self, lock: Lock) -> bool:
        """Say whether to work on: whoever put a launch there just before the unlock saw the lock taken."""
        if self._stopping or self._stay or self._is_stopped() or not self._spool.has_waiting():
            return False
        return lock.take(self._incarnation)

    def _rest(self) -> bool:
        """Wait for work; False when the worker is to end: it was told so, or its node is another one by now."""
        while not self._stopping and self._settings == settings_version(self._node.spool):
            self._owner.look(list)
            if not self._is_stopped() and (self._spool.has_waiting() or self._intake.open):
                return True
            self._assignments.executors.wait(REST_S)
        return False

    def _make_room(self) -> None:
        """Become the worker that the coordinator would start now; one that somebody else starts again just ends."""
        argv = self._intake.node.successor
        if not argv or self._stay or self._parent:
            self._stopping = True
            return
        print("the code changed, or what commands are passed: a new worker takes over", file=sys.stderr, flush=True)  # noqa: T201 - worker.log
        open_files.give_back()
        try:
            os.execv(argv[0], argv)  # noqa: S606 - what our own coordinator starts as well
        except OSError as error:
            print(f"{argv[0]} cannot be started: {error}", file=sys.stderr, flush=True)  # noqa: T201
            self._stopping = True

    def _clear_away(self) -> None:
        """End and remove what an incarnation left that was killed together with its executors."""
        if task := take_sole_task(self._node.spool):
            self._deaths.add(task)
        strays = descendants.find_strays(str(self._node.work))
        if strays:
            print(f"killing what a dead worker left running: {strays}", file=sys.stderr, flush=True)  # noqa: T201
            descendants.signal_all(strays, signal.SIGKILL)
        remove_strays(self._node.work, self._spool)

    def _prepare(self) -> None:
        """Become what executors need above them."""
        descendants.become_subreaper()
        files = open_files.raise_limit()
        if files < _MIN_FILES:
            hint = f"raise it where the node is started: ulimit -n {100 + self._node.cpus}"
            raise ConfigError("a runner opens more files than this account may", got=f"a limit of {files}", hint=hint)
        self._assignments = Assignments(
            self._intake, self._spool, self._owner, self._slate, self._deaths, self._cpus
        )
        self._oversight = Oversight(self._assignments, self._owner, self._slate, str(self._node.work))
        signals = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        if self._alone:
            signals.append(TIME_OVER)
        for sign in signals:
            signal.signal(sign, self._on_stop)

    def _on_stop(self, sign: int, _: object) -> None:
        """Stop; a scheduler that warns of every end, and says when the time is over, may warn of another end."""
        if sign == TIME_OVER and not self._stopping:
            self._over = is_over(self._lasts_s)
        self._stopping = True

    def _serve(self) -> None:
        """Work until nothing was there for `idle_exit_s`, then end the executors."""
        idle_since = time.monotonic()
        pause = POLL_S[0]
        while not self._stopping and not self._is_stopped():
            if self._parent and os.getppid() != self._parent:
                self._stopping = True
            if self._look():
                pause = POLL_S[0]
            if self._intake.open:
                idle_since = time.monotonic()
            elif self._is_done(idle_since):
                break
            self._oversight.obey_owner()
            self._assignments.feed(alone=self._oversight.one_at_a_time)
            if self._status is not None:
                self._status.show(self._assignments.status)
            longest = PAUSED_S if self._owner.ruling.paused else POLL_S[1]
            came = self._assignments.executors.wait(min(pause, self._oversight.watch(time.monotonic())))
            pause = POLL_S[0] if came else min(pause * 1.2, longest)
        self._end()

    def _is_stopped(self) -> bool:
        """Say whether the owner has stopped the node: nothing starts, and the executors end, as at a signal."""
        return self._owner.stops(busy=self._assignments.executors.is_busy())

    def _is_done(self, idle_since: float) -> bool:
        """Say whether a worker that has nothing to do is to end."""
        if self._alone or self._intake.outdated:
            return True
        return time.monotonic() - idle_since >= self._node.idle_exit_s

    def _end(self) -> None:
        """End the executors."""
        executors = self._assignments.executors
        if self._over:
            for executor in executors.all():
                executor.send({"over": executor.first})
        self._owner.end()
        executors.end(stop=self._stopping or self._is_stopped())
        if self._status is not None:
            self._status.clear()

    def _look(self) -> bool:
        """Take in news of the spool; True when there was something."""
        intake, executors = self._intake, self._assignments.executors
        keys = intake.node.keys, intake.node.coordinators
        came, cancelled = intake.look(paused=bool(self._owner.ruling.paused))
        if (intake.node.keys, intake.node.coordinators) != keys:
            executors.renew()  # executors that are there know the old ones
        if came and self._assignments.allocator is None:
            self._look_for_gpus()
        names = sorted(cancelled)
        for first in range(0, len(names), 1000):
            for executor in executors.all():
                executor.send({"cancel": names[first : first + 1000]}, urgent=True)
        return came

    def _look_for_gpus(self) -> None:
        """Make the node's GPUs known as soon as a launch asks for one."""
        if any(one.launch.job.resources.gpus for one in self._intake.open.values()):
            self._assignments.allocator = self._make_allocator()
            self._owner.mind_gpus(self._assignments.allocator)

    def _make_allocator(self) -> GpuAllocator:
        """Return the node's GPUs: what a scheduler gave, else what the owner offers."""
        from nexapod_batch.runner.gpu.allocator import GpuAllocator  # noqa: PLC0415
        from nexapod_batch.runner.launches.allocation import given_gpus  # noqa: PLC0415 - for who wants a GPU

        node = self._node
        if self._alone:
            return GpuAllocator(slots=node.gpu_slots, only=given_gpus() or (), given=True, alone=True)
        if node.native_id:
            return GpuAllocator(slots=node.gpu_slots, only=given_gpus(), given=True)
        return GpuAllocator(slots=node.gpu_slots, only=node.gpus, record=node.spool)
