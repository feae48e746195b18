"""`python -I -m nexapod_backends.dask.owner FOLDER`: own one Dask cluster until it is idle. See `started.py`.

The scheduler listens with TLS and credentials made for this one run: who can connect to a Dask scheduler can run
programs as its owner, and a machine may have other users.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from distributed import LocalCluster, Security

from nexapod_batch.files import atomic, careful

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOK_S = 1.0
#: So long nobody must have asked before a cluster that is no longer as wanted makes room for another, in seconds.
_QUIET_S = 5.0
#: Nothing but loopback may see the pages of scheduler and workers, and no dashboard is made: pages have no password.
_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


def main(folder: Path) -> int:
    """Start what is wanted, say where it is, and stay until nobody needs it."""
    lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another one was faster
        return 0
    os.umask(0o077)
    (folder / "scheduler.json").unlink(missing_ok=True)
    wanted = careful.load(folder / "wanted.json")
    dask.config.set({"temporary-directory": str(folder)})  # the scheduler's, too
    asyncio.run(_own(folder, wanted))
    return 0


async def _own(folder: Path, wanted: Mapping[str, Any]) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    security = Security.temporary()
    cluster = await (_slurm(folder, wanted, security) if "slurm" in wanted else _local(folder, wanted, security))
    try:
        said = {
            "address": cluster.scheduler_address,
            "pid": os.getpid(),
            "security": {
                "tls_ca_file": security.tls_ca_file,
                "tls_client_cert": security.tls_client_cert,
                "tls_client_key": security.tls_client_key,
            },
        }
        atomic.write(folder / "scheduler.json", json.dumps(said).encode(), mode=0o600)
        (folder / "used").touch(mode=0o600)  # it may have taken long to start
        while not stop.is_set() and not _idle(cluster, folder, wanted):
            if "slurm" in wanted:
                cluster.scale(jobs=wanted["workers"])  # those whose Slurm job is over come again
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_S)
            except TimeoutError:
                continue
    finally:
        (folder / "scheduler.json").unlink(missing_ok=True)
        await cluster.close()


def _idle(cluster: Any, folder: Path, wanted: Mapping[str, Any]) -> bool:  # noqa: ANN401 - LocalCluster or SLURMCluster
    """Say whether no task is left and nobody asked for long, or not for a moment and something else is wanted now."""
    if cluster.scheduler.tasks:
        return False
    try:
        quiet_s = time.time() - (folder / "used").stat().st_mtime
        same = careful.load(folder / "wanted.json") == wanted
    except (OSError, ValueError):  # the home is gone
        return True
    return quiet_s > (float(wanted["idle_s"]) if same else _QUIET_S)


def _local(folder: Path, wanted: Mapping[str, Any], security: Security) -> LocalCluster:
    return LocalCluster(
        n_workers=wanted["workers"], threads_per_worker=wanted["threads"], processes=True, host="127.0.0.1",
        protocol="tls://", security=security, asynchronous=True, resources=wanted["gpus"],
        scheduler_kwargs=_PAGES, worker_dashboard_address="127.0.0.1:0",
        memory_limit=wanted["mem_mib"] * 2**20, local_directory=str(folder),
    )  # fmt: skip


def _slurm(folder: Path, wanted: Mapping[str, Any], security: Security) -> Any:  # noqa: ANN401 - half typed
    from dask_jobqueue import SLURMCluster  # noqa: PLC0415

    slurm = wanted["slurm"]
    if slurm["bin"]:
        os.environ["PATH"] = f"{slurm['bin']}:{os.environ.get('PATH', os.defpath)}"
    if slurm["conf"]:
        os.environ["SLURM_CONF"] = slurm["conf"]
    for name in [one for one in os.environ if one.startswith(("SBATCH_", "SLURM_")) and one != "SLURM_CONF"]:
        del os.environ[name]
    seconds = int(slurm["time_s"])
    cluster = SLURMCluster(
        queue=slurm["partition"], account=slurm["account"], cores=wanted["threads"], processes=1,
        memory=f"{wanted['mem_mib']}MiB", walltime=f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        job_extra_directives=slurm["extra"], job_directives_skip=slurm["skip"], job_script_prologue=slurm["prologue"],
        python=wanted["python"], protocol="tls://", security=security, shared_temp_directory=str(folder),
        local_directory=str(folder), log_directory=str(folder), asynchronous=True,
        scheduler_options=_PAGES,
        worker_extra_args=[f"--resources={name}={count}" for name, count in wanted["gpus"].items()],
    )  # fmt: skip
    cluster.scale(jobs=wanted["workers"])
    return cluster


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
