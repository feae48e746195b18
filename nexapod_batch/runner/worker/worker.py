"""The main process of a worker: claims launches, feeds executors, and sees to it that nothing outlives them.

It runs no command itself. Guarantees:

* CPUs, memory and GPUs (`gpu.allocator`) of the node are handed out as tokens: what runs side by side fits the node.
  Launches start in the order in which they came; a large one is not overtaken by small ones behind it, except that
  those without a GPU do not wait for one;
* nothing starts that the owner of the machine does not want to (`owner.monitor`), and what waits then is not claimed;
* an executor that dies costs what it held, nothing else: its commands are killed (the worker is their subreaper), its
  replicas are given up, another executor takes its place;
* an executor that does not end what is over its time is killed, and the next one reports that; a task during which
  executors are killed again and again has an error (`executor_deaths.py`);
* a worker that ends leaves no process; one that is killed takes its executors with it (PDEATHSIG), and they their
  commands.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.errors import NexapodError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder
from nexapod_batch.runner.execution.disk_space import room
from nexapod_batch.runner.execution.executor import Executor
from nexapod_batch.runner.execution.slate import Slate
from nexapod_batch.runner.execution.work_dirs import remove_strays
from nexapod_batch.runner.launches.allocation import TIME_OVER, is_over
from nexapod_batch.runner.launches.launch import OpenedLaunch, open_launch
from nexapod_batch.runner.owner.monitor import Keeper
from nexapod_batch.runner.owner.rules import Running
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.niceness import stand_back
from nexapod_batch.runner.processes.usage import Alarm
from nexapod_batch.runner.worker.cpus import Cpus
from nexapod_batch.runner.worker.executor_deaths import Deaths
from nexapod_batch.runner.worker.executor_pool import Lane, Lanes
from nexapod_batch.runner.worker.watcher import OVERDUE_S, WATCH_S
from nexapod_batch.spool import layout
from nexapod_batch.spool.lock import Lock
from nexapod_batch.spool.news import News
from nexapod_batch.spool.node_config import load
from nexapod_batch.spool.runner_spool import Spool
from nexapod_batch.spool.status_file import RunningReplica, StatusWriter, WorkerStatus, take_sole_task
from nexapod_batch.trust.bundle import MAX_BUNDLE
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nexapod_batch.runner.gpu.allocator import Rack
    from nexapod_batch.runner.launches.allocation import Allocation
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["Worker"]

CHUNK_S = 0.05  # work that an executor is given at once
MAX_CHUNK = 64  # replicas
SHORT_S = 0.025  # replicas shorter than this are handed out ahead of time
POLL_S = (0.005, 0.05)  # between two looks into the spool: while busy or just woken, and at rest
MAX_REASON = 4_000  # characters of why a bundle is refused
PAUSED_S = 0.25  # and while the owner lets nothing start
REST_S = 0.5  # and while there has been nothing to do for long


class _Open(Struct):
    """A claimed launch."""

    launch: OpenedLaunch
    seed: str  # of its key, in hex, for executors that are there already
    pending: deque[int]  # positions in the bundle that nobody has
    left: int  # replicas neither reported nor given up
    mean_s: float | None = None  # of one replica, as measured so far

    @property
    def need(self) -> tuple[int, int]:
        """CPUs and MiB that one replica occupies."""
        resources = self.launch.job.resources
        return resources.cpus, resources.mem_mib or 0



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
        self._mine = None if allocation is None else list(allocation.launches)  # not looked at yet
        self._lasts_s = allocation.lasts_s if allocation else 0
        self._alone = allocation is not None  # a scheduler's job has only one worker
        self._rack: Rack | None = None  # from the first replica on that wants a GPU
        self._open: dict[str, _Open] = {}  # in the order in which they were claimed
        self._settled = 0  # replicas that ended
        self._turns = 0  # what was handed out to executors that had nothing, so far
        self._keeper = Keeper(node, owned=allocation is None and not node.native_id)
        self._cpus = Cpus(node.cpus) if allocation is None and not node.native_id else None
        self._status = StatusWriter(node.spool, incarnation) if allocation is None else None
        self._cancelled: set[str] = set()
        self._stopping = False
        self._over = False  # it stops because the time of its allocation is over
        self._alarm = Alarm()
        self._parent, self._stay = parent, stay
        self._made = self._told = _made(node.spool)
        self._slate = Slate()
        self._deaths = Deaths(node.spool / layout.EXECUTOR_DEATHS)
        self._verdicts: dict[tuple[str, int], tuple[Outcome, str]] = {}  # on what ran, and has nobody to report it
        self._next_watch = self._next_room = 0.0
        self._careful = 0.0  # until then one replica runs at a time
        self._news = News()  # of the spool since the last complete look
        self._more = False  # launches were left unclaimed because enough is at hand

    def run(self) -> bool:
        """Work until idle; False when another worker holds the spool."""
        if self._mine is not None:  # others work on this spool too, on launches of their own
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
            # whoever put a launch there just before the unlock saw the lock taken and started no worker
            if self._stopping or self._stay or not self._spool.waiting() or not lock.take(self._incarnation):
                return True

    def _rest(self) -> bool:
        """Wait for work; False when the worker is to end: it was told so, or its node is another one by now."""
        while not self._stopping and self._made == _made(self._node.spool):
            if self._spool.waiting():
                return True
            self._lanes.wait(REST_S)
        return False

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
        descendants.become_subreaper()
        self._lanes = Lanes(self._execute, self._hear, self._give_up)
        for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *([TIME_OVER] if self._mine is not None else ())):
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
        while not self._stopping:
            if self._parent and os.getppid() != self._parent:
                self._stopping = True
            if self._look():
                pause = POLL_S[0]
            if self._open or self._mine:
                idle_since = time.monotonic()
            elif self._mine is not None or time.monotonic() - idle_since >= self._node.idle_exit_s:
                break
            self._mind()
            self._feed()
            self._notice()
            longest = PAUSED_S if self._keeper.ruling.paused else POLL_S[1]
            came = self._lanes.wait(min(pause, self._watch(time.monotonic())))
            pause = POLL_S[0] if came else min(pause * 1.2, longest)
        if self._over:
            for lane in self._lanes.all():
                lane.send({"over": lane.first})
        self._keeper.end()
        self._lanes.end(stop=self._stopping)
        self._notice(over=True)

    # ---- the spool

    def _look(self) -> bool:
        """Take in news of the spool; True when there was something."""
        if self._mine:
            while self._mine:  # all at once: no command here finds the key of a launch that waits behind it
                self._take(self._mine.pop(0))
        news = self._news.there(self._spool.version())
        if not news and not (self._more and not self._enough()):
            return False
        asked = self._spool.cancelled()  # before the inbox: what it names was put there earlier
        found = False
        # Listing the inbox costs more with every launch in it: it is listed when there is room for another one.
        self._more = self._mine is None and self._enough()
        for key in self._spool.waiting() if self._mine is None and not self._more else ():
            if self._enough():
                self._more = True
                break
            found |= self._take(key)
        self._cancel(asked)
        return found

    def _enough(self) -> bool:
        """Say whether claimed work will keep the node busy until the next look; nothing is claimed that must wait."""
        if self._keeper.ruling.paused:
            return True
        pending = sum(len(one.pending) for one in self._open.values() if not one.launch.job.resources.gpus)
        waiting = sum(len(one.pending) for one in self._open.values()) - pending  # for GPUs, which others need not do
        quick = any(one.mean_s is not None and one.mean_s < SHORT_S for one in self._open.values())
        most = self._node.cpus * (2 * MAX_CHUNK if quick else 2)
        return pending >= most or pending + waiting >= most + MAX_CHUNK

    def _take(self, key: str) -> bool:
        """Verify and claim one launch; False when it is not ours to run."""
        if not layout.is_launch_key(key):
            self._refuse(key, "its file name is no launch key")
            return False
        try:
            envelope = careful.read(self._spool.inbox_file(key), MAX_BUNDLE)
        except careful.NotPlainError as error:
            self._refuse(key, f"it is no bundle: {error.strerror}")
            return False
        except OSError:
            return False  # withdrawn, or not to be read now
        seed = self._spool.seed(key)
        try:
            self._hear_of_keys()
            launch = open_launch(key, envelope, seed, self._node, time.time())
        except NexapodError as error:
            if not self._spool.is_claimed(key):  # by another runner, which took the key with it
                self._refuse(key, str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever one bundle does, the others are run
            self._refuse(key, f"it cannot be understood: {type(error).__name__}")
            return False
        if not self._spool.claim(key):
            return False
        if launch.script is not None:
            atomic.write(launch.script, launch.job.script.encode(), mode=0o700, durable=False)
        if launch.job.resources.gpus and self._rack is None:
            self._rack = self._make_rack()
            self._keeper.mind_gpus(self._rack)
        count = len(launch.bundle.replicas)
        self._open[key] = _Open(launch=launch, seed=seed.hex(), pending=deque(range(count)), left=count)
        return True

    def _hear_of_keys(self) -> None:
        """Know the keys that the node has by now, and executors from now on as well."""
        if self._told == (told := _made(self._node.spool)):
            return
        keys = load(self._node.spool).keys
        if keys != self._node.keys:
            self._node = replace(self._node, keys=keys)
            self._lanes.renew()
        self._told = told

    def _refuse(self, key: str, reason: str) -> None:
        print(f"launch {key}: refused: {reason}", file=sys.stderr, flush=True)  # noqa: T201 - worker.log
        try:
            self._spool.refuse(key, reason[:MAX_REASON])
        except OSError:  # its name is too long for a reason beside it, or there is no room for one
            self._spool.finish(key)

    def _cancel(self, asked: set[str]) -> None:
        """Tell every executor what was cancelled; those that come later inherit it."""
        new = asked - self._cancelled
        if new:
            self._cancelled |= new
            names = sorted(new)
            for first in range(0, len(names), 1000):
                for lane in self._lanes.all():
                    lane.send({"cancel": names[first : first + 1000]}, urgent=True)
        if asked and self._mine is None and not self._open and not self._more:  # obeyed, or about nothing that is here
            self._spool.drop_cancels(asked)

    # ---- executors

    def _mind(self) -> None:
        """Let the executors look at what runs, and suspend, continue and give up what the owner wants them to."""
        if self._alarm.rings(time.monotonic()):
            for lane in self._lanes.busy():
                lane.send({"look": True}, urgent=True)
        if self._rack is not None:
            self._rack.mind()
        before = self._keeper.courtesy
        changed = self._keeper.look(self._running)
        if self._keeper.courtesy != before:
            self._lanes.renew()
        if not changed:
            return
        ruling = self._keeper.ruling
        for lane in self._lanes.busy():
            message: dict[str, Any] = {}
            why = ruling.suspend.get(lane.turn, "")
            if bool(why) != bool(lane.suspended):
                message["pause"] = bool(why)
            lane.suspended = why
            if lane.turn in ruling.give_up and lane.given_up != lane.turn and len(lane.held) == 1:
                lane.given_up = lane.turn  # several are short ones: all but the first come back
                message["give_up"] = self._names(lane.held, ruling.give_up[lane.turn])
            if message:
                lane.send(message, urgent=True)

    def _watch(self, now: float) -> float:
        """Watch over the executors and their disk; return the seconds until that is due again."""
        busy = self._lanes.busy()
        if not busy:
            return REST_S
        if now >= self._next_room:
            left = room(str(self._node.work))
            if left.full:
                self._slate.full_at = now
            self._next_room = now + left.look_in
        if now >= self._next_watch:
            self._next_watch = now + WATCH_S
            for lane in busy:
                deadline = self._slate.look_at(lane.number).deadline
                if deadline and now > deadline + OVERDUE_S:
                    lane.overdue = True
                    descendants.signal_all([lane.pid], signal.SIGKILL)
        careful = self._slate.careful_until
        if careful > now > self._careful:
            told = f"one replica at a time for {careful - now:.0f} s: the kernel killed something, whose is not known"
            print(told, file=sys.stderr, flush=True)  # noqa: T201 - worker.log
        self._careful = careful
        return self._next_room - now

    def _names(self, held: Iterable[tuple[str, int]], why: str) -> dict[str, str]:
        return {str(self._open[key].launch.name(index)): why for key, index in held}

    def _running(self) -> list[Running]:
        return [
            Running(
                turn=lane.turn, cpus=lane.need[0], mem_mib=lane.need[1], devices=lane.grant.uuids if lane.grant else ()
            )
            for lane in self._lanes.busy()
        ]

    def _notice(self, *, over: bool = False) -> None:
        """Let whoever looks see what runs; nothing when it is `over`."""
        if self._status is None:
            return
        if over:
            self._status.clear()
        else:
            self._status.show(self._status_now)

    def _status_now(self) -> WorkerStatus:
        """Return what whoever looks is to see: what runs, since when, with what, and what waits for room."""
        rows = []
        for lane in self._lanes.busy():
            key, index = min(lane.held)
            launch = self._open[key].launch
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
            pending=sum(len(one.pending) for one in self._open.values()),
            names=self._rack.names if self._rack else {},
            paused=ruling.paused.why if ruling.paused else "",
            closed={uuid: pause.why for uuid, pause in ruling.closed.items()},
        )

    def _feed(self) -> None:
        """Hand out chunks to every executor that can use one, as far as the tokens go."""
        if self._keeper.ruling.paused:
            return
        crowded = False  # somebody waits for a GPU
        for one in list(self._open.values()):
            asked = one.launch.job.resources
            rack = self._rack if asked.gpus else None
            if not one.pending or (crowded and rack):
                continue
            why = self._keeper.never(*one.need)
            broken = rack.never(asked) if rack and not why else ""
            quick = bool(why) or (one.mean_s is not None and one.mean_s < SHORT_S)
            while one.pending:
                need = (0, 0) if why or broken else one.need
                lane = self._lane_for(need, ahead=quick and not rack)
                if lane is None:
                    return  # first come, first served
                if rack and need != (0, 0):
                    lane.grant = rack.offer(asked, self._keeper.ruling.closed)
                    if lane.grant is None:
                        crowded = True
                        break
                self._hand_out(one, lane, why, broken)

    def _lane_for(self, need: tuple[int, int], *, ahead: bool) -> Lane | None:
        """Return an executor that has nothing to do and fits, else one that will soon be done; None for none."""
        busy = self._lanes.busy()
        if busy and time.monotonic() < self._careful:
            return None
        cpus = max(0, self._keeper.ruling.cpus - sum(lane.need[0] for lane in busy))
        mem = max(0, self._keeper.ruling.mem_mib - sum(lane.need[1] for lane in busy))
        if need[0] <= cpus and need[1] <= mem:
            return self._lanes.idle()
        if ahead:
            ready = (lane for lane in busy if lane.unread == 0 and lane.need == need and not lane.suspended)
            return next(ready, None)
        return None

    def _hand_out(self, one: _Open, lane: Lane, never: str = "", broken: str = "") -> None:
        """Give an executor some replicas to run, or to report that they never start here: by the owner, or `broken`."""
        key = one.launch.bundle.launch
        count = 1 if not one.mean_s else max(1, min(MAX_CHUNK, int(CHUNK_S / one.mean_s)))
        share = -(-len(one.pending) // (2 * max(1, len(self._lanes))))  # leave something for the others
        indexes = [one.pending.popleft() for _ in range(min(count, share, len(one.pending)))]
        if not lane.held:
            self._turns += 1
            lane.turn, lane.since = self._turns, time.time()
            self._bind(lane, (0, 0) if never or broken else one.need)
        lane.first = not lane.held and not self._settled
        if lane.suspended:  # its last replica was, and ended all the same
            lane.suspended = ""
            lane.send({"pause": False})
        lane.held.update(dict.fromkeys((key, index) for index in indexes))
        lane.need = (0, 0) if never or broken else one.need
        lane.unread += 1
        if never or broken:
            names = self._names([(key, index) for index in indexes], never or broken)
            lane.send({"give_up" if never else "unfit": names})
        self._tell_verdicts(one, lane, indexes)
        if lane.grant is None:
            lane.send({"run": [key, indexes, one.seed]})
        else:
            lane.send({"run": [key, indexes, one.seed], "grant": lane.grant.document()}, lane.grant.fds)

    def _bind(self, lane: Lane, need: tuple[int, int]) -> None:
        """Give an executor, and so what it runs, processors of its own; where a scheduler decides it has done so."""
        if self._cpus is None:
            return
        lane.cpus = self._cpus.take(need[0])
        if lane.cpus != lane.bound:
            lane.send({"cpus": lane.cpus or self._cpus.all})
            lane.bound = lane.cpus

    def _tell_verdicts(self, one: _Open, lane: Lane, indexes: list[int]) -> None:
        """Tell an executor which of these replicas it only reports."""
        verdicts = {}
        for index in indexes:
            why = self._verdicts.pop((one.launch.bundle.launch, index), None)
            why = why or self._deaths.verdict(one.launch.task(index))
            if why is not None:
                verdicts[str(one.launch.name(index))] = why
        if verdicts:
            lane.send({"verdicts": verdicts})

    def _make_rack(self) -> Rack:
        """Return the node's GPUs: what a scheduler gave, else what the owner offers."""
        from nexapod_batch.runner.gpu.allocator import Rack  # noqa: PLC0415
        from nexapod_batch.runner.launches.allocation import given_gpus  # noqa: PLC0415 - for who wants a GPU

        node = self._node
        if self._alone:
            return Rack(slots=node.gpu_slots, only=given_gpus() or (), given=True, alone=True)
        if node.native_id:
            return Rack(slots=node.gpu_slots, only=given_gpus(), given=True)
        return Rack(slots=node.gpu_slots, only=node.gpus, record=node.spool)

    def _execute(self, channel: socket.socket, number: int) -> None:
        """Be an executor, in the process that was forked for it."""
        if self._rack is not None:
            self._rack.forget()
        opened = {key: one.launch for key, one in self._open.items()}
        stand_back(self._keeper.courtesy)
        seat = self._slate.seat(number)
        Executor(self._node, self._spool, channel, number, self._cancelled, opened, seat).serve()

    def _hear(self, lane: Lane, message: Mapping[str, Any]) -> None:
        if "took" in message:
            lane.unread -= 1
        if "lost" in message and self._rack is not None:
            self._rack.lose(message["lost"])
        for key, index in message.get("back", ()):
            lane.held.pop((key, index), None)
            self._open[key].pending.appendleft(index)
        done = message.get("done")
        if done:
            mean = message["busy"] / len(done)
            for key in {key for key, _ in done}:
                one = self._open[key]
                one.mean_s = mean if one.mean_s is None else (one.mean_s + mean) / 2
            self._settle(lane, [(key, index) for key, index in done])

    def _settle(self, lane: Lane, ended: list[tuple[str, int]]) -> None:
        """Count replicas that were reported or given up; close launches of which none is left."""
        lane.settled += len(ended)
        for key, index in ended:
            lane.held.pop((key, index), None)
            one = self._open[key]
            self._settled += 1
            one.left -= 1
            if one.left == 0:
                self._close(key)
        if lane.held:
            return
        if lane.grant is not None and self._rack is not None:
            self._rack.free(lane.grant)
            lane.grant = None
        if self._cpus is not None:
            self._cpus.free(lane.cpus)
            lane.cpus = ()

    def _close(self, key: str) -> None:
        one = self._open.pop(key)
        if one.launch.script is not None:
            one.launch.script.unlink(missing_ok=True)
        self._spool.finish(key)
        if self._cancelled:
            bundle = one.launch.bundle
            names = {str(one.launch.name(index)) for index in range(len(bundle.replicas))} | {key}
            self._spool.drop_cancels(names & self._cancelled)
            self._cancelled -= names

    def _give_up(self, lane: Lane) -> None:
        """Give up what an executor had that died; what ran is for another one to report, if it did that itself."""
        ran = self._ran(lane)
        if ran is not None and (why := self._accuse(lane, *ran)) is not None:
            self._verdicts[ran] = why
            del lane.held[ran]
            self._open[ran[0]].pending.appendleft(ran[1])
        if lane.held:
            lost = ", ".join(sorted(str(self._open[key].launch.name(index)) for key, index in lane.held))
            print(f"executor {lane.pid} died; given up: {lost}", file=sys.stderr, flush=True)  # noqa: T201
        self._settle(lane, list(lane.held))

    def _ran(self, lane: Lane) -> tuple[str, int] | None:
        """Return whose command ran when an executor died; None when none did."""
        seat = self._slate.look_at(lane.number)
        at = seat.count - lane.settled - 1
        return list(lane.held)[at] if seat.running and 0 <= at < len(lane.held) else None

    def _accuse(self, lane: Lane, key: str, index: int) -> tuple[Outcome, str] | None:
        """Return what a replica must be called that ran when its executor was killed; None when it may be bad luck."""
        one = self._open[key]
        if lane.overdue:
            most = one.launch.job.resources.time_s
            return Outcome.TIME, f"over its time limit of {most} s, and its executor was kept from ending it"
        if lane.status is None or not os.WIFSIGNALED(lane.status):
            return None
        self._deaths.add(one.launch.task(index))
        return self._deaths.verdict(one.launch.task(index))


def _made(spool: Path) -> tuple[int, int]:
    """Return what changes when `node.json` is written anew."""
    try:
        found = os.stat(spool / layout.NODE_CONFIG)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
