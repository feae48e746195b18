"""What an owner's wishes depend on beside clock and GPUs: power, programs, memory, disk, and whether somebody types.

Looks at /proc, /sys and /dev alone, needs no rights and no desktop, and is quick: the worker looks every two seconds.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nexapod_batch.runner.gpu.foreign_use import is_ours
from nexapod_batch.runner.owner.rules import Machine
from nexapod_batch.runner.owner.sessions import desktop_idle_s
from nexapod_batch.runner.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Collection

    from nexapod_batch.spool.owner_settings import OwnerSettings

__all__ = ["idle_s", "look", "matters", "on_battery", "running_programs"]

_POWER = Path("/sys/class/power_supply")
_TERMINALS = ("/dev/pts", "/dev")
_COMM = 15  # characters of a program's name that the kernel keeps
_MOST_BYTES = 4096  # of a command line that are looked at
_MIB = 1 << 20


def matters(wishes: OwnerSettings) -> bool:
    """Say whether any wish depends on the machine."""
    wants_power = wishes.on_battery == "pause"
    return bool(wants_power or wishes.pause_while or wishes.idle_for or wishes.free_mem or wishes.free_disk)


def look(wishes: OwnerSettings, work: str) -> Machine:
    """Look at what the wishes depend on, and at nothing else; `work` is the folder whose disk commands fill."""
    return Machine(
        on_battery=wishes.on_battery == "pause" and on_battery(),
        programs=running_programs(wishes.pause_while) if wishes.pause_while else (),
        idle_s=idle_s() if wishes.idle_for else None,
        free_mem_mib=_free_mem_mib() if wishes.free_mem else None,
        free_disk_mib=_free_disk_mib(work) if wishes.free_disk else None,
    )


def on_battery() -> bool:
    """Say whether a battery of the machine is what feeds it; a machine without one, or with mains power, is not."""
    discharging = False
    for supply in _folders(_POWER):
        kind = _word(supply / "type")
        if _word(supply / "scope") == "Device":  # of a mouse, or a headset
            continue
        if kind == "Battery":
            discharging = discharging or _word(supply / "status") == "Discharging"
        elif kind not in {"", "UPS"} and _word(supply / "online") not in {"", "0"}:
            return False
    return discharging


def running_programs(names: Collection[str]) -> tuple[str, ...]:
    """Return which of the named programs run, in that order; what a replica runs does not count, nor a dead process."""
    found: set[str] = set()
    for process in _folders(Path("/proc")):
        if not process.name.isdigit():
            continue
        called = _names_of(process)
        matching = {name for name in names if name in called or _shortened(name) in called}
        new = matching - found
        if new and not is_ours(frozenset(), int(process.name)) and not _below_worker(int(process.name)):
            found |= new
    return tuple(name for name in names if name in found)


def _names_of(process: Path) -> set[str]:
    """Return what a process is called: its file, what it calls itself; a script by its own name."""
    try:
        with open(process / "cmdline", "rb") as file:
            command = file.read(_MOST_BYTES)
        comm = (process / "comm").read_bytes().rstrip(b"\n")
    except OSError:
        return set()
    if not command:  # of the kernel, or dead
        return set()
    words = [word.replace(b"\\", b"/").rpartition(b"/")[2] for word in command.split(b"\0")[:2]]  # Windows has others
    whole = next((word for word in words if word.startswith(comm)), comm)  # the kernel keeps the beginning alone
    return {name.decode("utf-8", "surrogateescape") for name in (words[0], whole) if name}


def _shortened(name: str) -> str:
    """Return a long name as the kernel keeps it; what is not cut is itself."""
    return os.fsencode(name)[:_COMM].decode("utf-8", "surrogateescape")


def _below_worker(pid: int) -> bool:
    """Say whether a process runs below this one, if this is a worker: an executor before its command begins."""
    return pid == os.getpid() or pid in descendants.find(os.getpid())


def idle_s() -> float | None:
    """Return the seconds since somebody typed at a terminal or used a desktop; None where there is none of both.

    The kernel notes what terminals read, to within eight seconds; desktops tell logind.
    """
    ages = [time.time() - when for folder in _TERMINALS for when in _reads(folder)]
    if (idle := desktop_idle_s()) is not None:
        ages.append(idle)
    if ages:
        return max(0.0, min(ages))
    return None


def _reads(folder: str) -> list[float]:
    """Return when terminals of a folder were read last."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            number = entry.name.removeprefix("tty") if folder == "/dev" else entry.name
            with suppress(OSError):
                if number.isdigit():
                    found.append(entry.stat(follow_symlinks=False).st_atime)
    return found


def _free_mem_mib() -> int | None:
    """Return how much memory programs could still have without swapping."""
    with suppress(OSError, ValueError, IndexError), open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) // 1024
    return None


def _free_disk_mib(folder: str) -> int | None:
    """Return what this account may still write where a folder lies."""
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize // _MIB
    return None


def _folders(parent: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(parent.iterdir())
    return []


def _word(file: Path) -> str:
    with suppress(OSError):
        return file.read_text("ascii", "replace").strip()
    return ""
