"""What the kernel killed for want of memory in the cgroup of this process, as it counts it itself.

Where this process is in none that counts (the root of version 2, a kernel without them), what it killed on the whole
machine is looked at instead: then somebody else's process may always have been the victim.

A program whose child was killed may go on and end well, with less in its result than it should have: its exit code says
nothing of that, the kernel's count does. It counts processes by cgroup, not whose they were. So a rise is the fault of
a replica only where nobody else could have caused it; else nobody is accused, and what ran is not believed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.runner.processes import descendants
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Kills", "Rise", "judge", "locate"]

_MOST = 65_536  # bytes of a file of counts
_MACHINE = "/proc/vmstat"  # counts for the whole machine
_GROUPS = 1000  # that are looked into for strangers
_ENDLESS = 1 << 60  # bytes; cgroups without a limit have one like this


class Rise(NamedTuple):
    """What happened while one replica ran."""

    killed: int  # processes in the cgroup
    own: bool  # the command itself was ended by KILL, and not by us
    explained: int  # other replicas of which that can be said
    shared: bool  # other replicas ran, or other programs are in the cgroup
    limit_mib: int | None  # of the cgroup


def judge(rise: Rise) -> tuple[Outcome, str] | None:
    """Return what a replica must be called; None where the kernel had nothing against it. Pure."""
    if rise.killed <= 0:
        return None
    many = "a process" if rise.killed == 1 else f"{rise.killed} processes"
    where = "" if rise.limit_mib is None else f" (here is room for {rise.limit_mib} MiB)"
    if rise.own or not (rise.shared or rise.explained):
        return Outcome.MEMORY, f"out of memory{where}: the kernel killed {many} of it; ask for more ([resources] mem)"
    if rise.killed <= rise.explained:
        return None
    told = f"out of memory{where}: the kernel killed {many} while this ran beside others; whose is not known"
    return Outcome.NODE, told


class Kills:
    """The kernel's count for the cgroup that this process is in, or else for this machine."""

    def __init__(self, cgroups: str = "/proc/self/cgroup") -> None:
        """Find and open it; where there is none at all, nothing is ever counted."""
        self._folder, self._fd, self._v2 = "", -1, False
        with suppress(OSError):
            found = locate(_text(cgroups), _text("/proc/self/mountinfo"))
            if found is not None:
                self._folder, self._v2 = found
                name = "memory.events" if self._v2 else "memory.oom_control"
                self._fd = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self._everywhere = self._fd < 0
        if self._everywhere:
            with suppress(OSError):
                self._fd = os.open(_MACHINE, os.O_RDONLY | os.O_CLOEXEC)

    def count(self) -> int:
        """Return how many processes were killed so far."""
        if self._fd >= 0:
            with suppress(OSError, ValueError, IndexError):
                return int(os.pread(self._fd, _MOST, 0).partition(b"oom_kill ")[2].split(None, 1)[0])
        return 0

    def limit_mib(self) -> int | None:
        """Return how much memory the cgroup may have; None where there is none, or it has no limit of its own."""
        if self._everywhere:
            return None
        with suppress(OSError, ValueError):
            name = "memory.max" if self._v2 else "memory.limit_in_bytes"
            limit = int(_text(f"{self._folder}/{name}"))
            if limit < _ENDLESS:
                return limit >> 20
            return None
        return None

    def strangers(self, worker: int) -> bool:
        """Say whether processes are counted that neither come from a worker nor led to it."""
        if self._everywhere:
            return True
        ours = {worker, *descendants.find(worker), *descendants.ancestors(worker)}
        return any(pid not in ours and descendants.state(pid) not in {"", "Z", "X"} for pid in self._members())

    def _members(self) -> Iterator[int]:
        for number, (folder, _, _) in enumerate(os.walk(self._folder)):
            if number >= _GROUPS:
                return
            with suppress(OSError, ValueError):
                yield from map(int, _text(f"{folder}/cgroup.procs").split())


def locate(cgroups: str, mounts: str) -> tuple[str, bool] | None:
    """Return the folder of the cgroup that counts memory, and whether it is of version 2; None for none. Pure.

    The arguments are what the kernel says in /proc/PID/cgroup and in /proc/PID/mountinfo.
    """
    paths: dict[str, str] = {}  # "" is version 2
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    wanted = "memory" if "memory" in paths else ""
    if wanted not in paths:
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        fits = kind == "cgroup" and "memory" in options.split(",") if wanted else kind == "cgroup2"
        inside = _below(paths[wanted], _plain(root)) if fits else None
        if inside is not None:
            folder = inside if wanted else _of_job(inside)
            return f"{_plain(point)}{folder}", not wanted
    return None


def _below(path: str, root: str) -> str | None:
    """Return a path of a cgroup from where a mount begins; None when it does not lie below that."""
    if ".." in path.split("/"):
        return None
    if root == "/":
        return path.rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        return path[len(root) :]
    return None


def _of_job(path: str) -> str:
    """Return the cgroup of the Slurm job that a path lies in: there version 2 counts what is killed in any step."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if part.startswith("job_") and part[4:].isdecimal():
            return "/".join(parts[: number + 1])
    return path


def _plain(word: str) -> str:
    """Return a word of mountinfo without its escapes."""
    for code in ("040", "011", "012", "134"):
        word = word.replace(f"\\{code}", chr(int(code, 8)))
    return word


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode(errors="surrogateescape")
