"""`python -I -m nexapod_backends.dask.managed.owner FOLDER`: own one Dask cluster until nobody needs it; see `cluster`.

The scheduler listens with TLS and credentials made for this one run: who can connect to a Dask scheduler can run
programs as its owner, and a machine may have other users. Workers are started as there is work for them, and never more
than the site allows. While work waits and workers are on their way, nothing is given up.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from nexapod_backends.dask.managed.crew import Crew
from nexapod_backends.dask.managed.worker_processes import Hands, Processes, SlurmJobs, StartError
from nexapod_backends.dask.scheduler.clean_config import unconfigured
from nexapod_batch.files import atomic, careful

with unconfigured():
    import dask
    from distributed import Scheduler, Security
    from distributed.core import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOK_S = 1.0
_ASK_S = 3.0  # between two questions to Slurm
#: So long nobody must have asked before a cluster that is no longer as wanted makes room for another, in seconds.
_QUIET_S = 5.0
#: So long workers that have nothing to do wait for somebody who hands out the work that waits, at least.
_UNATTENDED_S = 3_600.0
_CHECK_S = 600.0  # for so long a check of the site wants workers
_OPEN = frozenset({"waiting", "processing", "queued", "no-worker"})  # Dask's words for tasks that are not over


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
    dask.config.set({"temporary-directory": str(folder)})
    asyncio.run(_own(folder, wanted))
    return 0


async def _own(folder: Path, wanted: Mapping[str, Any]) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    tls = _credentials(folder)
    security = Security(
        require_encryption=True, tls_ca_file=tls["ca-file"],
        **{f"tls_{role}_{part}": tls[part] for role in ("scheduler", "worker", "client") for part in ("cert", "key")},
    )  # fmt: skip
    host = None if "slurm" in wanted else "127.0.0.1"
    # no dashboard is made: pages have no password; and its only port for pages is seen by loopback alone
    async with Scheduler(
        protocol="tls://", host=host, port=0, security=security, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        kind = SlurmJobs if "slurm" in wanted else Processes
        owned = Owned(folder, wanted, scheduler, kind(folder, scheduler.address, wanted, tls))
        await owned.end_old()
        try:
            said = {
                "address": scheduler.address,
                "pid": os.getpid(),
                "security": {
                    "tls_ca_file": tls["ca-file"], "tls_client_cert": tls["cert"], "tls_client_key": tls["key"],
                },
            }  # fmt: skip
            atomic.write(folder / "scheduler.json", json.dumps(said).encode(), mode=0o600)
            (folder / "used").touch(mode=0o600)  # it may have taken long to start
            while not stop.is_set() and scheduler.status == Status.running and not owned.idle():
                await owned.look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_S)
        finally:
            (folder / "scheduler.json").unlink(missing_ok=True)
            await owned.end()


def _credentials(folder: Path) -> dict[str, str]:
    """Make a certificate for this run alone; return its files as the options of a worker name them."""
    made = Security.temporary()
    texts = {"ca-file": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        atomic.write(folder / f"tls-{name}.pem", str(text).encode(), mode=0o600)
    return {name: str(folder / f"tls-{name}.pem") for name in texts}


class Owned:
    """A running cluster."""

    def __init__(self, folder: Path, wanted: Mapping[str, Any], scheduler: Scheduler, hands: Hands) -> None:
        """Start no worker yet."""
        self._folder, self._wanted, self._scheduler, self._hands = folder, wanted, scheduler, hands
        self._crew = Crew()
        self._asked = -_ASK_S
        self._told = b""

    async def end_old(self) -> None:
        """End workers of an owner before us that could not do so; they would look for its scheduler."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = careful.load(self._folder / "workers.json")
            if said["kind"] == "slurm" and "slurm" in self._wanted:
                await self._hands.end([str(worker["id"]) for worker in said["workers"]])
        self._tell()

    async def look(self) -> None:
        """See what became of workers, start those that are missing, call off those that nobody needs any more."""
        now, crew = time.monotonic(), self._crew
        registered = {str(worker.name) for worker in self._scheduler.workers.values()}
        states = {}
        if now - self._asked >= _ASK_S:
            self._asked = now
            states = await self._hands.states({worker.name: worker.id for worker in crew.workers.values()})
        for name in crew.see(now, registered, states):
            print(f"worker {name} ended before it came: {crew.trouble}", file=sys.stderr, flush=True)  # noqa: T201
        wanted = self._demand()
        if surplus := crew.surplus(now, wanted):
            await self._hands.end([one.id for one in surplus])
        for _ in range(crew.missing(now, wanted)):
            name = crew.next_name()
            try:
                crew.add(now, name, await self._hands.start(name))
            except StartError as error:
                crew.fail(now, str(error))
                print(crew.trouble, file=sys.stderr, flush=True)  # noqa: T201
                break
        self._tell()

    def idle(self) -> bool:
        """Say whether nothing is to be done, nobody is on the way, and nobody asked for long."""
        if any(task.state in _OPEN for task in self._scheduler.tasks.values()):
            return False
        try:
            quiet_s = time.time() - (self._folder / "used").stat().st_mtime
            same = careful.load(self._folder / "wanted.json") == self._wanted
        except (OSError, ValueError):  # the home is gone
            return True
        if not self._waiting():  # what has a worker is a task
            return quiet_s > (float(self._wanted["idle_s"]) if same else _QUIET_S)
        if self._crew.given_up:
            return quiet_s > float(self._wanted["idle_s"])
        if self._crew.coming or not self._crew.workers:
            return False
        met_s = time.monotonic() - max(worker.met for worker in self._crew.workers.values())
        return min(quiet_s, met_s) > max(_UNATTENDED_S, float(self._wanted["idle_s"]))

    async def end(self) -> None:
        """End all workers."""
        await self._hands.end([worker.id for worker in self._crew.workers.values()])
        self._crew.workers.clear()
        self._tell()

    def _demand(self) -> int:
        """Return for how many workers there is work, as the nodes said it."""
        return min(self._said("workers"), int(self._wanted["workers"]))

    def _waiting(self) -> int:
        """Return how much work waits for a worker."""
        return self._said("waiting")

    def _said(self, what: str) -> int:
        found = 0
        for file in (self._folder / "demand").glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if file.name != "check.json" or time.time() - file.stat().st_mtime < _CHECK_S:
                    found += int(careful.load(file)[what])
        return found

    def _tell(self) -> None:
        """Say of each worker what is known, for those who wait and for an owner after us."""
        crew = self._crew
        said = {
            "kind": "slurm" if "slurm" in self._wanted else "local", "given_up": crew.given_up, "trouble": crew.trouble,
            "failures": crew.failures,
            "workers": [asdict(worker) for worker in crew.workers.values()],
            "left": crew.left,
        }  # fmt: skip
        text = json.dumps(said).encode()
        if text != self._told:
            with suppress(OSError):  # the home is gone: the next look ends us
                atomic.write(self._folder / "workers.json", text, mode=0o600, durable=False)
                self._told = text


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
