"""An executor: a process of the worker that runs one replica after the other and signs what became of each.

It is fed by the worker's main process over a socket, which also says when to suspend what runs, to go on, and to give
it up. It obeys two signals: USR1 (there is something to read on the socket) and TERM (the worker ends, or has died:
stop what runs, report it as preempted, and go). Replicas are reported in batches; before it waits longer than a moment
everything that is finished is on disk.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from binascii import b2a_base64
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from nexapod_batch import birth
from nexapod_batch.errors import DeviceError, NexapodError, PluginError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.machine_id import identity
from nexapod_batch.model.placeholders import expand
from nexapod_batch.runner.execution.image_file import Images
from nexapod_batch.runner.execution.logs import Logs
from nexapod_batch.runner.execution.outputs import Produced, stdout_only
from nexapod_batch.runner.execution.replica import Replica
from nexapod_batch.runner.execution.stage import (
    WINDOWS_LINE,
    CommandError,
    command_path,
    device_environment,
    ends_as_on_windows,
    environment,
    find_program,
    passed_on,
    script_of,
    task_argv,
    why_not_started,
)
from nexapod_batch.runner.execution.temporary import Temporary
from nexapod_batch.runner.execution.witness import Witness
from nexapod_batch.runner.execution.work_dirs import Folders, is_empty
from nexapod_batch.runner.gpu.grant import Granted, receive
from nexapod_batch.runner.launches.launch import OpenedLaunch, open_launch
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.process_tree import WAITED, Attempt, Limits, Result
from nexapod_batch.runtimes import Execution
from nexapod_batch.spool import layout
from nexapod_batch.spool.segment_writer import Segment
from nexapod_batch.trust.bundle import MAX_BUNDLE
from nexapod_batch.trust.dsse import seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.replica import ReplicaName
    from nexapod_batch.runner.execution.slate import Seat
    from nexapod_batch.runner.gpu.meter import Meter
    from nexapod_batch.runtimes import Device, Wrapped
    from nexapod_batch.spool.node_config import NodeConfig
    from nexapod_batch.spool.runner_spool import Spool

__all__ = ["MAX_MESSAGE", "Executor"]

#: The largest message between the worker and an executor.
MAX_MESSAGE = 64 * 1024

CARRY_BYTES = 4096  # files of one replica that are together no larger travel with its report
NOTE_S = 0.1  # a replica that runs longer is announced with a start note
_MAX_DETAIL = 1000
_OWN_ERRORS = frozenset({Outcome.FAILED, Outcome.TIME, Outcome.MEMORY, Outcome.DISK, Outcome.OUTPUT})
_MAX_WORDS = 240  # of what a command said last
_NOT_STARTED = frozenset({2, 126, 127})  # with which shells, env and container programs say that nothing began


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
        self._attempt = Attempt(self)
        self._queue: deque[tuple[str, int]] = deque()  # (launch, position in its bundle)
        self._done: list[tuple[str, int]] = []  # reported, not yet told to the worker
        self._opened = opened
        self._seeds: dict[str, str] = {}  # of the keys of what is in the queue: in hex, by launch
        self._cancelled = cancelled
        self._stopping = False
        self.paused = False  # what runs is to be suspended
        self.alarmed = False  # it is to be looked at, what it uses
        self._given_up: dict[str, str] = {}  # replica -> why the owner of the machine wants it to go
        self._unfit: dict[str, str] = {}  # replica -> why this machine cannot run it now
        self._verdicts: dict[str, tuple[str, str]] = {}  # replica -> outcome and detail: it ran under another executor
        self._meter: Meter | None = None  # of the GPUs of what runs
        self._granted = Granted()  # GPUs of what is in the queue, or runs
        self._busy = 0.0  # seconds spent on what is in _done
        self._running: tuple[str, ReplicaName, float] | None = None  # launch, name, start; until it was announced
        self._current, self._since = ("", ""), 0.0  # launch and replica that run now, and since when
        self._over: bool | None = None  # the time of the allocation is over, and what runs had all of it, or not
        self._path = command_path(node)
        self._programs: dict[str, str] = {}  # cache of find_program for names without a slash
        self._work = str(node.work)
        self._images = Images()
        self._witness = Witness(self._work, seat, os.getpid() if seat is None else os.getppid())

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
                self._done.append((launch, index))
                if self._segment.due:
                    self._flush()
        self._flush()
        self._segment.end()
        self._logs.remove()
        self._folders.remove()
        self._temporary.remove()

    # ---- what an attempt asks while it waits

    def tick(self, elapsed: float) -> float | None:
        """Flush what is due; after NOTE_S announce the replica and hand back what waits behind it."""
        if self._running is not None and elapsed >= NOTE_S:
            self._announce()
        elif self._segment.due:
            self._flush()
        due = self._segment.due_in
        if self._running is None:
            return due
        return NOTE_S - elapsed if due is None else min(NOTE_S - elapsed, due)

    def interrupted(self, sign: int) -> tuple[Outcome, str] | None:
        """Hear of a cancellation (USR1) or of the end of the worker (TERM)."""
        if sign == signal.SIGTERM:
            self._catch_up()
            self._stopping = True
            # A scheduler's job is cancelled with a note and this signal; the signal may come first.
            self._cancelled.update(self._spool.cancelled())
            if not self._cancelled.intersection(self._current):
                return self._time_over() or (Outcome.PREEMPTED, "the runner was stopped while this ran")
        self._catch_up()
        if self._cancelled.intersection(self._current):
            return Outcome.CANCELLED, "cancelled while it ran"
        if self._current[1] in self._given_up:
            return Outcome.PREEMPTED, f"given up: {self._given_up[self._current[1]]}"
        if self._meter is not None and self._meter.faults:
            return _gpu_failed(self._meter.faults)
        return (Outcome.PREEMPTED, "the worker ended while this ran") if self._stopping else None

    def _time_over(self) -> tuple[Outcome, str] | None:
        """Return the outcome of what runs when the time of the allocation is over; None when that is not its fault.

        It is where nothing would have given it more: it said no time, or nothing ran before it.
        """
        if self._over is None:
            return None
        ran, asked = time.time() - self._since, self._opened[self._current[0]].job.resources.time_s
        if asked is not None and not self._over:
            return Outcome.PREEMPTED, f"the scheduler's time was over when this had run {ran:.0f} of {asked} s"
        return Outcome.TIME, f"over the scheduler's time limit: stopped after {ran:.0f} s; ask for more, or elsewhere"

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
        self._cancelled.update(message.get("cancel", ()))
        self.paused = message.get("pause", self.paused)
        self.alarmed = message.get("look", self.alarmed)
        self._over = message.get("over", self._over)
        self._given_up.update(message.get("give_up", {}))
        self._unfit.update(message.get("unfit", {}))
        self._verdicts.update(message.get("verdicts", {}))
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
        return receive(self._channel, MAX_MESSAGE, wait=wait) if self._channel else (b"", [])

    def _catch_up(self) -> None:
        """Take every message that is there; what waits behind a suspended replica goes to other executors."""
        while self._read(wait=False):
            pass
        if self.paused:
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
                if signal.sigtimedwait({signal.SIGTERM}, 1.0) is not None:
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

    # ---- one replica

    def _launch(self, key: str) -> OpenedLaunch:
        launch = self._opened.get(key)
        if launch is None:
            if len(self._opened) >= 8:
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
        self._current, self._since, self._running = (key, str(name)), started, (key, name, started)
        root = f"{self._work}/{name}"
        self._witness.turn()
        if str(name) in self._verdicts:
            replica = Replica(self, launch, index, name, root, started)
            outcome, detail = self._verdicts.pop(str(name))
            replica.fail(Outcome(outcome), detail)
            self._finish(replica)
            return
        try:
            self._folders.take(root)
        except FileExistsError:
            print(f"replica {name}: its work folder is there already: not run again", file=sys.stderr, flush=True)  # noqa: T201
            return
        replica = Replica(self, launch, index, name, root, started)
        try:
            replica.run()
        except OSError as error:
            replica.outcome, replica.detail = Outcome.NODE, f"the node failed: {error}"
        self._finish(replica)

    def _finish(self, replica: Replica) -> None:
        """Report a replica, and forget what was said of it."""
        self._report(replica)
        self._temporary.clear()
        self._running = None
        self._current = ("", "")
        self._given_up.pop(str(replica.name), None)
        self._unfit.pop(str(replica.name), None)

    def _report(self, replica: Replica) -> None:
        """Digest, sign, and leave to the segment; small files travel in the line and are removed here."""
        logs = self._logs
        out, err = logs.digests()
        produced = replica.produce(out)
        total = produced.size + out[1] + err[1]
        try:
            payload = encode(self._statement(replica, produced, out, err))
        except ValueError as error:  # a name or a value that no statement can hold
            replica.fail(Outcome.OUTPUT, f"the outputs cannot be signed: {error}")
            produced = stdout_only(*out)
            payload = encode(self._statement(replica, produced, out, err))
        signer = replica.launch.signer
        line = seal(signer, PAYLOAD_TYPE, payload)[:-1] + b',"key":"%b"' % _base64(signer.public).encode()
        carried = None
        if total <= CARRY_BYTES and not self._worth_keeping(replica):
            carried = self._carry(replica, produced, out[1], err[1])
        if carried is not None:
            self._folders.discard(replica.root)
            logs.clear()
            self._segment.add(line + b',"carried":' + orjson.dumps(carried) + b"}", [])
            return
        files = [Path(replica.root, name) for name in produced.names]
        if produced.manifest is not None:
            manifest = self._node.work / f"{replica.name}.manifest"
            atomic.write(manifest, produced.manifest, durable=False)
            files.append(manifest)
        logs.publish(str(replica.name))
        files += logs.release()
        self._segment.add(line + b"}", files)

    def _worth_keeping(self, replica: Replica) -> bool:
        """Say whether a replica that failed left files, which somebody may want to look at.

        Not what was lost: it is run again, and where a disk was full its files would keep it full.
        """
        return replica.outcome in _OWN_ERRORS and replica.result is not None and not is_empty(replica.root)

    def _statement(
        self, replica: Replica, produced: Produced, out: tuple[str, int], err: tuple[str, int]
    ) -> Statement:
        """Return what is signed; `out` and `err` are digest and size of the logs."""
        one = replica.launch.bundle.replicas[replica.index]
        job, result, wrapped = replica.launch.job, replica.result, replica.wrapped
        cpu_ms: int | None = result.cpu_ms if result else 0
        max_rss_kib: int | None = result.max_rss_kib if result else 0
        if replica.launched:
            cpu_ms = max_rss_kib = None
        return Statement(
            job_uuid=replica.launch.bundle.job_uuid,
            job_digest=replica.launch.job_digest,
            replica=replica.name,
            nonce=one.nonce,
            agree=job.quorum.agree,
            distinct=tuple([field.value for field in job.quorum.distinct]),
            backend=self._node.backend,
            native_id=self._spool.native_id,
            host=self._node.host,
            isolation=wrapped.isolation if wrapped else "none",
            classes=dict(self._node.classes),
            outcome=replica.outcome,
            detail=_printable(replica.detail),
            exit_code=result.status if result else replica.exit_code,
            wall_ms=result.wall_ms if result else 0,
            cpu_ms=cpu_ms,
            max_rss_kib=max_rss_kib,
            output_bytes=produced.size + out[1] + err[1],
            started_ms=round(replica.started * 1000),
            finished_ms=round(max(time.time(), replica.started) * 1000),
            builder=replica.launch.bundle.audience,
            subjects=produced.subjects,
            manifest=produced.manifest is not None,
            inputs=tuple([(item.target, item.sha256) for item in job.inputs]),
            stdout_sha256=out[0],
            stderr_sha256=err[0],
            vote=produced.vote,
            container=wrapped.container if wrapped else None,
            gpus=replica.gpus,
            passed=replica.passed,
            machine=identity(replica.launch.bundle.job_uuid),
        )

    def _carry(self, replica: Replica, produced: Produced, out: int, err: int) -> dict[str, str] | None:
        """Return the content of every file of a replica; None when it must stay on disk."""
        if produced.manifest is not None or not {"stdout", "stderr"}.isdisjoint(produced.names):
            return None
        carried = {name: _base64(careful.read(Path(replica.root, name), CARRY_BYTES)) for name in produced.names}
        texts = self._logs.read(out, err)
        carried["stdout"], carried["stderr"] = map(_base64, texts)
        return carried

    def _begin_metering(self, devices: Sequence[Device]) -> None:
        """Measure the GPUs of what starts now; PluginError when one of them cannot be used."""
        if not devices:
            return
        from nexapod_batch.runner.gpu.meter import Meter  # noqa: PLC0415 - threads and drivers, for who has a GPU

        self._meter = Meter(self._granted.gpus, exclusive=self._granted.exclusive)
        try:
            self._meter.start()
        except DeviceError as error:
            raise PluginError(str(error)) from error

    def _end_metering(self, replica: Replica) -> Mapping[str, str]:
        """Keep what was measured; return which GPUs failed, and tell the worker."""
        if self._meter is None:
            return {}
        replica.gpus, faults = self._meter.stop(), self._meter.faults
        self._meter = None
        if faults:
            self._send({"lost": faults})
        return faults

    def called_off(self) -> tuple[Outcome, str] | None:
        """Return why the current replica must not be started."""
        if self._cancelled and self._cancelled.intersection(self._current):
            return Outcome.CANCELLED, "cancelled before it started"
        if self._given_up and self._current[1] in self._given_up:
            return Outcome.PREEMPTED, f"not started: {self._given_up[self._current[1]]}"
        if self._unfit and self._current[1] in self._unfit:
            return Outcome.NODE, f"not started: {self._unfit[self._current[1]]}"
        return None

    def last_words(self) -> str:
        """Return the last line that the current command wrote to stderr, as much of it as a reason holds."""
        lines = self._logs.tail().decode("utf-8", "replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said if len(said) <= _MAX_WORDS else said[: _MAX_WORDS - 3] + "..."

    def execute(self, replica: Replica) -> Result:
        """Start the command of a replica in its work folder and wait for the end of everything it started."""
        launch, job, root = replica.launch, replica.launch.job, replica.root
        folder = root if job.workdir == "." else f"{root}/{job.workdir}"
        if folder is not root:
            os.makedirs(folder, 0o700, exist_ok=True)
        launched = job.resources.ranks > 1
        if launched and not self._node.launcher:  # one process in their place would be another job
            raise PluginError("this node starts no ranks", got=f"ntasks {job.resources.ranks}", wanted="1")
        replica.launched = launched and "SLURM_JOB_ID" in birth.given  # else its ranks are below us
        tmp = self._temporary.take(shared=launched and birth.given.get("SLURM_JOB_NUM_NODES", "1") != "1")
        replica.temporary = self._temporary.files
        passed = passed_on(self._node.passes, contained=job.container is not None)
        env = environment(launch, replica.values, self._node, self._path, root, tmp, passed)
        replica.passed = tuple([(name, _digest(value)) for name, value in sorted(passed.items()) if env[name] == value])
        devices = self._granted.devices if job.resources.gpus else ()
        if not (launched and devices):  # a launcher tells its ranks, on whatever host they are
            env.update(device_environment(devices))
        runtime, wrapped = launch.wrap(
            Execution(
                job=job,
                command=task_argv(launch, replica.values),
                root=root,
                folder=folder,
                env=env,
                path=self._path,
                image=self._images.path_of(launch),
                script=None if launch.script is None else str(launch.script),
                devices=devices,
                foreign=launch.bundle.foreign,
                tmp=tmp,
            )
        )
        replica.wrapped = wrapped
        script = script_of(launch, replica.values, folder)
        folder = folder if wrapped.isolation == "none" else "/"  # a wrapper looks for nothing where a command may write
        if not launched:
            result = self._start(replica, wrapped, folder, devices)
        else:
            from nexapod_batch.runner.execution import ranks  # noqa: PLC0415 - most replicas are one process

            with ranks.started_by_file(f"{root}.start", wrapped, folder) as rank:
                around = ranks.launcher_environment(job, self._path, root)
                argv = [*ranks.launcher(self._node.launcher, job, self._path), *rank]
                result = self._start(replica, wrapped._replace(argv=argv, env=around), "/", devices)
                if result.stopped is None:
                    result = result._replace(stopped=ranks.said_by_launcher(result.status, self._logs.tail()))
        if wrapped.container is not None:
            self._images.check_again(launch)
        if result.status and result.stopped is None and wrapped.isolation != "none":
            never = runtime.judge(result.status, self._logs.tail())
            if never is not None:
                raise CommandError(never, 127)
        if result.status in _NOT_STARTED and result.stopped is None and ends_as_on_windows(script):
            raise CommandError(f"{os.path.basename(script)!r} cannot be run: {WINDOWS_LINE}", result.status)
        return result

    def _start(self, replica: Replica, wrapped: Wrapped, folder: str, devices: Sequence[Device]) -> Result:
        """Start what is wrapped in a folder, and wait for the end of everything that it started."""
        job, argv, env = replica.launch.job, wrapped.argv, wrapped.env
        key = f"{argv[0]}\0{env['PATH']}"
        program = self._programs.get(key) or find_program(argv[0], env["PATH"], folder)
        if "/" not in argv[0]:
            self._programs[key] = program
        os.chdir(folder)
        limits = Limits(
            time_s=job.resources.time_s,
            mem_mib=job.resources.mem_mib,
            disk_bytes=job.resources.disk_mib * 2**20,
            contained=wrapped.isolation != "none",
            kills=job.left_over == "kill",
        )
        stdin = f"{replica.root}/{expand(job.stdin, replica.values)}" if job.stdin else ""
        try:
            self._begin_metering(devices)
            self._witness.begin(self._temporary.files)
            result = self._attempt.run(
                program, argv, env, self._logs.descriptors, limits, (replica.root, self._temporary.files),
                wrapped.feeds, stdin,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in argv or in the environment
            self._programs.pop(key, None)
            why = why_not_started(os.path.join(folder, program), error)
            raise CommandError(f"{argv[0]!r} cannot be started: {why}", 126) from error
        finally:
            self._witness.end()
            os.chdir("/")
            faults = self._end_metering(replica)
        if faults and result.status and result.stopped is None:  # whatever it made of it, it is no fault of its own
            return result._replace(stopped=_gpu_failed(faults))
        if result.stopped is None:
            result = result._replace(stopped=self._witness.judge(result))
        return result


def _gpu_failed(faults: Mapping[str, str]) -> tuple[Outcome, str]:
    return Outcome.NODE, f"a GPU failed while this ran: {'; '.join(faults.values())}"


def _digest(value: str) -> str:
    return hashlib.sha256(os.fsencode(value)).hexdigest()


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _printable(text: str) -> str:
    """Return the text as a statement may hold it: one line, printable, not too long."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= _MAX_DETAIL else clean[: _MAX_DETAIL - 3] + "..."
