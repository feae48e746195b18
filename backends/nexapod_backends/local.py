"""The backend `local`: a detached worker on this machine, fed through files in the node's spool.

What became of a launch is told by its files: see `plugins.shared_folders`.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError, last_message
from nexapod_batch.files import careful
from nexapod_batch.files.code_version import code_version
from nexapod_batch.model.job import Tier
from nexapod_batch.plugins import BackendState, Finding, LaunchStatus, Mark
from nexapod_batch.plugins.shared_folders import SharedFolders
from nexapod_batch.spool import layout, owner_settings, status_file
from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Launch, NodeContext, Probing
    from nexapod_batch.spool.status_file import WorkerStatus

__all__ = ["LocalBackend"]

_RUNNER = "nexapod_batch.runner"
#: The packages that a worker runs.
_CODE = ("nexapod_batch", "nexapod_backends")
LAUNCHES_PER_SLOT = 16
#: How far commands stand back behind the owner's programs, who may say otherwise: `node set NAME nice=0 io=normal`.
_NICE, _NICE_ELSEWHERE = {Tier.CONSUMER_GPU: 19}, 5
#: Between two looks at the code on the disk: seconds, and how many times the CPU time of one.
_CODE_S, _CODE_TIMES = 1.0, 200
_RETRY_S = 5.0  # between two starts of a worker that fails at once
_PATIENCE_S = 60.0  # for an interpreter that is tried


class LocalBackend(SharedFolders):
    """Hands launches to the worker of a node on this machine, and starts it when it is not there."""

    #: What `node init` was told, and nobody else knows.
    kept_settings = ("idle_exit_s", "trail_s", "container", "gpus", "gpu_slots", "confine")

    def __init__(self) -> None:
        """Know of no worker yet."""
        self._workers: dict[Path, _Started] = {}  # by spool
        self._seen_code = ("", 0.0)  # which code lies on the disk, and until when that is believed

    def node_settings(self, context: NodeContext) -> dict[str, Any]:
        """Return what a worker does unless its owner wants something else."""
        nice = _NICE.get(context.node.tier, _NICE_ELSEWHERE)
        ours = {"nice": nice, "io": "idle", "code": self._code(), "successor": self.runner_command(context)}
        if context.site is not None:
            ours |= _passed(context.site)
        return {**super().node_settings(context), **ours}

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where a worker keeps what it fetches."""
        return str(context.remote_spool / layout.FETCHED)

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return so few that each slot gets several launches, and the work spreads evenly.

        A job whose tasks get their inputs one after the other is cut as if all came at once: each launch carries the
        document with the inputs of all of them.
        """
        if job.elements is not None:
            replicas = max(replicas, job.n_tasks)
        slots = max(1, context.node.cpus // job.resources.cpus)
        if job.resources.gpus:
            slots = max(1, min(slots, context.node.gpus // job.resources.gpus))
        return max(1, -(-replicas // (slots * LAUNCHES_PER_SLOT)))

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Return the files as they lie; a worker comes up meanwhile, for something will be launched at once."""
        with suppress(SchedulerError):  # told by the launch
            self._start(context)
        return super().stage(context, inputs)

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Put every launch that is not known yet into the inbox; the native id is the launch key."""
        self.put(context, launches)
        if launches:
            self._start(context)
        return {launch.key: launch.key for launch in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of each launch from the files; start the worker when something waits and none runs."""
        holder = live_incarnation(context.spool)
        found = self.status_beside(context, keys, holder)
        states = {one.state for one in found.values()}
        if holder and BackendState.ACTIVE in states:
            worker = status_file.read(context.spool, holder)
            if worker is not None:
                _let_go_on(worker.pid)
                for key, why in _suspended(worker).items():
                    _explain(found, [key], BackendState.ACTIVE, why)
        # after a worker that was killed the next one ends what it left, suspended commands above all
        if holder is None and states & {BackendState.QUEUED, BackendState.FAILED}:
            _explain(found, keys, BackendState.QUEUED, self._start(context))
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave one note for the worker, of all that has not ended."""
        if self.leave_note(context, replicas):
            self._start(context)

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:  # noqa: ARG002
        """Return the runner's command line and what it will run; there is nobody to ask."""
        asked, node = job.resources, context.node
        share = f"{asked.cpus} of {node.cpus} CPUs" + (f", {asked.gpus} of {node.gpus} GPUs" if asked.gpus else "")
        return (
            f"node {context.node.name}: {shlex.join(self.runner_command(context))}\n"
            f"  runs {replicas} x {self.command_of(job)}\n"
            f"  each in its own folder under {context.work}, {share} each"
        )

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Look whether the folders can be written, and a worker be started."""
        for context in contexts:
            name = context.node.name
            if how.dry_run:
                text = f"would run {shlex.join(self.runner_command(context))}"
                yield Finding(mark=Mark.SKIP, probe=f"worker {name}", text=text)
                continue
            yield self.folders(context)
            yield _worker(context)

    def discover(self, site: Site) -> str:
        """Refuse: there is nothing to ask.

        Raises:
            SchedulerError: Always.

        """
        raise SchedulerError(
            f"site {site.name}: this machine says nothing that a site file could hold",
            hint="start from a ready one: nexapod-batch site init --from workstation",
        )

    def _code(self) -> str:
        """Return which code a worker that is started now would run, as of the last second or two."""
        version, until = self._seen_code
        now = time.monotonic()
        if now >= until:
            used = time.process_time()
            version = code_version(_CODE)
            self._seen_code = version, now + max(_CODE_S, _CODE_TIMES * (time.process_time() - used))
        return version

    def _start(self, context: NodeContext) -> str:
        """Start a worker in its own session unless one holds the lock; return why the last one ended badly, or "".

        A second worker would see the lock and leave; still, none is started while one of ours is coming up, and one
        that fails at once is not started again before `_RETRY_S` have passed.
        """
        if live_incarnation(context.spool) is not None:
            return ""
        if owner_settings.is_stopped(context.spool):
            return "is stopped by its owner"
        if context.node.host != socket.gethostname():
            raise SchedulerError(
                f"node {context.node.name} belongs to another machine, its worker is not started here",
                got=socket.gethostname(),
                wanted=context.node.host,
                hint=f"run nexapod-batch there, or nexapod-batch node drain {context.node.name}",
            )
        now, last = time.monotonic(), self._workers.get(context.spool)
        if last is not None and _is_to_wait_for(context, last, now):
            return last.trouble
        try:
            lock_time = _lock_time(context.spool)
            pid = self.spawn_runner(context)
        except OSError as error:
            hint = "end other programs, or raise the limit: ulimit -u" if error.errno == errno.EAGAIN else None
            what = f"node {context.node.name}: its worker cannot be started"
            raise SchedulerError(what, got=str(error), hint=hint) from error
        trouble = last.trouble if last else ""
        self._workers[context.spool] = _Started(pid=pid, started=now, lock_time=lock_time, trouble=trouble)
        return trouble


class _Started(Struct, kw_only=True):
    """The last worker that this backend started for a spool."""

    pid: int  # 0 when it has ended
    started: float  # by the monotonic clock
    lock_time: int  # when the lock file was last written before
    trouble: str  # why the last one ended badly; empty when it did not


def _passed(site: Site) -> dict[str, Any]:
    """Return what commands get of the variables that a site sets: no script starts the worker that could set them."""
    passes, env = site.environment.passes, site.environment.env
    return {"pass": list(passes), "env": {name: env[name] for name in passes if name in env}}


def _is_to_wait_for(context: NodeContext, last: _Started, now: float) -> bool:
    """Look what became of a worker; say whether it is coming up, or gave up too short a time ago."""
    if last.pid and (code := _ended(last.pid)) is not None:
        last.pid = 0
        last.trouble = _trouble(context, code) if code > 0 else ""  # one that was killed may come back at once
    coming_up = bool(last.pid) and last.lock_time == _lock_time(context.spool)  # it did not get to the lock yet
    return coming_up or (bool(last.trouble) and now - last.started < _RETRY_S)


def _explain(statuses: dict[str, LaunchStatus], keys: Iterable[str], state: BackendState, why: str) -> None:
    """Give launches that are in a state a reason, if there is one."""
    for key in keys:
        if why and key in statuses and statuses[key].state is state:
            statuses[key] = replace(statuses[key], reason=why)


def _worker(context: NodeContext) -> Finding:
    """Start a worker's interpreter, and let it say that the rest can be imported."""
    from nexapod_batch.files import answers  # noqa: PLC0415 - 10 ms that no launch needs

    python, argv = interpreter.own(), interpreter.code(f"import {_RUNNER}.worker.worker")
    probe = f"worker {context.node.name}"
    if context.node.host != socket.gethostname():
        text = f"the node belongs to {context.node.host}, this is {socket.gethostname()}"
        return Finding(mark=Mark.FAIL, probe=probe, text=text, hint="run this there", stops=True)
    try:
        done = answers.ask(argv, timeout_s=_PATIENCE_S, cwd=interpreter.FOLDER, env=interpreter.environment(os.environ))
    except OSError as error:
        return Finding(mark=Mark.FAIL, probe=probe, text=f"{python} cannot be run: {error}", stops=True)
    if done.status:
        said = last_message(done.stderr.decode("utf-8", "replace")) or "it said nothing"
        return Finding(mark=Mark.FAIL, probe=probe, text=said, hint="install nexapod-batch again", stops=True)
    return Finding(mark=Mark.OK, probe=probe, text=f"{python} can run it")


def _lock_time(spool: Path) -> int:
    try:
        return (spool / layout.LOCK).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _ended(pid: int) -> int | None:
    """Return the exit code of a worker that ended, None while it lives; somebody else may have collected it: then 0."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    if found:
        return os.waitstatus_to_exitcode(status)
    return None


def _trouble(context: NodeContext, code: int) -> str:
    """Say why no worker runs, with the last message that it left."""
    said = last_message(careful.tail(context.spool / layout.WORKER_LOG, 2000).decode("utf-8", "replace"))
    return f"the worker ended with {code}: {said or 'it said nothing'}"


def _let_go_on(pid: int) -> None:
    """Let a worker go on that was stopped, as a command of the same account can do: it keeps the limits of all."""
    with suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
        if state == "T":
            os.kill(pid, signal.SIGCONT)


def _suspended(worker: WorkerStatus) -> dict[str, str]:
    """Return what the worker's notice says of launches of which something is suspended for the owner of the machine."""
    reasons: dict[str, list[str]] = {}
    for row in worker.replicas:
        if row.suspended:
            reasons.setdefault(row.launch, []).append(f"{row.replica} is suspended: {row.suspended}")
    return {key: "; ".join(why) for key, why in reasons.items()}
