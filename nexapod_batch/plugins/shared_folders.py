"""A ready backend where runners see the folders of this side: what is left to write is how a runner starts.

A launch is a file in `inbox/`; a runner claims it, runs it and takes the file away when every replica was reported or
given up. So the files alone say what became of a launch, after any crash:

| inbox file | claim | it is |
|---|---|---|
| no | no | UNKNOWN, or FAILED when it lies in `refused/` |
| yes | no | QUEUED |
| yes | by the runner that holds the lock of the spool | ACTIVE |
| yes | by another | FAILED: its runner died; what it did not report is lost |
| no | yes | COMPLETED |
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch import interpreter
from nexapod_batch.errors import SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, open_log, own_folder
from nexapod_batch.plugins.backend_nouns import BackendState, Finding, LaunchStatus, Mark
from nexapod_batch.spool import cancellations, claims, launch_keys, layout
from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins.backend_nouns import Launch, NodeContext, Probing

__all__ = ["SharedFolders"]

IDLE_EXIT_S = 10  # seconds without work until a runner exits


class SharedFolders:
    """All of a backend but `launch`, `status` and `cancel`, and what helps to write these."""

    #: Settings of a node that stay as they were written once: nobody else knows them.
    kept_settings: tuple[str, ...] = ("trail_s",)

    # ---- launching: what a subclass is made of

    def put(self, context: NodeContext, launches: Sequence[Launch]) -> None:
        """Put every launch that is not known yet into the inbox; SchedulerError where that cannot be written."""
        try:
            own_folder(context.spool, *layout.FOLDERS, below=base_of(context.spool))
            own_folder(context.work, below=base_of(context.work))
            contents: dict[Path, bytes] = {}
            for launch in launches:
                known = (layout.claim(launch.key), layout.bundle(launch.key), layout.refused_bundle(launch.key))
                if not any((context.spool / path).exists() for path in known):
                    # its key first: a bundle without it is refused
                    contents[context.spool / layout.key(launch.key)] = launch_keys.as_text(launch.seed)
                    contents[context.spool / layout.bundle(launch.key)] = launch.envelope
            atomic.write_all(contents, mode=0o600)
        except OSError as error:
            raise SchedulerError(
                f"node {context.node.name}: the launch cannot be handed over",
                got=str(error),
                hint=f"check that {context.spool} can be written and that the disk is not full",
            ) from error

    def status_by_files(self, context: NodeContext, keys: Sequence[str]) -> dict[str, LaunchStatus]:
        """Return what the files say of each launch; None of them starts a runner."""
        return self.status_beside(context, keys, live_incarnation(context.spool))

    def status_beside(self, context: NodeContext, keys: Sequence[str], holder: str | None) -> dict[str, LaunchStatus]:
        """Return the same for a worker of which somebody looked already: its incarnation, None where none lives."""
        return {key: _state(context.spool, key, holder) for key in keys}

    def leave_note(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> bool:
        """Leave one note for the runner about replicas to stop; say whether any of them has not ended."""
        going_on = {BackendState.QUEUED, BackendState.ACTIVE}
        states = self.status_by_files(context, list(replicas))
        not_ended = {key: names for key, names in replicas.items() if states[key].state in going_on}
        if not not_ended:
            return False
        name, content = cancellations.listing(not_ended)
        own_folder(context.spool, layout.CANCEL, below=base_of(context.spool))
        atomic.write(context.spool / layout.cancellation(name), content, mode=0o600, durable=False)
        return True

    def runner_command(self, context: NodeContext) -> list[str]:
        """Return the command line of a runner of a node on this machine."""
        return interpreter.module("nexapod_batch.runner", str(context.spool))

    def spawn_runner(self, context: NodeContext, before: Sequence[str] = ()) -> int:
        """Start a runner on this machine, in a session of its own; return its process id, OSError where that fails.

        It ends by itself when nothing is left to do, or at once where another one holds the lock of the spool.
        `before` are words before its command line, the first one a path.
        """
        log = open_log(context.spool / layout.WORKER_LOG)
        try:
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),  # else a pipe of the caller's shell stays open
            ]
            argv, env = [*before, *self.runner_command(context)], interpreter.environment(os.environ)
            return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
        finally:
            os.close(log)

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:  # noqa: ARG002 - the port's
        """Return one: nothing is known of what a launch costs."""
        return 1

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove inbox file, script and notes, then spend the claim: it outlives what it forbids to run."""
        spool = context.spool
        (spool / layout.SPENT).mkdir(mode=0o700, exist_ok=True)
        for key in keys:
            for path in layout.of_ended_launch(key):
                (spool / path).unlink(missing_ok=True)
            (context.work / layout.script(key)).unlink(missing_ok=True)
            try:
                (spool / layout.claim(key)).rename(spool / layout.spent(key))
            except FileNotFoundError:  # nobody ran it, and nobody will
                (spool / layout.spent(key)).touch(mode=0o600)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Remove spent claims."""
        for key in keys:
            (context.spool / layout.spent(key)).unlink(missing_ok=True)

    # ---- files

    def node_settings(self, context: NodeContext) -> dict[str, Any]:  # noqa: ARG002 - a subclass looks at it
        """Return settings of a node's runners that hold unless somebody set them otherwise."""
        return {"idle_exit_s": IDLE_EXIT_S}

    def runner_host(self, context: NodeContext) -> str:  # noqa: ARG002 - a subclass looks at it
        """Return the name of the machine where runners of a site's node start: as a rule, this one."""
        return socket.gethostname()

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:
        """Write `node.json` again where it is missing or says something else, as after a moved home."""
        file = context.spool / layout.NODE_CONFIG
        try:
            written = careful.load(file)
            kept = {name: written[name] for name in self.kept_settings if name in written}
        except (OSError, ValueError, TypeError):
            written, kept = None, {}
        wanted = {**self.node_settings(context), **kept, **settings, "work": str(context.work)}
        if context.site is not None:  # its file does not say which machine that is
            wanted["host"] = self.runner_host(context)
        if written == wanted:
            return
        own_folder(context.spool, *layout.FOLDERS, below=base_of(context.spool))
        own_folder(context.work, below=base_of(context.work))
        atomic.write(file, json.dumps(wanted, indent=2).encode() + b"\n", mode=0o600)

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:  # noqa: ARG002 - the port's
        """Return the files as they lie: runners see them."""
        return {digest: str(path) for digest, path in inputs.items()}

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:  # noqa: ARG002 - the port's
        """Do nothing: nothing was copied."""
        return 0

    def collect(self, context: NodeContext) -> None:
        """Do nothing: runners write their reports where they are read."""

    def change_token(self, context: NodeContext) -> str | None:  # noqa: ARG002 - the port's
        """Return None: the spool here is the runners' own."""
        return None

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove segments."""
        for name in segments:
            (context.spool / layout.segment(name)).unlink(missing_ok=True)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Do nothing: work folders are read where they lie."""

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Remove work folders and logs."""
        for name in replicas:
            shutil.rmtree(context.work / name, ignore_errors=True)
            for suffix in layout.BESIDE_WORK:
                (context.work / f"{name}{suffix}").unlink(missing_ok=True)

    # ---- administration

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:  # noqa: ARG002
        """Return what will run, and where; there is nobody to ask."""
        return (
            f"node {context.node.name}: a launch in {context.spool / layout.INBOX}\n"
            f"  runs {replicas} x {self.command_of(job)}\n"
            f"  each in its own folder under {context.work}"
        )

    def command_of(self, job: Job) -> str:
        """Return what a job runs, for people."""
        if job.command:
            return shlex.join(job.command)
        return "the script of the descriptor"

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:
        """Look whether the folders can be written."""
        for context in contexts:
            if not how.dry_run:
                yield self.folders(context)

    def folders(self, context: NodeContext) -> Finding:
        """Find out whether spool and work folder of a node can be written."""
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

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove spools and work folders."""
        for context in contexts:
            shutil.rmtree(context.spool, ignore_errors=True)
            shutil.rmtree(context.work, ignore_errors=True)

    def discover(self, site: Site) -> str:
        """Refuse: there is nothing to ask.

        Raises:
            SchedulerError: Always.

        """
        raise SchedulerError(
            f"site {site.name}: backend {site.scheduler.type} finds out nothing that a site file could hold",
            hint="start from a ready one: nexapod-batch site init --list",
        )


