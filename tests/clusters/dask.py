"""A real Dask cluster on loopback: one scheduler, several worker processes, each host an address of its own.

Workers run without a nanny, so that each is one process that can be stopped, killed and started again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from clusters.daemons import Daemon, accepts, free_ports, own_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["DaskCluster", "separates"]

_QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
}


class DaskCluster:
    """A scheduler and its workers; `w1`, `w2` ... lie on 127.0.0.2, 127.0.0.3 ... unless they are told otherwise."""

    def __init__(self, folder: Path, *, python: str = sys.executable, tls: Mapping[str, str] | None = None) -> None:
        """Describe a cluster; nothing runs yet. `tls` are the options that scheduler and workers get for TLS."""
        self.folder, self.python, self._tls = folder, python, dict(tls or {})
        (folder / "log").mkdir(parents=True, exist_ok=True)
        (folder / "run").mkdir(exist_ok=True)
        (self.port,) = free_ports(1)
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.workers: dict[str, Daemon] = {}
        self._scheduler: Daemon | None = None
        self._started = 0
        self._machines: dict[str, list[str]] = {}  # what makes a worker one of a machine, by name

    @classmethod
    @contextmanager
    def start(cls, folder: Path, workers: int = 2, threads: int = 2, **more: object) -> Iterator[DaskCluster]:
        """Yield a running cluster; everything is stopped afterwards."""
        made = cls(folder, **more)  # type: ignore[arg-type]
        try:
            made.start_scheduler()
            for number in range(1, workers + 1):
                made.start_worker(f"w{number}", threads)
            yield made
        finally:
            made.stop()

    def start_scheduler(self) -> None:
        """Start the scheduler and wait until it listens."""
        argv = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        self._scheduler = self._daemon("scheduler", argv)
        self._scheduler.start(lambda: accepts(("127.0.0.1", self.port)))

    def start_worker(
        self,
        name: str,
        threads: int = 2,
        *,
        host: str = "",
        more: Sequence[str] = (),
        own: Path | None = None,
        wait: bool = True,
        machine: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Start a worker, and wait until the scheduler has it; what lies below `own` is seen by workers of its name alone.

        It takes itself for a machine of its own, or for that of all workers with this `machine`.
        """
        host = host or f"127.0.0.{1 + int(name.lstrip('w') or 1)}"
        (port,) = free_ports(1)  # so that what it says of itself can be waited for
        argv = [
            "worker", self.address, "--host", host, "--worker-port", str(port), "--name", name, "--nthreads", str(threads),
            "--memory-limit", "2GiB", "--no-dashboard", "--no-nanny", "--local-directory", str(self.folder / name), *more,
        ]  # fmt: skip
        self._started += 1
        before = ["env", *(f"{key}={value}" for key, value in (env or {}).items())]
        self._machines.setdefault(machine or name, own_machine(self.folder, machine or name))
        before += self._machines[machine or name]
        if own is not None:
            private = self.folder / f"{name}.own"
            for folder in (private, own):
                folder.mkdir(parents=True, exist_ok=True)
            before += ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(private), str(own)]
        daemon = self._daemon(f"{name}-{self._started}", argv, before)
        daemon.start(lambda: not wait or "Registered to" in self.log(daemon))
        self.workers[name] = daemon
        return daemon

    def process(self, name: str = "") -> psutil.Process:
        """Return the process of a worker, or of the scheduler."""
        daemon = self.workers[name] if name else self._scheduler
        assert daemon is not None
        found = daemon.process()
        assert found is not None
        return found

    def kill(self, name: str = "") -> None:
        """Kill a worker, or the scheduler, without a word."""
        self.signal(signal.SIGKILL, name)
        daemon = self.workers.pop(name) if name else self._scheduler
        assert daemon is not None
        daemon.stop()

    def signal(self, number: int, name: str = "") -> None:
        """Send a signal to a worker, or to the scheduler."""
        with suppress(psutil.NoSuchProcess):
            self.process(name).send_signal(number)

    def stop(self) -> None:
        """End everything."""
        for daemon in [*self.workers.values(), *([self._scheduler] if self._scheduler else [])]:
            with suppress(AssertionError, psutil.NoSuchProcess):
                found = daemon.process()
                if found is not None:
                    found.send_signal(signal.SIGCONT)
                    found.kill()
            daemon.stop()
        self.workers.clear()

    def log(self, daemon: Daemon) -> str:
        """Return what a daemon said."""
        return daemon.log_path.read_text(errors="replace") if daemon.log_path.exists() else ""

    def _daemon(self, name: str, argv: Sequence[str], before: Sequence[str] = ()) -> Daemon:
        options = [word for key, value in self._tls.items() for word in (f"--{key}", value)]
        env = {**_QUIET, "DASK_CLUSTER_OF_TESTS": str(self.folder), "DASK_TEMPORARY_DIRECTORY": str(self.folder)}
        return Daemon(self.folder, name, [*before, self.python, "-m", "dask", *argv, *options], env=env)


def separates() -> bool:
    """Say whether a process here may have a view of the file system of its own."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
