"""The backend `local`: a detached worker on this machine, fed through files in the node's spool.

A launch is a file in `inbox/`; the worker claims it, runs it and takes the file away when every replica was reported or
given up. So the files alone say what became of a launch, after any crash:

| inbox file | claim | it is |
|---|---|---|
| no | no | UNKNOWN, or FAILED when it lies in `refused/` |
| yes | no | QUEUED |
| yes | by the incarnation that holds the lock | ACTIVE |
| yes | by another | FAILED: its worker died; what it did not report is lost |
| no | yes | COMPLETED |
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
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
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, open_log, own_folder
from nexapod_batch.model.job import Tier
from nexapod_batch.plugins import BackendState, Finding, LaunchStatus, Mark
from nexapod_batch.spool import cancellations, launch_keys
from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import Launch, NodeContext, Probing

__all__ = ["LocalBackend"]

_RUNNER = "nexapod_batch.runner"
#: Stands for who claimed, where the file does not say it: the runner that lives is writing it, or died of a crash.
_UNREAD = "?"
FOLDERS = ("inbox", "claims", "spent", "cancel", "reports", "refused")
IDLE_EXIT_S = 10  # seconds without work until a worker exits
_KEPT = ("idle_exit_s", "container", "gpus", "gpu_slots", "confine")  # what `node init` was told, and nobody else knows
LAUNCHES_PER_SLOT = 16
#: How far commands stand back behind the owner's programs, who may say otherwise: `node set NAME nice=0 io=normal`.
_NICE, _NICE_ELSEWHERE = {Tier.CONSUMER_GPU: 19}, 5
_RETRY_S = 5.0  # between two starts of a worker that fails at once


class LocalBackend:
    """Hands launches to the worker of a node on this machine, and starts it when it is not there."""

    def __init__(self) -> None:
        """Know of no worker yet."""
        self._workers: dict[Path, _Started] = {}  # by spool

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Write `node.json` again where it is missing or says something else, as after a moved home."""
        file = context.spool / "node.json"
        try:
            written = careful.load(file)
            kept = {name: written[name] for name in _KEPT if name in written}
        except (OSError, ValueError, TypeError):
            written, kept = None, {}
        nice = _NICE.get(context.node.tier, _NICE_ELSEWHERE)
        wanted = {"idle_exit_s": IDLE_EXIT_S, "nice": nice, "io": "idle", **kept, **settings, "work": str(context.work)}
        if written == wanted:
            return
        own_folder(context.spool, *FOLDERS, below=base_of(context.spool))
        own_folder(context.work, below=base_of(context.work))
        atomic.write(file, json.dumps(wanted, indent=2).encode() + b"\n", mode=0o600)

    def grain(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return so few that each slot gets several launches, and the work spreads evenly."""
        slots = max(1, context.node.cpus // job.resources.cpus)
        if job.resources.gpus:
            slots = max(1, min(slots, context.node.gpus // job.resources.gpus))
        return -(-replicas // (slots * LAUNCHES_PER_SLOT))

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:  # noqa: ARG002 - the port's
        """Return the files as they lie: the worker is on this machine."""
        return {digest: str(path) for digest, path in inputs.items()}

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:  # noqa: ARG002 - the port's
        """Do nothing: nothing was copied."""
        return 0

    def collect(self, context: NodeContext) -> None:
        """Do nothing: the worker writes its reports where they are read."""

    def stamp(self, context: NodeContext) -> object:  # noqa: ARG002
        """Return None: the spool here is the worker's own."""
        return None

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove segments."""
        for name in segments:
            (context.spool / "reports" / name).unlink(missing_ok=True)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """Do nothing: work folders are read where they lie."""

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove work folders and logs."""
        for name in replicas:
            shutil.rmtree(context.work / name, ignore_errors=True)
            for suffix in (".out", ".err", ".manifest"):
                (context.work / f"{name}{suffix}").unlink(missing_ok=True)

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Put every launch that is not known yet into the inbox; the native id is the launch key."""
        inbox, claims, refused = (context.spool / name for name in ("inbox", "claims", "refused"))
        try:
            own_folder(context.spool, *FOLDERS, below=base_of(context.spool))
            own_folder(context.work, below=base_of(context.work))
            for one in launches:
                file = f"{one.key}.json"
                if not ((claims / one.key).exists() or (inbox / file).exists() or (refused / file).exists()):
                    key = inbox / f"{one.key}{launch_keys.ENDING}"  # first: a bundle without it is refused
                    atomic.write(key, launch_keys.as_text(one.seed), mode=0o600, durable=False)
                    atomic.write(inbox / file, one.envelope, mode=0o600)
        except OSError as error:
            raise SchedulerError(
                f"node {context.node.name}: the launch cannot be handed over",
                got=str(error),
                hint=f"check that {context.spool} can be written and that the disk is not full",
            ) from error
        if launches:
            self._start(context)
        return {one.key: one.key for one in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return the state of each launch from the files; start the worker when something waits and none runs."""
        holder = live_incarnation(context.spool)
        found = {key: _state(context.spool, key, holder) for key in keys}
        if holder and any(one.state is BackendState.ACTIVE for one in found.values()):
            _let_go_on(context.spool, holder)
            for key, why in _suspended(context.spool, holder).items():
                if key in found and found[key].state is BackendState.ACTIVE:
                    found[key] = replace(found[key], reason=why)
        # after a worker that was killed the next one ends what it left, suspended commands above all
        wanted = {BackendState.QUEUED, BackendState.FAILED}
        if any(one.state in wanted for one in found.values()) and holder is None:
            trouble = self._start(context)
            if trouble:
                found = {
                    key: replace(one, reason=trouble) if one.state is BackendState.QUEUED else one
                    for key, one in found.items()
                }
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave one note for the worker, of all that has not ended."""
        holder, going_on = live_incarnation(context.spool), {BackendState.QUEUED, BackendState.ACTIVE}
        open_ = {k: names for k, names in replicas.items() if _state(context.spool, k, holder).state in going_on}
        if open_:
            name, content = cancellations.listing(open_)
            own_folder(context.spool, "cancel", below=base_of(context.spool))
            atomic.write(context.spool / "cancel" / name, content, mode=0o600, durable=False)
            self._start(context)

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove inbox file, script and notes, then spend the claim: it outlives what it forbids to run."""
        spool = context.spool
        (spool / "spent").mkdir(mode=0o700, exist_ok=True)
        for key in keys:
            for path in (
                spool / "inbox" / f"{key}.json",
                spool / "inbox" / f"{key}{launch_keys.ENDING}",
                context.work / f"{key}.script",
                spool / "cancel" / key,
                spool / "refused" / f"{key}.json",
                spool / "refused" / f"{key}.reason",
            ):
                path.unlink(missing_ok=True)
            try:
                (spool / "claims" / key).rename(spool / "spent" / key)
            except FileNotFoundError:  # nobody ran it, and nobody will
                (spool / "spent" / key).touch(mode=0o600)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove spent claims."""
        for key in keys:
            (context.spool / "spent" / key).unlink(missing_ok=True)

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:  # noqa: ARG002
        """Return the runner's command line and what it will run; there is nobody to ask."""
        command = shlex.join(job.command) if job.command else "the script of the descriptor"
        asked, node = job.resources, context.node
        share = f"{asked.cpus} of {node.cpus} CPUs" + (f", {asked.gpus} of {node.gpus} GPUs" if asked.gpus else "")
        return (
            f"node {context.node.name}: {shlex.join(_command(context))}\n"
            f"  runs {replicas} x {command}\n"
            f"  each in its own folder under {context.work}, {share} each"
        )

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Look whether the folders can be written, and a worker be started."""
        for context in contexts:
            name = context.node.name
            if how.dry_run:
                yield Finding(mark=Mark.SKIP, probe=f"worker {name}", text=f"would run {shlex.join(_command(context))}")
                continue
            yield _folders(context)
            yield _worker(context)

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove spools and work folders."""
        for context in contexts:
            shutil.rmtree(context.spool, ignore_errors=True)
            shutil.rmtree(context.work, ignore_errors=True)

    def discover(self, site: Site) -> str:
        """Refuse: there is nothing to ask."""
        raise SchedulerError(
            f"site {site.name}: this machine says nothing that a site file could hold",
            hint="start from a ready one: nexapod-batch site init --from workstation",
        )

    def _start(self, context: NodeContext) -> str:
        """Start a worker in its own session unless one holds the lock; return why the last one ended badly, or "".

        A second worker would see the lock and leave; still, none is started while one of ours is coming up, and one
        that fails at once is not started again before `_RETRY_S` have passed.
        """
        if live_incarnation(context.spool) is not None:
            return ""
        if context.node.host != socket.gethostname():
            raise SchedulerError(
                f"node {context.node.name} belongs to another machine, its worker is not started here",
                got=socket.gethostname(),
                wanted=context.node.host,
                hint=f"run nexapod-batch there, or nexapod-batch node drain {context.node.name}",
            )
        now, last = time.monotonic(), self._workers.get(context.spool)
        if last is not None:
            if last.pid and (code := _ended(last.pid)) is not None:
                # one that was killed may come back at once; one that gave up would do so again
                last.pid, last.trouble = 0, _trouble(context, code) if code > 0 else ""
            coming_up = last.pid and last.lock_time == _lock_time(context.spool)  # it did not get to the lock yet
            if coming_up or (last.trouble and now - last.started < _RETRY_S):
                return last.trouble
        try:
            lock_time = _lock_time(context.spool)
            pid = _spawn(context)
        except OSError as error:
            raise SchedulerError(f"node {context.node.name}: its worker cannot be started", got=str(error)) from error
        trouble = last.trouble if last else ""
        self._workers[context.spool] = _Started(pid=pid, started=now, lock_time=lock_time, trouble=trouble)
        return trouble


class _Started(Struct, kw_only=True):
    """The last worker that this backend started for a spool."""

    pid: int  # 0 when it has ended
    started: float  # by the monotonic clock
    lock_time: int  # when the lock file was last written before
    trouble: str  # why the last one ended badly; empty when it did not


def _folders(context: NodeContext) -> Finding:
    probe = f"folders {context.node.name}"
    try:
        for folder in (context.spool, context.work):
            atomic.write(folder / ".try", b"", mode=0o600)
            (folder / ".try").unlink()
    except OSError as error:
        text = f"{context.spool} or {context.work} cannot be written: {error.strerror}"
        hint = "set NEXAPOD_HOME to a folder of your own"
        return Finding(mark=Mark.FAIL, probe=probe, text=text, hint=hint, stops=True)
    return Finding(mark=Mark.OK, probe=probe, text=f"{context.spool} and {context.work} can be written")


def _worker(context: NodeContext) -> Finding:
    """Start a worker's interpreter, and let it say that the rest can be imported."""
    import subprocess  # noqa: PLC0415 - 10 ms that no launch needs

    python, argv = interpreter.own(), interpreter.code(f"import {_RUNNER}.worker")
    probe = f"worker {context.node.name}"
    if context.node.host != socket.gethostname():
        text = f"the node belongs to {context.node.host}, this is {socket.gethostname()}"
        return Finding(mark=Mark.FAIL, probe=probe, text=text, hint="run this there", stops=True)
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=60, check=False, cwd=interpreter.FOLDER,
            env=interpreter.environment(os.environ),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(mark=Mark.FAIL, probe=probe, text=f"{python} cannot be run: {error}", stops=True)
    if done.returncode:
        said = last_message(done.stderr) or "it said nothing"
        return Finding(mark=Mark.FAIL, probe=probe, text=said, hint="install nexapod-batch again", stops=True)
    return Finding(mark=Mark.OK, probe=probe, text=f"{python} can run it")


def _lock_time(spool: Path) -> int:
    try:
        return (spool / "worker.lock").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _spawn(context: NodeContext) -> int:
    log = open_log(context.spool / "worker.log")
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),  # else a pipe of the caller's shell stays open
        ]
        argv, env = _command(context), interpreter.environment(os.environ)
        return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    finally:
        os.close(log)


