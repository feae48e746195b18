"""What the nodes of this machine do, for whom, on what and at which cost. Nothing is written, no worker is asked.

A worker's own notice says what it runs; the kernel says what that costs, the GPUs' driver what it costs there; the
database, which is only read, says whose job it is.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import ConfigError, NexapodError, UsageError
from nexapod_batch.local_nodes import owner_policy
from nexapod_batch.runner.processes import descendants
from nexapod_batch.spool import layout, owner_settings, status_file
from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.hardware.devices import Devices
    from nexapod_batch.hardware.usage import Process
    from nexapod_batch.local_nodes.owner_policy import Owned
    from nexapod_batch.spool.status_file import RunningReplica, WorkerStatus
    from nexapod_batch.store import Store

__all__ = ["Document", "of_node", "running", "status"]

Document = dict[str, Any]
#: What is shown of a running replica as its worker tells it.
_SHOWN = ("replica", "job", "since", "cpus", "mem_mib", "devices", "suspended")
_TICKS = os.sysconf("SC_CLK_TCK")


def status(paths: Paths, name: str | None = None) -> list[Document]:
    """Return the state of one node, or of all that are this machine's; NotFoundError for an unknown one."""
    found = [owner_policy.find(paths, name)] if name is not None else _all(paths)
    store = _store(paths)
    try:
        return [_node(one, store) for one in found]
    finally:
        if store is not None:
            store.close()


def of_node(owned: Owned) -> Document:
    """Return the state of one node, without looking into a database."""
    return _node(owned, None)


def running(spool: Path) -> WorkerStatus | None:
    """Return what the worker that lives is doing; None without a worker, or before it wrote anything."""
    return status_file.read(spool, live_incarnation(spool))


def _all(paths: Paths) -> list[Owned]:
    """Return every node of this machine; those that run elsewhere are passed over."""
    found = []
    for name in sorted(owner_policy.spools(paths)):
        with suppress(UsageError):
            found.append(owner_policy.find(paths, name))
    return found


def _store(paths: Paths) -> Store | None:
    """Open the database to read; None where there is none, or none that can be read: the rest is told all the same."""
    from nexapod_batch.store import Store  # noqa: PLC0415 - who looks at limits needs no database

    with suppress(NexapodError):
        return Store.open(paths.state_db, write=False) if paths.has_database() else None
    return None


def _node(owned: Owned, store: Store | None) -> Document:
    worker = running(owned.spool)
    row = None if store is None else next((node for node in store.nodes.all() if node.name == owned.name), None)
    paused, until = owner_policy.paused(owned.spool)
    problem, limits = "", {}
    try:
        limits = owner_policy.limits_of(owner_settings.load(owned.spool))
        limits = {**{key: str(owned.settings[key]) for key in ("nice", "io") if key in owned.settings}, **limits}
    except ConfigError as error:
        problem = str(error)
    cpus, mem_mib = owner_policy.given(owned)
    document: Document = {
        "name": owned.name,
        "host": owned.settings["host"],
        "drained": row is not None and not row.active,
        "paused": paused,
        "until": until,
        "problem": problem,
        "limits": limits,
        "cpus": cpus,
        "mem_mib": mem_mib,
        "has": {"cpus": owned.settings["cpus"], "mem_mib": owned.settings["mem_mib"]},
        **_work(owned, worker),
    }
    document["replicas"] = [_replica(replica, store) for replica in (worker.replicas if worker else ())]
    _on_gpus(document["replicas"])
    return {**document, "idle": _why_idle(document)}


def _left(owned: Owned) -> list[Document]:
    """Return the processes of commands whose worker was killed, with what the kernel says that they do (T: stopped)."""
    if live_incarnation(owned.spool) is not None:  # it comes up, and ends them
        return []
    found = descendants.find_strays(str(owned.settings["work"]))
    return [{"pid": pid, "state": descendants.state(pid)} for pid in found]


def _replica(row: RunningReplica, store: Store | None) -> Document:
    """Return what one replica, or several short ones in a row, are and cost."""
    pids = descendants.find(row.pid)
    job_id = int(row.replica.partition("_")[0])
    job = None if store is None else store.jobs.find(job_id)
    return {
        **{key: getattr(row, key) for key in _SHOWN},
        "count": row.together,
        "user": None if job is None else job.user,
        "pids": pids,
        "seconds": max(0.0, time.time() - row.since),
        "cpu_s": _cpu_s(pids),
        "rss_kib": descendants.resident_kib(pids),
        "gpu_mem_mib": None,
        "gpu_busy": None,
    }


def _work(owned: Owned, worker: WorkerStatus | None) -> Document:
    """Return who works on a node, or what its last worker left, and what waits for it."""
    waiting = _waiting(owned.spool)
    if worker is None:
        closed = owner_policy.closed_gpus(owned.spool, {})
        return {
            "worker": None, "left": _left(owned), "closed": closed, "gpus": {}, "waiting": waiting, "claimed": 0,
        }  # fmt: skip
    return {
        "worker": {"pid": worker.pid, "since": worker.since},
        "left": [],
        "closed": owner_policy.closed_gpus(owned.spool, worker.closed),
        "gpus": worker.names,
        "waiting": waiting,
        "claimed": worker.pending,
    }


def _processes(devices: Devices, vendors: Mapping[str, str], row: Document) -> list[Process]:
    """Return the processes of a replica that its GPUs know of; a GPU that does not answer knows none."""
    found = []
    for uuid in row["devices"]:
        with suppress(NexapodError):
            used = devices.usage(uuid, vendors.get(uuid, "nvidia"))
            found += [process for process in used.processes or () if process.pid in row["pids"]]
    return found


def _on_gpus(rows: Sequence[Document]) -> None:
    """Add what replicas use of their GPUs, as far as the driver tells it."""
    if not any(row["devices"] for row in rows):
        return
    from nexapod_batch.hardware.devices import Devices  # noqa: PLC0415 - 30 ms that only a node with GPUs needs

    devices = Devices()
    try:
        vendors = {gpu.uuid: gpu.vendor for gpu in devices.gpus()}
        for row in rows:
            found = _processes(devices, vendors, row)
            row["gpu_mem_mib"] = _sum(one.memory_mib for one in found)
            row["gpu_busy"] = _sum(one.busy for one in found)
    finally:
        devices.close()


def _sum(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def _cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time of processes that live, and of those that they had and that ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
            ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    return ticks / _TICKS


def _waiting(spool: Path) -> int:
    """Return how many launches nobody has claimed yet."""
    with suppress(OSError):
        claimed = {"", *os.listdir(spool / layout.CLAIMS)}
        return sum(layout.launch_of_bundle(name) not in claimed for name in os.listdir(spool / layout.INBOX))
    return 0


def _why_idle(document: Document) -> str:
    """Say why nothing runs; "" when something does."""
    if any(not row["suspended"] for row in document["replicas"]):
        return ""
    if document["paused"]:
        return f"its owner: {document['name']} {document['paused']}"
    if document["replicas"]:
        return "what it has is suspended"
    if document["waiting"] or document["claimed"]:
        told = "no worker runs: the next pass starts one (nexapod-batch reconcile)"
        return "what came is about to start" if document["worker"] else told
    return "it is drained: nexapod-batch node resume " + document["name"] if document["drained"] else "no job wants it"
