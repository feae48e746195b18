"""An executor: a process of the worker that runs one replica after the other and signs what became of each.

It is fed by the worker's main process over a socket, which also says when to suspend what runs, to go on, and to give
it up (`orders`). It obeys two signals: USR1 (there is something to read on the socket) and TERM (the worker ends, or
has died: stop what runs, report it as preempted, and go). Replicas are reported in batches; before it waits longer than
a moment everything that is finished is on disk.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch.errors import NexapodError
from nexapod_batch.files import atomic, careful
from nexapod_batch.runner.execution.commands import Commands
from nexapod_batch.runner.execution.folders.temporary import Temporary
from nexapod_batch.runner.execution.folders.work_dirs import Folders
from nexapod_batch.runner.execution.logs import Logs
from nexapod_batch.runner.execution.orders import Orders
from nexapod_batch.runner.execution.replica import Replica
from nexapod_batch.runner.execution.reports import Reports
from nexapod_batch.runner.execution.stage import stage_inputs
from nexapod_batch.runner.execution.witness import Witness
from nexapod_batch.runner.gpu.grant import Granted, receive
from nexapod_batch.runner.launches.launch import OpenedLaunch, open_launch
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.process_tree import WAITED, Result
from nexapod_batch.runner.processes.signal_wait import wait_for_signal
from nexapod_batch.spool import layout
from nexapod_batch.spool.segment_writer import Segment
from nexapod_batch.trust.bundle import MAX_BUNDLE
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from nexapod_batch.model.job import CompareRule
    from nexapod_batch.model.replica import ReplicaName
    from nexapod_batch.runner.execution.log_trail import TrailOfLogs
    from nexapod_batch.runner.execution.slate import Seat
    from nexapod_batch.spool.node_config import NodeConfig
    from nexapod_batch.spool.runner_spool import Spool

__all__ = ["MAX_MESSAGE", "Executor"]

#: The largest message between the worker and an executor.
MAX_MESSAGE = 64 * 1024

NOTE_S = 0.1  # a replica that runs longer is announced with a start note
_MAX_OPENED = 8  # launches that are kept verified


class Executor:
    """One executor, from fork to exit."""

    def __init__(
        self,
        node: NodeConfig,
        spool: Spool,
        channel: socket.socket | None,
        number: int,
        cancelled: set[str],
        opened: dict[str, OpenedLaunch],
        seat: Seat | None = None,
    ) -> None:
        """Prepare in the freshly forked process: own subreaper, own segment, own logs.

        Without a channel and a seat somebody who is in the same process feeds it (`worker.single_process`).
        """
        descendants.become_subreaper()
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        self._node, self._spool, self._channel = node, spool, channel
        self._segment = Segment(spool.root / layout.segment(f"{spool.incarnation}-{number}"))
        self._logs = Logs(node.work, f".{spool.incarnation}-{number}")
        self._folders = Folders(str(node.work / f".{spool.incarnation}-{number}.d"))
        self._temporary = Temporary(node.tmp, str(node.work / f".{spool.incarnation}-{number}.t"))
        self._work = str(node.work)
        self._witness = Witness(self._work, seat, os.getpid() if seat is None else os.getppid())
        scratch = f"{self._work}/.{spool.incarnation}-{number}.n"
        self._commands = Commands(node, self, self._logs, self._temporary, self._witness, self._lose, scratch)
        self._reports = Reports(node, spool.native_id, self._logs, self._folders, self._segment)
        self._orders = Orders(cancelled)
        self._queue: deque[tuple[str, int]] = deque()  # (launch, position in its bundle)
        self._done: list[tuple[str, int]] = []  # reported, not yet told to the worker
        self._opened = opened
        self._seeds: dict[str, str] = {}  # of the keys of what is in the queue: in hex, by launch
        self._stopping = False
        self._granted = Granted()  # GPUs of what is in the queue, or runs
        self._busy = 0.0  # seconds spent on what is in _done
        self._running: tuple[str, ReplicaName, float] | None = None  # launch, name, start; until it was announced
        self._current, self._since = ("", ""), 0.0  # launch and replica that run now, and since when (monotonic)
        self._replica: Replica | None = None  # that runs now
        self._trail: TrailOfLogs | None = None  # of what runs, once it has taken its time
        self._note_at = node.trail_s  # when the next note of its logs is due, by the time of its command

    def serve(self) -> None:
        """Run what the worker sends until it closes the channel or TERM comes."""
        while not self._stopping:
            if not self._queue and not self._read(wait=False):
                self._granted.release()
                self._seeds.clear()
                self._flush()
                self._read(wait=True)
            while self._queue and not self._stopping:
                launch, index = self._queue.popleft()
                began = time.monotonic()
                self._one(launch, index)
                self._busy += time.monotonic() - began
                self._done.append((launch, index))  # flushed when that is due, while the next command runs
        self._flush()
        self._segment.end()
        self._logs.remove()
        self._folders.remove()
        self._temporary.remove()

    # ---- what a process tree asks while it waits (`process_tree.Supervisor`)

    @property
    def paused(self) -> bool:
        """Whether what runs is to be suspended."""
        return self._orders.paused

    @property
    def alarmed(self) -> bool:
        """Whether it is to be looked at, what the command uses."""
        return self._orders.alarmed

    @alarmed.setter
    def alarmed(self, value: bool) -> None:
        self._orders.alarmed = value

    def tick(self, elapsed: float) -> float | None:
        """Flush what is due; after NOTE_S announce the replica and hand back what waits behind it."""
        if self._running is not None and elapsed >= NOTE_S:
            self._announce()
        elif elapsed >= self._note_at:
            self._note_logs(elapsed)
        elif self._segment.due:
            self._flush()
        due = self._segment.due_in
        other = (self._note_at if self._running is None else NOTE_S) - elapsed
        if due is None:
            return other
        return min(other, due)

    def interrupted(self, sign: int) -> tuple[Outcome, str] | None:
        """Take note of a cancellation (USR1) or of the end of the worker (TERM)."""
        if sign == signal.SIGTERM:
            self._catch_up()
            self._stopping = True
            # A scheduler's job is cancelled with a note and this signal; the signal may come first.
            self._orders.cancelled.update(self._spool.cancelled())
            if not self._orders.is_cancelled(self._current):
                limit_s = self._opened[self._current[0]].job.resources.time_s
                over = self._orders.time_over(self._since, limit_s)
                return over or (Outcome.PREEMPTED, "the runner was stopped while this ran")
        self._catch_up()
        why = self._orders.while_running(*self._current) or self._commands.gpu_failure
        if why is None and self._stopping:
            return Outcome.PREEMPTED, "the worker ended while this ran"
        return why

    def ends_by(self, when: float) -> None:
        """Let the worker know when the command's time is over."""
        self._witness.deadline(when)

    # ---- messages

    def _read(self, *, wait: bool) -> bool:
        """Take one message; False when there is none now."""
        try:
            data, fds = self._receive(wait=wait)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            data, fds = b"", []
        if not data:
            self._stopping = True
            return False
        message: dict[str, Any] = orjson.loads(data)
        self._orders.take(message)
        if "cpus" in message:
            with suppress(OSError):  # one of them was taken out of use
                os.sched_setaffinity(0, message["cpus"])
        if "run" in message:
            launch, indexes, seed = message["run"]
            self._seeds[launch] = seed
            if "grant" in message or self._granted.devices:
                self._granted.release()
                self._granted = Granted(message.get("grant"), fds)
            self._queue.extend((launch, index) for index in indexes)
            self._send({"took": len(indexes)})
        return True

    def _receive(self, *, wait: bool) -> tuple[bytes, list[int]]:
        """Return the next message, and the descriptors that came with it."""
        if self._channel:
            return receive(self._channel, MAX_MESSAGE, wait=wait)
        return (b"", [])

    def _catch_up(self) -> None:
        """Take every message that is there; what waits behind a suspended replica goes to other executors."""
        while self._read(wait=False):
            pass
        if self._orders.paused:
            self._hand_back()

    def _hand_back(self) -> None:
        if self._queue:
            self._send({"back": list(self._queue)})
            self._queue.clear()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            if self._channel:
                self._channel.send(orjson.dumps(message))
        except OSError:  # the worker is gone: nobody needs to know
            self._stopping = True

    def _flush(self) -> None:
        """Commit what is finished, then tell the worker; on a full disk wait, so that nothing is thrown away."""
        told = False
        self._folders.settle()
        while True:
            try:
                self._segment.flush()
                break
            except OSError as error:
                if error.errno not in atomic.FULL:
                    raise
                if not told:
                    print(f"reports wait for room: {error}", file=sys.stderr, flush=True)  # noqa: T201 - worker.log
                    told = True
                if wait_for_signal({signal.SIGTERM}, 1.0):
                    self._stopping = True
                    return
        if self._done:
            self._send({"done": self._done, "busy": self._busy})
            self._done, self._busy = [], 0.0

    def _announce(self) -> None:
        """Write the start note of a replica that takes its time, and give the rest of the queue to other executors."""
        if self._running is None:
            return
        _, name, started = self._running
        self._running = None
        self._catch_up()
        self._logs.publish(str(name))
        self._segment.add(orjson.dumps({"start": str(name), "at": round(started * 1000)}), [])
        self._flush()
        self._hand_back()

    def _note_logs(self, elapsed: float) -> None:
        """Write a note of what is new in the logs of what runs; where they cannot be read now, the next one has it."""
        from nexapod_batch.runner.execution.log_trail import TrailOfLogs  # noqa: PLC0415 - most replicas are short

        if self._replica is None:
            return
        begins_s = self._node.trail_s
        if self._trail is None:
            self._trail = TrailOfLogs(self._replica.launch, self._replica.index, self._logs, begins_s)
        try:
            line, self._note_at = self._trail.note(elapsed)
        except OSError:
            self._note_at = elapsed + begins_s
            return
        if line is not None:
            self._segment.add(line, [])
            self._flush()

    # ---- one replica

    def _launch(self, key: str) -> OpenedLaunch:
        launch = self._opened.get(key)
        if launch is None:
            if len(self._opened) >= _MAX_OPENED:
                self._opened.pop(next(iter(self._opened)))
            envelope = careful.read(self._spool.inbox_file(key), MAX_BUNDLE)
            # the worker judged the expiry of the whole launch; each replica is judged again when it starts
            launch = open_launch(key, envelope, bytes.fromhex(self._seeds.get(key, "")), self._node, 0)
            self._opened[key] = launch
        return launch

    def _one(self, key: str, index: int) -> None:
        """Run one replica and put its report into the segment; what cannot be reported is told to the log."""
        try:
            launch = self._launch(key)
        except (OSError, NexapodError) as error:  # withdrawn or changed since the worker read it: given up
            print(f"launch {key}: given up: {error}", file=sys.stderr, flush=True)  # noqa: T201 - worker.log
            return
        name = launch.name(index)
        started = time.time()
        self._current, self._since, self._running = (key, str(name)), time.monotonic(), (key, name, started)
        root = f"{self._work}/{name}"
        self._witness.turn()
        why = self._orders.verdicts.pop(str(name), None)
        try:
            if why is None:
                self._folders.take(root)
        except FileExistsError:
            print(f"replica {name}: its work folder is there already: not run again", file=sys.stderr, flush=True)  # noqa: T201
            return
        except OSError as error:
            if error.errno not in atomic.FULL:
                raise
            why = Outcome.NODE, f"the node failed: {error}"
        replica = Replica(self, launch, index, name, root, started)
        if why is not None:
            replica.fail(Outcome(why[0]), why[1])
            self._finish(replica)
            return
        self._replica = replica
        try:
            replica.run()
        except OSError as error:
            replica.outcome, replica.detail = Outcome.NODE, f"the node failed: {error}"
        self._finish(replica)

    def _finish(self, replica: Replica) -> None:
        """Report a replica, and forget what was said of it."""
        if self._trail is not None:
            replica.trail = self._trail.head
            self._trail = None
        self._replica, self._note_at = None, self._node.trail_s
        self._reports.add(replica)
        self._temporary.clear(known_empty=replica.left_nothing)
        self._running = None
        self._current = ("", "")
        self._orders.forget(str(replica.name))

    def _lose(self, faults: Mapping[str, str]) -> None:
        """Tell the worker which GPUs failed, and why."""
        self._send({"lost": faults})

    # ---- what a replica asks (`replica.Runs`)

    def called_off(self) -> tuple[Outcome, str] | None:
        """Return why the current replica must not be started."""
        return self._orders.before_start(*self._current)

    def stage(self, replica: Replica) -> str:
        """Put the inputs of a replica into its work folder; return what of them the node fetched.

        Errors as of `stage_inputs` and `stage_with_fetched`.
        """
        paths = replica.launch.bundle.input_paths
        if self._node.fetching is None:
            stage_inputs(replica.inputs, replica.values, paths, replica.root)
            return ""
        from nexapod_batch.runner.execution.fetched_inputs import stage_with_fetched  # noqa: PLC0415 - at few sites

        return stage_with_fetched(replica, self._node.fetching, self)

    def execute(self, replica: Replica) -> Result:
        """Run the command of a replica to the end of everything that it started; errors as of `Commands.execute`."""
        return self._commands.execute(replica, self._granted)

    def normalized(self, replica: Replica, name: str, sha256: str, rule: CompareRule) -> str:
        """Return the digest of what the command of a rule prints of an output; errors as of `Commands.normalized`."""
        return self._commands.normalized(replica, name, sha256, rule)

    def last_words(self) -> str:
        """Return the last line that the current command wrote to stderr."""
        return self._commands.last_line()