def _inherited() -> list[int]:
    """Return the descriptors above stderr that a program which is started from here would have."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # that of the listing itself
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found


def _ended(pid: int) -> int | None:
    """Return the exit code of a worker that ended, None while it lives; somebody else may have collected it: then 0."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if found else None


def _trouble(context: NodeContext, code: int) -> str:
    """Say why no worker runs, with the last message that it left."""
    said = last_message(careful.tail(context.spool / "worker.log", 2000).decode("utf-8", "replace"))
    return f"the worker ended with {code}: {said or 'it said nothing'}"


def _command(context: NodeContext) -> list[str]:
    return interpreter.module(_RUNNER, str(context.spool))


def _state(spool: Path, key: str, holder: str | None) -> LaunchStatus:
    """Read the state of a launch; the inbox comes first, because a claim is made before the inbox file goes."""
    inbox = spool / "inbox" / f"{key}.json"
    waiting = inbox.exists()
    claim = _claim(spool / "claims" / key)
    if waiting and claim is None:
        return LaunchStatus(state=BackendState.QUEUED, native="inbox")
    if waiting and claim is not None and inbox.exists():
        if claim != holder:  # it may have come since
            holder = live_incarnation(spool)
        if holder is not None and claim in (holder, _UNREAD):
            return LaunchStatus(state=BackendState.ACTIVE, native=f"claimed by {claim}")
        return LaunchStatus(state=BackendState.FAILED, native=f"claimed by {claim}", reason="its worker died")
    if claim is not None:
        return LaunchStatus(state=BackendState.COMPLETED, native=f"claimed by {claim}")
    reason = spool / "refused" / f"{key}.reason"
    with suppress(FileNotFoundError):
        return LaunchStatus(state=BackendState.FAILED, native="refused", reason=_words(reason))
    return LaunchStatus(state=BackendState.UNKNOWN)


