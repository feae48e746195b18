"""Which executor has what: replicas handed out in chunks, with CPUs, memory and GPUs as tokens, and taken back.

Launches start in the order in which they came; a large one is not overtaken by small ones behind it, except that those
without a GPU do not wait for one. What an executor held that died is given up; what ran when it was killed is reported
by another one, where that is the task's own doing.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from nexapod_batch.files import open_files
from nexapod_batch.runner.execution.executor import Executor
from nexapod_batch.runner.owner.rules import Running
from nexapod_batch.runner.processes.niceness import stand_back
from nexapod_batch.runner.worker.executor_pool import ExecutorHandle, ExecutorPool
from nexapod_batch.runner.worker.intake import MAX_CHUNK
from nexapod_batch.spool.status_file import RunningReplica, WorkerStatus
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

    from nexapod_batch.runner.execution.slate import Slate
    from nexapod_batch.runner.gpu.allocator import GpuAllocator
    from nexapod_batch.runner.owner.monitor import OwnerMonitor
    from nexapod_batch.runner.worker.cpus import Cpus
    from nexapod_batch.runner.worker.executor_deaths import Deaths
    from nexapod_batch.runner.worker.intake import Intake, OpenLaunch
    from nexapod_batch.spool.runner_spool import Spool

__all__ = ["Assignments"]

CHUNK_S = 0.05  # work that an executor is given at once
_NOTHING = (0, 0)  # CPUs and MiB of what is only reported


class Assignments:
    """The executors of one worker, which must be a subreaper, and what each of them has."""

    def __init__(
        self,
        intake: Intake,
        spool: Spool,
        owner: OwnerMonitor,
        slate: Slate,
        deaths: Deaths,
        cpus: Cpus | None,
    ) -> None:
        """Begin without an executor. Without `cpus` the scheduler decides on which processors replicas run."""
        self._intake, self._spool, self._owner = intake, spool, owner
        self._slate, self._deaths, self._cpus = slate, deaths, cpus
        self.executors = ExecutorPool(self._execute, self._take_in, self._give_up)
        self.allocator: GpuAllocator | None = None  # GPUs, from the first launch on that wants one
        self._settled = 0  # replicas that ended
        self._turns = 0  # what was handed out to executors that had nothing, so far
        self._verdicts: dict[tuple[str, int], tuple[Outcome, str]] = {}  # on what ran, and has nobody to report it

    # ---- what runs, for whoever rules on it or looks at it

    def running(self) -> list[Running]:
        """Return what each busy executor occupies."""
        found = []
        for executor in self.executors.busy():
            devices = executor.grant.uuids if executor.grant else ()
            found.append(Running(turn=executor.turn, cpus=executor.need[0], mem_mib=executor.need[1], devices=devices))
        return found

    def status(self) -> WorkerStatus:
        """Return what runs, since when, with what, and what waits for room."""
        rows = []
        for executor in self.executors.busy():
            key, index = min(executor.held)
            launch = self._intake.open[key].launch
            row = RunningReplica(
                replica=str(launch.name(index)),
                together=len(executor.held),
                launch=key,
                job=launch.job.name,
                task=launch.task(index),
                pid=executor.pid,
                since=executor.since,
                cpus=executor.need[0],
                mem_mib=executor.need[1],
                devices=executor.grant.uuids if executor.grant else (),
                suspended=executor.suspended,
            )
            rows.append(row)
        ruling = self._owner.ruling
        return WorkerStatus(
            replicas=tuple(rows),
            pending=sum(len(one.pending) for one in self._intake.open.values()),
            names=self.allocator.names if self.allocator else {},
            paused=ruling.paused.why if ruling.paused else "",
            closed={uuid: pause.why for uuid, pause in ruling.closed.items()},
        )

    def names(self, held: Iterable[tuple[str, int]], why: str) -> dict[str, str]:
        """Return `why` by the name of each of these replicas."""
        return {str(self._intake.open[key].launch.name(index)): why for key, index in held}

    # ---- handing out

    def feed(self, *, alone: bool) -> None:
        """Hand out chunks to every executor that can use one, as far as the tokens go; with `alone` one at a time."""
        if self._owner.ruling.paused:
            return
        crowded = False  # somebody waits for a GPU
        for one in list(self._intake.open.values()):
            if not one.pending or (crowded and one.launch.job.resources.gpus):
                continue
            left = self._feed_launch(one, alone=alone)
            if left == "tokens":
                return  # first come, first served
            crowded = crowded or left == "gpus"

    def _feed_launch(self, launch: OpenLaunch, *, alone: bool) -> str:
        """Hand out what is pending of a launch; return what is lacking for the rest: `tokens`, `gpus` or nothing."""
        asked = launch.launch.job.resources
        allocator = self.allocator if asked.gpus else None
        never, broken = self._never(launch)
        need = _NOTHING if never or broken else launch.need
        ahead = allocator is None and (bool(never) or launch.is_quick)
        while launch.pending:
            executor = self._executor_for(need, ahead=ahead, alone=alone)
            if executor is None:
                return "tokens"
            if allocator is not None and need == launch.need:
                executor.grant = allocator.offer(asked, self._owner.ruling.closed)
                if executor.grant is None:
                    return "gpus"
            self._hand_out(launch, executor, need, never, broken)
        return ""

    def _never(self, launch: OpenLaunch) -> tuple[str, str]:
        """Return why nothing of a launch can run here: by what the owner gives, and by what is out of order."""
        never = self._owner.never(*launch.need)
        asked = launch.launch.job.resources
        if never or self.allocator is None or not asked.gpus:
            return never, ""
        return "", self.allocator.never(asked)

    def _executor_for(self, need: tuple[int, int], *, ahead: bool, alone: bool) -> ExecutorHandle | None:
        """Return an executor that has nothing to do and fits, else one that will soon be done; None for none."""
        busy = self.executors.busy()
        if busy and alone:
            return None
        if self._has_room(need, busy):
            return self.executors.idle()
        if not ahead:
            return None
        for executor in busy:
            if executor.unread == 0 and executor.need == need and not executor.suspended:
                return executor
        return None

    def _has_room(self, need: tuple[int, int], busy: list[ExecutorHandle]) -> bool:
        """Say whether one more executor may occupy so much beside those that are busy."""
        ruling = self._owner.ruling
        cpus = max(0, ruling.cpus - sum(executor.need[0] for executor in busy))
        mem_mib = max(0, ruling.mem_mib - sum(executor.need[1] for executor in busy))
        return need[0] <= cpus and need[1] <= mem_mib

    def _hand_out(
        self, launch: OpenLaunch, executor: ExecutorHandle, need: tuple[int, int], never: str, broken: str
    ) -> None:
        """Give an executor some replicas to run, or to report that they never start here: by the owner, or `broken`."""
        key = launch.launch.bundle.launch
        indexes = self._chunk(launch)
        if not executor.held:
            self._turns += 1
            executor.turn, executor.since = self._turns, time.time()
            self._bind(executor, need)
        executor.first = not executor.held and not self._settled
        if executor.suspended:  # its last replica was, and ended all the same
            executor.suspended = ""
            executor.send({"pause": False})
        executor.held.update(dict.fromkeys((key, index) for index in indexes))
        executor.need = need
        executor.unread += 1
        if never or broken:
            names = self.names([(key, index) for index in indexes], never or broken)
            executor.send({"give_up" if never else "unfit": names})
        self._tell_verdicts(launch, executor, indexes)
        message: dict[str, Any] = {"run": [key, indexes, launch.seed]}
        if executor.grant is None:
            executor.send(message)
        else:
            executor.send({**message, "grant": executor.grant.document()}, executor.grant.fds)

    def _chunk(self, launch: OpenLaunch) -> list[int]:
        """Take positions of a bundle that make up about `CHUNK_S` of work, and leave something for the others.

        What waits in other launches is something, too: as long as there is plenty, chunks are large.
        """
        count = 1
        if launch.mean_s:
            count = max(1, min(MAX_CHUNK, int(CHUNK_S / launch.mean_s)))
        waiting = sum(len(one.pending) for one in self._intake.open.values())
        share = -(-waiting // (2 * max(1, len(self.executors))))
        return [launch.pending.popleft() for _ in range(min(count, share, len(launch.pending)))]

    def _bind(self, executor: ExecutorHandle, need: tuple[int, int]) -> None:
        """Give an executor, and so what it runs, processors of its own; where a scheduler decides it has done so."""
        if self._cpus is None:
            return
        executor.cpus = self._cpus.take(need[0])
        if executor.cpus != executor.bound:
            executor.send({"cpus": executor.cpus or self._cpus.all})
            executor.bound = executor.cpus

    def _tell_verdicts(self, launch: OpenLaunch, executor: ExecutorHandle, indexes: list[int]) -> None:
        """Tell an executor which of these replicas it only reports."""
        verdicts = {}
        for index in indexes:
            why = self._verdicts.pop((launch.launch.bundle.launch, index), None)
            why = why or self._deaths.verdict(launch.launch.task(index))
            if why is not None:
                verdicts[str(launch.launch.name(index))] = why
        if verdicts:
            executor.send({"verdicts": verdicts})

    def _execute(self, channel: socket.socket, number: int) -> None:
        """Be an executor, in the process that was forked for it."""
        if self.allocator is not None:
            self.allocator.forget()
        opened = {key: one.launch for key, one in self._intake.open.items()}
        stand_back(self._owner.courtesy)
        open_files.give_back()
        seat = self._slate.seat(number)
        Executor(self._intake.node, self._spool, channel, number, self._intake.cancelled, opened, seat).serve()

    # ---- taking back

    def _take_in(self, executor: ExecutorHandle, message: Mapping[str, Any]) -> None:
        """Take in what an executor says."""
        if "took" in message:
            executor.unread -= 1
        if "lost" in message and self.allocator is not None:
            self.allocator.lose(message["lost"])
        for key, index in message.get("back", ()):
            executor.held.pop((key, index), None)
            self._intake.open[key].pending.appendleft(index)
        done = message.get("done")
        if done:
            for key in {key for key, _ in done}:
                self._intake.open[key].measured(message["busy"] / len(done))
            self._settle(executor, [(key, index) for key, index in done])

    def _settle(self, executor: ExecutorHandle, ended: list[tuple[str, int]]) -> None:
        """Count replicas that were reported or given up; close launches of which none is left."""
        executor.settled += len(ended)
        for key, index in ended:
            executor.held.pop((key, index), None)
            one = self._intake.open[key]
            self._settled += 1
            one.left -= 1
            if one.left == 0:
                self._intake.close(key)
        if executor.held:
            return
        if executor.grant is not None and self.allocator is not None:
            self.allocator.free(executor.grant)
            executor.grant = None
        if self._cpus is not None:
            self._cpus.free(executor.cpus)
            executor.cpus = ()

    def _give_up(self, executor: ExecutorHandle) -> None:
        """Give up what an executor had that died; what ran is for another one to report, if it did that itself."""
        ran = self._ran(executor)
        if ran is not None and (why := self._accuse(executor, *ran)) is not None:
            self._verdicts[ran] = why
            del executor.held[ran]
            self._intake.open[ran[0]].pending.appendleft(ran[1])
        if executor.held:
            lost = ", ".join(sorted(self.names(executor.held, "")))
            print(f"executor {executor.pid} died; given up: {lost}", file=sys.stderr, flush=True)  # noqa: T201
        self._settle(executor, list(executor.held))

    def _ran(self, executor: ExecutorHandle) -> tuple[str, int] | None:
        """Return whose command ran when an executor died; None when none did."""
        seat = self._slate.look_at(executor.number)
        at = seat.count - executor.settled - 1
        if seat.running and 0 <= at < len(executor.held):
            return list(executor.held)[at]
        return None

    def _accuse(self, executor: ExecutorHandle, key: str, index: int) -> tuple[Outcome, str] | None:
        """Return what a replica must be called that ran when its executor was killed; None when it may be bad luck."""
        one = self._intake.open[key]
        if executor.overdue:
            most = one.launch.job.resources.time_s
            return Outcome.TIME, f"over its time limit of {most} s, and its executor was kept from ending it"
        if executor.status is None or not os.WIFSIGNALED(executor.status):
            return None
        self._deaths.add(one.launch.task(index))
        return self._deaths.verdict(one.launch.task(index))
