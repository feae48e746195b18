"""Foreground daemons as children: started until ready, found again by another process, stopped with all that they left.

A daemon's pid stands in `run/<name>.pid` with its start time, so a pid that the system gave to somebody else is never
signalled. What a daemon says goes to `log/<name>.log`; when it dies early, the end of that file is in the error.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["ClusterError", "Daemon", "accepts", "clean_environment", "free_ports", "kill_all", "lives", "marked", "mounts_are_seen", "own_machine", "poll", "program"]


class ClusterError(Exception):
    """A real component is missing, or did not start; the tests cannot say anything then."""


def program(name: str) -> str:
    """Return the path of a program, also of those in sbin, or say what to install."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise ClusterError(f"{name} is missing: run tests/clusters/install.sh")
    return path


def free_ports(count: int) -> list[int]:
    """Return ports that nobody holds at any address, below those that the system gives to clients.

    Processes of one test run take from sets that have nothing in common; a random start keeps two runs apart.
    """
    found: list[int] = []
    mine, workers = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    with ExitStack() as held:
        for port in random.sample(range(11_000 + int(mine.removeprefix("gw")), 32_000, int(workers)), 2_000):
            if len(found) == count:
                return found
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind(("", port))
                found.append(port)
    raise ClusterError(f"no {count} free ports between 11000 and 32000")


def accepts(address: str | tuple[str, int]) -> bool:
    """Tell whether somebody listens at a unix socket or at a host and port."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect(address)
        except OSError:
            return False
    return True


def poll(what: str, ready: Callable[[], bool], *, timeout: float = 60, log: Callable[[], str] = str) -> None:
    """Wait until `ready()` is true; after `timeout` seconds say what was awaited, with the end of a log."""
    end = time.monotonic() + timeout
    pause = 0.01
    while not ready():
        if time.monotonic() > end:
            raise ClusterError(f"not after {timeout:g} s: {what}\n{log()}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def kill_all(processes: Iterable[psutil.Process], *, family: bool = True) -> None:
    """Kill processes, and what they started unless `family` is false; return when all of them are gone."""
    doomed: dict[int, psutil.Process] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            doomed |= {one.pid: one for one in [process, *(process.children(recursive=True) if family else ())]}
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all stand still first, so that none can report another's death
        for process in doomed.values():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    poll(f"{list(doomed)} are gone after SIGKILL", lambda: not any(map(lives, doomed.values())), timeout=120)


def marked(*words: str) -> list[psutil.Process]:
    """Return every process of ours whose environment has all these words, "NAME=value"."""
    wanted = {os.fsencode(word) for word in words}
    found = []
    for process in psutil.process_iter():
        # Not by psutil's environ(): it stops where a program wrote its title over the first variables.
        with suppress(OSError), open(f"/proc/{process.pid}/environ", "rb") as file:
            if wanted <= set(file.read().split(b"\0")):
                found.append(process)
    return found


def lives(process: psutil.Process) -> bool:
    """Tell whether a process does anything still; one that waits to be collected by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Daemon:
    """One program that stays in the foreground, and its place in a folder."""

    def __init__(self, folder: Path, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        """Describe the daemon; nothing starts. `env` is added to the environment."""
        self.name, self.argv, self.env = name, list(argv), dict(env or {})
        self.log_path, self._pid_path = folder / "log" / f"{name}.log", folder / "run" / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool], *, timeout: float = 60, outlive: bool = False) -> None:
        """Start it and return when `ready()` is true; it dies with this thread unless it may `outlive` the program."""
        if self.process() is not None:
            raise ClusterError(f"{self.name} runs already")
        argv = [program(self.argv[0]), *self.argv[1:]]
        if not outlive:
            argv = [program("setpriv"), "--pdeathsig", "KILL", *argv]  # a killed test run leaves nothing behind
        for path in (self.log_path, self._pid_path):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**clean_environment(), **self.env},
                cwd="/",
                start_new_session=True,
            )
        self._pid_path.write_text(f"{self._child.pid} {psutil.Process(self._child.pid).create_time()}\n")

        def up() -> bool:
            if self._child is not None and self._child.poll() is not None:
                raise ClusterError(f"{self.name} ended with {self._child.returncode}:\n{self.tail()}")
            return ready()

        try:
            poll(f"{self.name} is ready", up, timeout=timeout, log=self.tail)
        except BaseException:
            self.kill()
            raise

    def process(self) -> psutil.Process | None:
        """Return the running process, started by us or by another program on the same folder."""
        try:
            pid, created = self._pid_path.read_text().split()
            process = psutil.Process(int(pid))
            alive = process.create_time() == float(created) and lives(process)
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return process if alive else None

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end, and kill it when it does not; return when it is gone. Stopping twice is fine."""
        process = self.process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
                with suppress(ClusterError):
                    poll(f"{self.name} ends", lambda: not lives(process), timeout=timeout)
        self.kill()

    def kill(self) -> None:
        """Kill it at once, with the processes that it started."""
        process = self.process()
        if process is not None:
            kill_all([process])
        if self._child is not None:
            self._child.wait(20)
            self._child = None
        self._pid_path.unlink(missing_ok=True)

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"


def own_machine(folder: Path, name: str) -> list[str]:
    """Return what to start a program with so that it, and what it starts, takes itself for a machine of its own.

    All of ours run under one kernel: each gets another id of its boot, in a view of the file system of its own. Without
    the right to have one (only root has it) they are what they are, one machine.
    """
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return []
    file = folder / "run" / f"{name}.boot_id"
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(f"{uuid.uuid4()}\n")
    # A second /proc, of which nothing is covered: without one the kernel lets no container mount its own.
    whole = 'mkdir -p "$0.proc" && mount -t proc proc "$0.proc"'
    bind = f'{whole} && mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", bind, str(file)]


@contextmanager
def mounts_are_seen(folder: Path) -> Iterator[None]:
    """Let what is mounted below a folder be seen by programs that `own_machine` starts meanwhile."""
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode == 0
    if bound:
        subprocess.run(["mount", "--make-shared", folder], check=True)
    try:
        yield
    finally:
        if bound:
            subprocess.run(["umount", "--lazy", folder], check=True)


def clean_environment() -> dict[str, str]:
    """Return the environment without what steers Slurm's commands, and with words in English."""
    steers = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SRUN_", "SALLOC_", "LC_", "MYSQL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steers)}
    return {**kept, "LC_ALL": "C"}
