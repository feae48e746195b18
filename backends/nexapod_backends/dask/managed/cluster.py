"""A cluster that is ours to start: a process of its own session owns it, and ends it when it is idle.

In `<home>/sites/<site>/dask/cluster/` lie `wanted.json` (what to start), `owner.lock` (held while the owner lives),
`scheduler.json` (where its scheduler is, and the TLS credentials made for this one run; mode 0600), `used` (touched
whenever somebody asks), `demand/` (for how many workers each node has work), `workers.json` (what became of workers),
and `owner.log`.
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

from nexapod_backends.dask.site_table import worker_time_s
from nexapod_batch import interpreter
from nexapod_batch.errors import ConfigError, SchedulerError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import open_log, own_folder
from nexapod_batch.plugins.modules import module_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_backends.dask.site_table import Dask
    from nexapod_batch.model.site import Site
    from nexapod_batch.plugins import NodeContext

__all__ = ["coming", "demand", "folder_of", "gone", "running", "started", "stop", "trouble"]

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
            if owner is None or dask.cluster != "local" or _complete(folder) or time.monotonic() > end:
                return found
            time.sleep(0.05)
            continue
        if owner is None or owner.poll() is not None:
            _check_end(owner, context, folder)
            owner = _start(folder)
        if time.monotonic() > end:
            raise _failed(context, f"it did not come up within {_PATIENCE_S:.0f} s", folder)
        time.sleep(0.05)


def _check_end(owner: subprocess.Popen[bytes] | None, context: NodeContext, folder: Path) -> None:
    """Raise SchedulerError for an owner that failed; one that ended well, or none, is followed by another."""
    if owner is not None and owner.returncode != 0:
        raise _failed(context, f"its owner ended with {owner.returncode}", folder)


def _complete(folder: Path) -> bool:
    """Say whether processes of this machine, which take a moment, are all there, or none is to come."""
    said = _said(folder)
    if said.get("trouble"):
        return True
    wanted = any((folder / "demand").glob("*.json"))
    return not wanted or (bool(said.get("workers")) and all(worker["met"] for worker in said["workers"]))


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


def demand(folder: Path, who: str, workers: int, *, waiting: int = 0) -> None:
    """Say for how many workers somebody has work, how much of it waits for one, and that he is there."""
    file, said = folder / "demand" / f"{who}.json", {"workers": workers, "waiting": waiting}
    try:
        same = careful.load(file) == said
    except FileNotFoundError:
        same = not workers
    except (OSError, ValueError):
        same = False
    if not same:
        own_folder(file.parent, below=folder)
        atomic.write(file, json.dumps(said).encode(), mode=0o600, durable=False)
    with suppress(FileNotFoundError):
        os.utime(folder / "used")


def coming(folder: Path) -> str:
    """Say in words what is known of the workers that are not there yet."""
    said = _said(folder)
    waiting = [worker for worker in said.get("workers", ()) if not worker["met"]]
    if said.get("kind") != "slurm":
        shown = "they are starting" if waiting else ""
    else:
        some = [f"{one['id']} {one['words']}".strip() for one in waiting[:3]]
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        shown = f"Slurm job{'s' * (len(waiting) != 1)} {', '.join(some)}{more}" if waiting else ""
    return "; ".join(one for one in (shown, trouble(folder)) if one)


def trouble(folder: Path) -> str:
    """Say why workers end before they come, and whether more are started; "" while all is well."""
    said = _said(folder)
    if not said.get("trouble"):
        return ""
    how = "given up for half an hour" if said["given_up"] else "tried again"
    who = "1 worker ended before it" if said["failures"] == 1 else f"{said['failures']} workers ended before they"
    return f"{who} came, {how}: {said['trouble']}"


def gone(folder: Path, name: str) -> str:
    """Say why a worker that was there ended, "" where nobody knows."""
    return str(_said(folder).get("left", {}).get(name, ""))


def _said(folder: Path) -> dict[str, Any]:
    """Return what the owner says of workers; nothing while none lives."""
    with suppress(OSError, ValueError):
        said = careful.load(folder / "workers.json")
        if isinstance(said, dict):
            return said
        return {}
    return {}


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    with os.fdopen(open_log(folder / "owner.log"), "ab") as log:
        return subprocess.Popen(
            interpreter.module("nexapod_backends.dask.managed.owner", str(folder)), env=environ,
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
        "python": shlex.join(interpreter.start_words(site.runner.python)),
    }  # fmt: skip
    if dask.cluster == "jobqueue":
        if context.on is None or context.on.scheduler.type != "slurm":
            raise ConfigError(f"site {site.name}: dask.on is no Slurm site", got=dask.on, wanted="a site of type slurm")
        wanted["slurm"] = slurm_words(context.on, partition.name)
    return wanted


def slurm_words(on: Site, name: str) -> dict[str, Any]:
    """Return the words of a Slurm site for dask-jobqueue: its partition of this name, else its first one.

    Raises:
        ConfigError: The Slurm site is reached over SSH.

    """
    if on.scheduler.transport != "local":
        raise ConfigError(f"site {on.name} is reached over SSH: Dask workers cannot be started there from here")
    partition = next((partition for partition in on.partitions if partition.name == name), on.partitions[0])
    scheduler, environment = on.scheduler, on.environment
    skip = [f"--{skip_directive}" for skip_directive in scheduler.skip_directives]
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
        "time_s": worker_time_s(on, name),
        "extra": extra, "skip": skip,
        "prologue": [*module_lines(on.name, environment.modules), *exports, *environment.setup],
    }  # fmt: skip


def _quoted(value: str) -> str:
    return shlex.quote(value)
