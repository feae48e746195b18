"""What a worker is doing, for whoever looks: `running.json` in the spool, written anew when it changes.

It is a notice and no record: nothing depends on it, it is not durable, and it goes with the worker. A reader is told
only what the worker says that holds the lock now.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.spool import layout
from nexapod_batch.spool.claims import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["RunningReplica", "StatusWriter", "WorkerStatus", "read", "take_sole_task"]

EVERY_S = 0.5  # between two writings, at least: short replicas come and go unseen
_SCHEMA = 1


class RunningReplica(NamedTuple):
    """What an executor has: one replica, or several short ones of a launch in a row."""

    replica: str  # the first of them
    together: int  # how many they are
    launch: str  # its key
    job: str  # its name
    task: str  # `<job uuid>/<index>` of the first one
    pid: int  # of the executor
    since: float  # seconds since 1970
    cpus: int
    mem_mib: int
    devices: tuple[str, ...]  # UUIDs of its GPUs
    suspended: str  # why it is; "" when it is not


class WorkerStatus(NamedTuple):
    """What a worker is doing."""

    replicas: tuple[RunningReplica, ...]
    pending: int  # replicas that were claimed and have not begun
    names: Mapping[str, str]  # what people call each GPU, by UUID
    paused: str  # why nothing may start; "" when it may
    closed: Mapping[str, str]  # GPUs on which nothing may start, by UUID, and why
    incarnation: str = ""  # of the worker; the writer adds this and what follows
    pid: int = 0
    since: float = 0.0  # when it began: seconds since 1970
    boot: str = ""  # the kernel's id of this boot; "" where there is none


class StatusWriter:
    """Writes the status of one incarnation of a worker."""

    def __init__(self, spool: Path, incarnation: str) -> None:
        """Remember where it is; nothing is written yet."""
        self._file = spool / layout.STATUS
        self._head = {"incarnation": incarnation, "pid": os.getpid(), "since": time.time(), "boot": boot_id()}
        self._written: WorkerStatus | None = None
        self._next = 0.0

    def show(self, look: Callable[[], WorkerStatus]) -> None:
        """Write what `look` finds, if it is time to and something else than before."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        status = look()
        if status == self._written:
            return
        rows = [replica._asdict() for replica in status.replicas]
        document = {"schema": _SCHEMA, **status._asdict(), **self._head, "replicas": rows}
        with suppress(OSError):  # nothing depends on it
            atomic.write(self._file, orjson.dumps(document), mode=0o600, durable=False)
            self._written = status

    def clear(self) -> None:
        """Take the notice away."""
        self._written = None
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def read(spool: Path, holder: str | None) -> WorkerStatus | None:
    """Return what the worker with incarnation `holder` is doing; None for no worker, or before it wrote anything."""
    status = _load(spool) if holder else None
    if status is not None and status.incarnation == holder:
        return status
    return None


def take_sole_task(spool: Path) -> str:
    """Return the task that a worker was at when it was killed in this boot, once; "" if there was not exactly one."""
    status = _load(spool)
    with suppress(OSError):
        (spool / layout.STATUS).unlink(missing_ok=True)
    if status is None or len(status.replicas) != 1 or status.boot != boot_id():
        return ""
    return status.replicas[0].task


def _load(spool: Path) -> WorkerStatus | None:
    """Return what the file says; None where there is none, or none that this version understands."""
    try:
        document: Any = careful.load(spool / layout.STATUS)
        if document["schema"] != _SCHEMA:
            return None
        return WorkerStatus(
            replicas=tuple([_replica(row) for row in document["replicas"]]),
            pending=int(document["pending"]),
            names=_texts(document["names"]),
            paused=str(document["paused"]),
            closed=_texts(document["closed"]),
            incarnation=str(document["incarnation"]),
            pid=int(document["pid"]),
            since=float(document["since"]),
            boot=str(document["boot"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _replica(row: Any) -> RunningReplica:  # noqa: ANN401 - straight from JSON
    return RunningReplica(
        replica=str(row["replica"]),
        together=int(row["together"]),
        launch=str(row["launch"]),
        job=str(row["job"]),
        task=str(row["task"]),
        pid=int(row["pid"]),
        since=float(row["since"]),
        cpus=int(row["cpus"]),
        mem_mib=int(row["mem_mib"]),
        devices=tuple(map(str, row["devices"])),
        suspended=str(row["suspended"]),
    )


def _texts(document: Any) -> dict[str, str]:  # noqa: ANN401 - straight from JSON
    return {str(key): str(value) for key, value in document.items()}
