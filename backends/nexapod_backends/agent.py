"""The backend `agent`: nodes that joined from elsewhere and call for work. Here nothing is called; files are left.

`launch` puts bundles into the node's outbox, `status` is what the node said last, `fetch` asks for outputs and has them
when the node has sent them (`nexapod_batch.mesh.mailbox`). The server hands over and takes in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError
from msgspec import json as msgjson

from nexapod_batch.errors import OnTheWayError, SchedulerError, UnsafeOutputError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.mesh import lease, live_logs, mailbox
from nexapod_batch.mesh.commitment_files import forget_bound
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import Bundle, Message, Wanted
from nexapod_batch.plugins import BackendState, Finding, LaunchStatus, Mark
from nexapod_batch.plugins.shared_folders import SharedFolders
from nexapod_batch.spool import cancellations, layout
from nexapod_batch.trust.statement_rules import is_hex, safe_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Job
    from nexapod_batch.plugins import Launch, NodeContext, Probing

__all__ = ["AgentBackend"]

LAUNCHES_PER_SLOT = 4
_MAX_LIST = 16 << 20
#: Seconds after which files that did not come are asked for again.
_AGAIN_S = 5.0


class AgentBackend(SharedFolders):
    """Leaves work for nodes that call for it."""

    def launch_size(self, context: NodeContext, job: Job, replicas: int) -> int:
        """Return so few that each slot gets several launches, and few calls bring much."""
        slots = max(1, context.node.cpus // job.resources.cpus)
        return max(1, -(-replicas // (slots * LAUNCHES_PER_SLOT)))

    def fetch_folder(self, context: NodeContext) -> str:
        """Return where the node keeps what it fetches, as its owner lets it."""
        return _box(context).note().fetched

    def launch(self, context: NodeContext, launches: Sequence[Launch]) -> Mapping[str, str]:
        """Put every launch that the node does not have into its outbox; the native id is the launch key."""
        box = _box(context)
        try:
            for launch in launches:
                bundle = Bundle(launch=launch.key, envelope=launch.envelope.decode(), seed=launch.seed.hex())
                box.put_bundle(Message(name=f"launch-{launch.key}", bundle=bundle), launch.key)
        except OSError as error:
            raise _unwritten(context, error) from error
        return {launch.key: launch.key for launch in launches}

    def status(self, context: NodeContext, keys: Sequence[str]) -> Mapping[str, LaunchStatus]:
        """Return what the node said of each launch, and of those that it does not have yet that they wait."""
        box, now = _box(context), time.time()
        silent, note = box.unheard_s(now), box.note()
        found = {}
        for key in keys:
            said = box.said(key)
            word = ("", "", "") if said is None else (said.state, said.reason, said.code)
            it = lease.state_of(lease.Facts(box.waits(key), box.has(key), *word, silent, note.left, note.paused))
            state = BackendState(it.state)
            found[key] = LaunchStatus(state=state, reason=it.reason, code=it.code, native=it.native)
        return found

    def cancel(self, context: NodeContext, replicas: Mapping[str, Sequence[str] | None]) -> None:
        """Leave one message about all that has not ended."""
        going_on = {BackendState.QUEUED, BackendState.ACTIVE}
        states = self.status(context, list(replicas))
        not_ended = {key: names for key, names in replicas.items() if states[key].state in going_on}
        if not_ended:
            name, content = cancellations.listing(not_ended)
            self._tell(context, Message(name=f"cancel-{name}", cancel=content.decode()))

    def forget(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Let the node forget launches, and forget what is known of them here."""
        self._tell(context, Message(name=f"forget-{_tag(keys)}", forget=tuple(keys)))
        box = _box(context)
        for key in keys:
            box.drop(key)

    def expire(self, context: NodeContext, keys: Sequence[str]) -> None:
        """Let the node drop what keeps launches from being run again."""
        self._tell(context, Message(name=f"expire-{_tag(keys)}", expire=tuple(keys)))
        box = _box(context)
        for key in keys:
            box.expire(key)

    # ---- files

    def prepare(self, context: NodeContext, settings: Mapping[str, Any]) -> None:  # noqa: ARG002 - the node has its own
        """Make the mailbox where it is missing; what its runners are told, the node knows itself."""
        if not (context.spool / mailbox.WANTED).is_dir() or not context.work.is_dir():
            _box(context).make()
            own_folder(context.work, below=base_of(context.work))

    def stage(self, context: NodeContext, inputs: Mapping[str, Path]) -> Mapping[str, str]:
        """Offer inputs to the node; return where it will have put them before it runs anything.

        Raises:
            SchedulerError: The node has never said where it keeps inputs.

        """
        if not inputs:
            return {}
        folder = _box(context).note().folder
        if not folder:
            raise SchedulerError(
                f"node {context.node.name} has not called yet: where it keeps inputs is not known",
                hint="start it there: nexapod-batch node run",
            )
        for digest, path in inputs.items():
            with suppress(FileExistsError):
                os.symlink(path, context.spool / mailbox.OFFERED / digest)
        return {digest: f"{folder}/{digest}" for digest in inputs}

    def unstage(self, context: NodeContext, needed: Collection[str]) -> int:
        """Offer no longer what no job needs; return how many that were."""
        gone = [name for name in _names(context.spool / mailbox.OFFERED) if name not in needed]
        for name in gone:
            (context.spool / mailbox.OFFERED / name).unlink(missing_ok=True)
        return len(gone)

    def discard(self, context: NodeContext, segments: Sequence[str]) -> None:
        """Remove segments that were taken in, and let the node remove its own."""
        self._tell(context, Message(name=f"discard-{_tag(segments)}", discard=tuple(segments)))
        super().discard(context, segments)
        forget_bound(context.spool)

    def fetch(
        self, context: NodeContext, replica: str, *, logs: bool = False, names: Collection[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:  # fmt: skip
        """Put what the node sent of a replica into our work folder; OnTheWayError while it has only been asked.

        UnsafeOutputError for names that lead elsewhere.
        """
        if logs and (context.work / f"{replica}{layout.LOG_SUFFIXES[0]}").exists():
            return
        files = _brought(context, replica, logs=logs)
        if files is None:
            asked = context.spool / mailbox.WANTED / _wanted_name(replica, logs=logs)
            if not _is_recent(asked):
                listed = None if names is None else tuple(sorted(names))
                wanted = Wanted(replica=replica, names=listed, logs=logs, max_bytes=max_bytes or 0)
                atomic.write(asked, b"%d\n" % wanted.max_bytes, mode=0o600, durable=False)
                self._tell(context, Message(name=f"want-{asked.name}", wanted=wanted))
            raise OnTheWayError(f"node {context.node.name} was asked for the files of {replica}: they are on the way")
        own_folder(context.work, below=base_of(context.work))
        for name, digest in files.items():
            _place(context, replica, name, digest)

    def live_logs(self, context: NodeContext, replica: str) -> Path:
        """Ask the node for what a replica that runs has written since; return the folder with what is here of it."""
        follow = live_logs.asked(context.spool, replica, time.time())
        if follow is not None:
            name = f"follow-{replica}"
            _box(context).withdraw(name)  # an older question asks for what is here
            self._tell(context, Message(name=name, follow=follow))
        return context.spool / live_logs.LIVE

    def remove(self, context: NodeContext, replicas: Sequence[str]) -> None:
        """Let the node remove work folders; remove our copies, and what the node sent for them."""
        self._tell(context, Message(name=f"remove-{_tag(replicas)}", remove=tuple(replicas)))
        for replica in replicas:
            live_logs.drop(context.spool, replica)
            for logs in (False, True):
                files = _brought(context, replica, logs=logs) or {}
                for digest in files.values():
                    (context.spool / mailbox.BLOBS / digest).unlink(missing_ok=True)
                for folder in (mailbox.BROUGHT, mailbox.WANTED):
                    (context.spool / folder / _wanted_name(replica, logs=logs)).unlink(missing_ok=True)
        super().remove(context, replicas)

    # ---- administration

    def describe(self, context: NodeContext, job: Job, replicas: int, *, ask: bool = False) -> str:  # noqa: ARG002
        """Return what will be left, and for whom."""
        return (
            f"node {context.node.name}: a message in {context.spool / mailbox.OUTBOX}\n"
            f"  the node (owner {context.node.owner}) runs {replicas} x {self.command_of(job)}"
        )

    def probe(self, contexts: Sequence[NodeContext], how: Probing) -> Iterator[Finding]:  # noqa: ARG002 - the port's
        """Say when each node called last."""
        for context in contexts:
            silent, name = _box(context).silent_s(time.time()), context.node.name
            if silent is None:
                hint = "start it there: nexapod-batch node run"
                yield Finding(mark=Mark.WARN, probe=f"node {name}", text="it has not called yet", hint=hint)
            elif silent > lease.SILENT_S:
                yield Finding(mark=Mark.WARN, probe=f"node {name}", text=f"it has been silent for {silent:.0f} s")
            else:
                yield Finding(mark=Mark.OK, probe=f"node {name}", text=f"it called {silent:.0f} s ago")

    def clear(self, contexts: Sequence[NodeContext]) -> None:
        """Remove mailboxes and copies."""
        for context in contexts:
            shutil.rmtree(context.spool, ignore_errors=True)
            shutil.rmtree(context.work, ignore_errors=True)

    def _tell(self, context: NodeContext, message: Message) -> None:
        try:
            _box(context).put(message)
        except OSError as error:
            raise _unwritten(context, error) from error


def _box(context: NodeContext) -> Mailbox:
    return Mailbox(context.spool)


def _tag(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


def _wanted_name(replica: str, *, logs: bool) -> str:
    return f"{replica}.logs" if logs else replica


def _is_recent(asked: Path) -> bool:
    """Say whether files were asked for a short time ago: the node may be sending them."""
    try:
        return 0 <= time.time() - asked.stat().st_mtime < _AGAIN_S
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _unwritten(context: NodeContext, error: OSError) -> SchedulerError:
    return SchedulerError(
        f"node {context.node.name}: its mailbox cannot be written", got=str(error),
        hint=f"check that {context.spool} can be written and that the disk is not full",
    )  # fmt: skip


def _brought(context: NodeContext, replica: str, *, logs: bool) -> dict[str, str] | None:
    """Return which blobs are the files of a replica; None while the node has not sent them all."""
    path = context.spool / mailbox.BROUGHT / _wanted_name(replica, logs=logs)
    try:
        files = msgjson.decode(careful.read(path, _MAX_LIST), type=dict[str, str])
    except (OSError, DecodeError):
        return None
    for name, digest in files.items():
        if not safe_name(name) or not is_hex(digest, 64):
            raise UnsafeOutputError("a node sent a file under a name that leads elsewhere", got=repr(name[:80]))
    if all((context.spool / mailbox.BLOBS / digest).exists() for digest in files.values()):
        return files
    return None


def _place(context: NodeContext, replica: str, name: str, digest: str) -> None:
    """Put one file that was sent where the files of the replica are looked for: by a second name, not by a copy."""
    suffix = {"stdout": layout.LOG_SUFFIXES[0], "stderr": layout.LOG_SUFFIXES[1]}.get(name)
    folder = context.work / replica
    target = context.work / f"{replica}{suffix}" if suffix else folder / name
    own_folder(folder, below=base_of(context.work))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}")  # what was there may be of an earlier look
    partial.unlink(missing_ok=True)
    os.link(context.spool / mailbox.BLOBS / digest, partial)
    partial.replace(target)
    partial.unlink(missing_ok=True)  # rename does nothing between two names of one file