def _let_go_on(spool: Path, holder: str) -> None:
    """Let a worker go on that was stopped, as a command of the same account can do: it keeps the limits of all."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = careful.load(spool / "running.json")
        pid = int(told["pid"])
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
        if told["incarnation"] == holder and state == "T":
            os.kill(pid, signal.SIGCONT)


def _words(file: Path) -> str:
    """Return the reason that a worker left; FileNotFoundError without one."""
    try:
        return careful.read(file, 1 << 20).decode("utf-8", "replace").strip()[:4000]
    except careful.NotPlainError as error:
        return f"the reason cannot be read: {error.strerror}"


def _suspended(spool: Path, holder: str) -> dict[str, str]:
    """Return what the worker's notice says of launches of which something is suspended for the owner of the machine."""
    found: dict[str, list[str]] = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        notice = careful.load(spool / "running.json")
        for row in notice["replicas"] if notice["incarnation"] == holder else ():
            if row["suspended"]:
                found.setdefault(row["launch"], []).append(f"{row['replica']} is suspended: {row['suspended']}")
    return {key: "; ".join(said) for key, said in found.items()}


def _claim(path: Path) -> str | None:
    """Return the incarnation that claimed, `_UNREAD` while the claim has no content (yet), None without a claim."""
    try:
        return str(careful.load(path)["incarnation"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return _UNREAD