def _state(spool: Path, key: str, holder: str | None) -> LaunchStatus:
    """Read the state of a launch; the inbox comes first, because a claim is made before the inbox file goes."""
    bundle = spool / layout.bundle(key)
    waiting = bundle.exists()
    claim = claims.read(spool / layout.claim(key))
    if waiting and claim is None:
        return LaunchStatus(state=BackendState.QUEUED, native="inbox")
    if waiting and claim is not None and bundle.exists():
        if claim != holder:  # it may have come since
            holder = live_incarnation(spool)
        if holder is not None and claim in (holder, claims.UNREAD):
            return LaunchStatus(state=BackendState.ACTIVE, native=f"claimed by {claim}")
        native = f"claimed by {claim}"
        return LaunchStatus(state=BackendState.FAILED, native=native, reason="its worker died", code="worker.died")
    if claim is not None:
        return LaunchStatus(state=BackendState.COMPLETED, native=f"claimed by {claim}")
    reason = spool / layout.reason(key)
    with suppress(FileNotFoundError):
        return LaunchStatus(state=BackendState.FAILED, native="refused", reason=_reason(reason), code="worker.refused")
    return LaunchStatus(state=BackendState.UNKNOWN)


def _reason(file: Path) -> str:
    """Return the reason that a runner left; FileNotFoundError without one."""
    try:
        return careful.read(file, 1 << 20).decode("utf-8", "replace").strip()[:4000]
    except careful.NotPlainError as error:
        return f"the reason cannot be read: {error.strerror}"


def _inherited() -> list[int]:
    """Return the descriptors above stderr that a program which is started from here would have.

    Those that were opened before somebody lowered the limit of open files have numbers that posix_spawn refuses: they
    are marked instead, so that nothing that is started from here has them.
    """
    found = []
    most = os.sysconf("SC_OPEN_MAX")
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # that of the listing itself
            if fd > 2 and os.get_inheritable(fd):
                if 0 < most <= fd:
                    os.set_inheritable(fd, False)  # noqa: FBT003 - the standard library's
                else:
                    found.append(fd)
    return found
