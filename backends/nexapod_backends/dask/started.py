"""A cluster that is ours to start: a process of its own session owns it, and ends it when it is idle.

In `<home>/sites/<site>/dask/cluster/` lie `wanted.json` (what to start), `owner.lock` (held while the owner lives),
`scheduler.json` (where its scheduler is, and the TLS credentials made for this one run; mode 0600), `used` (touched
whenever somebody asks), and `owner.log`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch import interpreter
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import open_log, own_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_batch.model.site import Dask, Site
    from nexapod_batch.plugins import NodeContext

__all__ = ["folder_of", "running", "started", "stop"]

_PATIENCE_S = 60.0  # until a new cluster says where it is


def folder_of(context: NodeContext) -> Path:
    """Return where the files of a site's own cluster lie."""
    return context.state / "dask" / "cluster"


def started(context: NodeContext, dask: Dask) -> tuple[str, Mapping[str, str]]:
    """Return address and TLS names of the site's own cluster, which is started where it does not run."""
    folder = folder_of(context)
    own_folder(folder, below=context.state.parent)
    (folder / "used").touch(mode=0o600)
    atomic.write(folder / "wanted.json", json.dumps(_wanted(context, dask)).encode(), mode=0o600, durable=False)
    end = time.monotonic() + _PATIENCE_S
    owner: subprocess.Popen[bytes] | None = None
    while True:
        if (found := running(folder)) is not None:
            return found
        if owner is None or owner.poll() is not None:
            if owner is not None and owner.returncode != 0:
                raise _failed(context, f"its owner ended with {owner.returncode}", folder)
            owner = _start(folder)
        if time.monotonic() > end:
            raise _failed(context, f"it did not come up within {_PATIENCE_S:.0f} s", folder)
        time.sleep(0.05)


def running(folder: Path) -> tuple[str, Mapping[str, str]] | None:
    """Return address and TLS names of a cluster whose owner lives; None when none is ready."""
    try:
        with (folder / "owner.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = careful.load(folder / "scheduler.json")
            return str(said["address"]), dict(said["security"])
    except FileNotFoundError:
        pass
    return None


def stop(folder: Path) -> None:
    """Let the owner of a cluster end it, if one lives; what runs there is lost."""
    if running(folder) is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            os.kill(int(careful.load(folder / "scheduler.json")["pid"]), signal.SIGTERM)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    with os.fdopen(open_log(folder / "owner.log"), "ab") as log:
        return subprocess.Popen(
            interpreter.module("nexapod_backends.dask.owner", str(folder)),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=interpreter.FOLDER, start_new_session=True,
        )  # fmt: skip


def _failed(context: NodeContext, why: str, folder: Path) -> SchedulerError:
    lines = careful.tail(folder / "owner.log", 4000).decode("utf-8", "replace").strip().splitlines()
    name = context.site.name if context.site else context.node.site
    return SchedulerError(
        f"site {name}: its Dask cluster cannot be started: {why}", got=lines[-1].strip() if lines else "no word",
        hint=f"see {folder}/owner.log",
    )  # fmt: skip


def _wanted(context: NodeContext, dask: Dask) -> dict[str, Any]:
    """Return what the owner is to start."""
    site = context.its_site
    partition = site.partitions[0]
    wanted: dict[str, Any] = {
        "workers": dask.workers, "threads": dask.threads, "idle_s": dask.idle_s, "mem_mib": partition.max_mem_mib,
        "gpus": {dask.gpu_resource: partition.gpus} if partition.gpus else {},
        "python": shlex.join(interpreter.words(site.runner.python)),
    }  # fmt: skip
    if dask.cluster == "jobqueue":
        if context.on is None or context.on.scheduler.type != "slurm":
            raise ConfigError(f"site {site.name}: dask.on is no Slurm site", got=dask.on, wanted="a site of type slurm")
        wanted["slurm"] = _slurm(context.on, partition.name)
    return wanted


def _slurm(on: Site, name: str) -> dict[str, Any]:
    """Return the words of a Slurm site for dask-jobqueue: its partition of this name, else its first one."""
    if on.scheduler.transport != "local":
        raise ConfigError(f"site {on.name} is reached over SSH: Dask workers cannot be started there from here")
    partition = next((one for one in on.partitions if one.name == name), on.partitions[0])
    scheduler, environment = on.scheduler, on.environment
    skip = [f"--{one}" for one in scheduler.skip_directives]
    if scheduler.memory != "per-node":
        skip.append("--mem")
    extra = list(scheduler.extra_directives)
    if scheduler.qos:
        extra.append(f"--qos={scheduler.qos}")
    if scheduler.cluster:
        extra.append(f"--clusters={scheduler.cluster}")
    exports = [f"export {key}={_quoted(value)}" for key, value in environment.env.items()]
    return {
        "partition": partition.name, "account": scheduler.account, "bin": scheduler.bin, "conf": scheduler.conf,
        "time_s": min(partition.max_time_s or on.limits.pack.time_s, max(on.limits.pack.time_s, 600)),
        "extra": extra, "skip": skip,
        "prologue": [*(f"module load {one}" for one in environment.modules), *exports, *environment.setup],
    }  # fmt: skip


def _quoted(value: str) -> str:
    return shlex.quote(value)
