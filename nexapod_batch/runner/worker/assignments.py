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

from nexapod_batch.runner.execution.executor import Executor
from nexapod_batch.runner.owner.rules import Running
from nexapod_batch.runner.processes.niceness import stand_back
from nexapod_batch.runner.worker.executor_pool import Lane, Lanes
from nexapod_batch.runner.worker.intake import MAX_CHUNK
from nexapod_batch.spool.status_file import RunningReplica, WorkerStatus
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

    from nexapod_batch.runner.execution.slate import Slate
    from nexapod_batch.runner.gpu.allocator import Rack
    from nexapod_batch.runner.owner.monitor import Keeper
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
        keeper: Keeper,
        slate: Slate,
        deaths: Deaths,
        cpus: Cpus | None,
    ) -> None:
        """Begin without an executor. Without `cpus` the scheduler decides on which processors replicas run."""
        self._intake, self._spool, self._keeper = intake, spool, keeper
        self._slate, self._deaths, self._cpus = slate, deaths, cpus
        self.lanes = Lanes(self._execute, self._take_in, self._give_up)
        self.rack: Rack | None = None  # GPUs, from the first launch on that wants one
        self._settled = 0  # replicas that ended
        self._turns = 0  # what was handed out to executors that had nothing, so far
        self._verdicts: dict[tuple[str, int], tuple[Outcome, str]] = {}  # on what ran, and has nobody to report it

    # ---- what runs, for whoever rules on it or looks at it

    def running(self) -> list[Running]:
        """Return what each busy executor occupies."""
        found = []
        for lane in self.lanes.busy():
            devices = lane.grant.uuids if lane.grant else ()
            found.append(Running(turn=lane.turn, cpus=lane.need[0], mem_mib=lane.need[1], devices=devices))
        return found

    def status(self) -> WorkerStatus:
        """Return what runs, since when, with what, and what waits for room."""
        rows = []
        for lane in self.lanes.busy():
            key, index = min(lane.held)
            launch = self._intake.open[key].launch
            row = RunningReplica(
                replica=str(launch.name(index)),
                together=len(lane.held),
                launch=key,
                job=launch.job.name,
                task=launch.task(index),
                pid=lane.pid,
                since=lane.since,
                cpus=lane.need[0],
                mem_mib=lane.need[1],
                devices=lane.grant.uuids if lane.grant else (),
                suspended=lane.suspended,
            )
            rows.append(row)
        ruling = self._keeper.ruling
        return WorkerStatus(
            replicas=tuple(rows),
            pending=sum(len(one.pending) for one in self._intake.open.values()),
            names=self.rack.names if self.rack else {},
            paused=ruling.paused.why if ruling.paused else "",
            closed={uuid: pause.why for uuid, pause in ruling.closed.items()},
        )

    def names(self, held: Iterable[tuple[str, int]], why: str) -> dict[str, str]:
        """Return `why` by the name of each of these replicas."""
        return {str(self._intake.open[key].launch.name(index)): why for key, index in held}

    # ---- handing out

    def feed(self, *, alone: bool) -> None:
        """Hand out chunks to every executor that can use one, as far as the tokens go; with `alone` one at a time."""
        if self._keeper.ruling.paused:
            return
        crowded = False  # somebody waits for a GPU
        for one in list(self._intake.open.values()):
            if not one.pending or (crowded and one.launch.job.resources.gpus):
                continue
            left = self._feed_launch(one, alone=alone)
            if left == "tokens":
                return  # first come, first served
            crowded = crowded or left == "gpus"

    def _feed_launch(self, one: OpenLaunch, *, alone: bool) -> str:
        """Hand out what is pending of a launch; return what is lacking for the rest: `tokens`, `gpus` or nothing."""
        asked = one.launch.job.resources
        rack = self.rack if asked.gpus else None
        never, broken = self._never(one)
        need = _NOTHING if never or broken else one.need
        ahead = rack is None and (bool(never) or one.is_quick)
        while one.pending:
            lane = self._lane_for(need, ahead=ahead, alone=alone)
            if lane is None:
                return "tokens"
            if rack is not None and need == one.need:
                lane.grant = rack.offer(asked, self._keeper.ruling.closed)
                if lane.grant is None:
                    return "gpus"
            self._hand_out(one, lane, need, never, broken)
        return ""

    def _never(self, one: OpenLaunch) -> tuple[str, str]:
        """Return why nothing of a launch can run here: by what the owner gives, and by what is out of order."""
        never = self._keeper.never(*one.need)
        asked = one.launch.job.resources
        if never or self.rack is None or not asked.gpus:
            return never, ""
        return "", self.rack.never(asked)

    def _lane_for(self, need: tuple[int, int], *, ahead: bool, alone: bool) -> Lane | None:
        """Return an executor that has nothing to do and fits, else one that will soon be done; None for none."""
        busy = self.lanes.busy()
        if busy and alone:
            return None
        if self._has_room(need, busy):
            return self.lanes.idle()
        if not ahead:
            return None
        for lane in busy:
            if lane.unread == 0 and lane.need == need and not lane.suspended:
                return lane
        return None

    def _has_room(self, need: tuple[int, int], busy: list[Lane]) -> bool:
        """Say whether one more executor may occupy so much beside those that are busy."""
        ruling = self._keeper.ruling
        cpus = max(0, ruling.cpus - sum(lane.need[0] for lane in busy))
        mem_mib = max(0, ruling.mem_mib - sum(lane.need[1] for lane in busy))
        return need[0] <= cpus and need[1] <= mem_mib

    def _hand_out(self, one: OpenLaunch, lane: Lane, need: tuple[int, int], never: str, broken: str) -> None:
        """Give an executor some replicas to run, or to report that they never start here: by the owner, or `broken`."""
        key = one.launch.bundle.launch
        indexes = self._chunk(one)
        if not lane.held:
            self._turns += 1
            lane.turn, lane.since = self._turns, time.time()
            self._bind(lane, need)
        lane.first = not lane.held and not self._settled
        if lane.suspended:  # its last replica was, and ended all the same
            lane.suspended = ""
            lane.send({"pause": False})
        lane.held.update(dict.fromkeys((key, index) for index in indexes))
        lane.need = need
        lane.unread += 1
        if never or broken:
            names = self.names([(key, index) for index in indexes], never or broken)
            lane.send({"give_up" if never else "unfit": names})
        self._tell_verdicts(one, lane, indexes)
        message: dict[str, Any] = {"run": [key, indexes, one.seed]}
        if lane.grant is None:
            lane.send(message)
        else:
            lane.send({**message, "grant": lane.grant.document()}, lane.grant.fds)

    def _chunk(self, one: OpenLaunch) -> list[int]:
        """Take positions of a bundle that make up about `CHUNK_S` of work, and leave something for the others."""
        count = 1
        if one.mean_s:
            count = max(1, min(MAX_CHUNK, int(CHUNK_S / one.mean_s)))
        share = -(-len(one.pending) // (2 * max(1, len(self.lanes))))
        return [one.pending.popleft() for _ in range(min(count, share, len(one.pending)))]

    def _bind(self, lane: Lane, need: tuple[int, int]) -> None:
        """Give an executor, and so what it runs, processors of its own; where a scheduler decides it has done so."""
        if self._cpus is None:
            return
        lane.cpus = self._cpus.take(need[0])
        if lane.cpus != lane.bound:
            lane.send({"cpus": lane.cpus or self._cpus.all})
            lane.bound = lane.cpus

    def _tell_verdicts(self, one: OpenLaunch, lane: Lane, indexes: list[int]) -> None:
        """Tell an executor which of these replicas it only reports."""
        verdicts = {}
        for index in indexes:
            why = self._verdicts.pop((one.launch.bundle.launch, index), None)
            why = why or self._deaths.verdict(one.launch.task(index))
            if why is not None:
                verdicts[str(one.launch.name(index))] = why
        if verdicts:
            lane.send({"verdicts": verdicts})

    def _execute(self, channel: socket.socket, number: int) -> None:
        """Be an executor, in the process that was forked for it."""
        if self.rack is not None:
            self.rack.forget()
        opened = {key: one.launch for key, one in self._intake.open.items()}
        stand_back(self._keeper.courtesy)
        seat = self._slate.seat(number)
        Executor(self._intake.node, self._spool, channel, number, self._intake.cancelled, opened, seat).serve()

    # ---- taking back

    def _take_in(self, lane: Lane, message: Mapping[str, Any]) -> None:
        """Take in what an executor says."""
        if "took" in message:
            lane.unread -= 1
        if "lost" in message and self.rack is not None:
            self.rack.lose(message["lost"])
        for key, index in message.get("back", ()):
            lane.held.pop((key, index), None)
            self._intake.open[key].pending.appendleft(index)
        done = message.get("done")
        if done:
            for key in {key for key, _ in done}:
                self._intake.open[key].measured(message["busy"] / len(done))
            self._settle(lane, [(key, index) for key, index in done])

    def _settle(self, lane: Lane, ended: list[tuple[str, int]]) -> None:
        """Count replicas that were reported or given up; close launches of which none is left."""
        lane.settled += len(ended)
        for key, index in ended:
            lane.held.pop((key, index), None)
            one = self._intake.open[key]
            self._settled += 1
            one.left -= 1
            if one.left == 0:
                self._intake.close(key)
        if lane.held:
            return
        if lane.grant is not None and self.rack is not None:
            self.rack.free(lane.grant)
            lane.grant = None
        if self._cpus is not None:
            self._cpus.free(lane.cpus)
            lane.cpus = ()

    def _give_up(self, lane: Lane) -> None:
        """Give up what an executor had that died; what ran is for another one to report, if it did that itself."""
        ran = self._ran(lane)
        if ran is not None and (why := self._accuse(lane, *ran)) is not None:
            self._verdicts[ran] = why
            del lane.held[ran]
            self._intake.open[ran[0]].pending.appendleft(ran[1])
        if lane.held:
            lost = ", ".join(sorted(self.names(lane.held, "")))
            print(f"executor {lane.pid} died; given up: {lost}", file=sys.stderr, flush=True)  # noqa: T201
        self._settle(lane, list(lane.held))

    def _ran(self, lane: Lane) -> tuple[str, int] | None:
        """Return whose command ran when an executor died; None when none did."""
        seat = self._slate.look_at(lane.number)
        at = seat.count - lane.settled - 1
        return list(lane.held)[at] if seat.running and 0 <= at < len(lane.held) else None

    def _accuse(self, lane: Lane, key: str, index: int) -> tuple[Outcome, str] | None:
        """Return what a replica must be called that ran when its executor was killed; None when it may be bad luck."""
        one = self._intake.open[key]
        if lane.overdue:
            most = one.launch.job.resources.time_s
            return Outcome.TIME, f"over its time limit of {most} s, and its executor was kept from ending it"
        if lane.status is None or not os.WIFSIGNALED(lane.status):
            return None
        self._deaths.add(one.launch.task(index))
        return self._deaths.verdict(one.launch.task(index))
