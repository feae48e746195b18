"""Every process below one: found through /proc, signalled, measured.

The runner is a subreaper, so that a process whose parent ended becomes the runner's child: whoever called setsid or
forked twice is found here all the same.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

__all__ = ["become_subreaper", "die_with_parent", "find", "find_strays", "resident_kib", "signal_all", "state"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(sign: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent process ends."""
    _prctl(_PR_SET_PDEATHSIG, sign)


def find(pid: int, spare: frozenset[int] = frozenset()) -> list[int]:
    """Return the ids of all processes below `pid`; those in `spare` and what is below them are left out."""
    found: list[int] = []
    seen = {pid, *spare}
    todo = [pid]
    table: dict[int, list[int]] | None = None
    while todo:
        parent = todo.pop()
        children = _children(parent) if table is None else table.get(parent, [])
        if children is None:  # a kernel without CONFIG_PROC_CHILDREN
            table = _process_table()
            children = table.get(parent, [])
        for child in children:
            if child not in seen:
                seen.add(child)
                found.append(child)
                todo.append(child)
    return found


def find_strays(work: str) -> list[int]:
    """Return the processes that run in the environment of a replica of this work folder, whoever their parent is."""
    marks = [f"{name}={work}/".encode() for name in ("HOME", "TMPDIR", "PWD")]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if any(entry.startswith(mark) for entry in file.read().split(b"\0") for mark in marks):
                    found.append(int(name))
    return found


def signal_all(pids: list[int], sign: signal.Signals) -> None:
    """Send a signal to each; those that ended meanwhile are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sign)


def state(pid: int) -> str:
    """Return the kernel's letter for what a process does (R runs, S sleeps, T is stopped, Z has ended); "" for none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""


def resident_kib(pids: list[int]) -> int:
    """Return the sum of the resident memory of these processes in KiB; pages that they share count for each."""
    total = 0
    for pid in pids:
        with suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/statm", "rb") as file:
            total += int(file.read().split()[1]) * _PAGE_KIB
    return total


def _children(pid: int) -> list[int] | None:
    """Return the children of all threads of `pid`; None where the kernel does not list them."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{task}"):
                return None
        except OSError:
            continue
    return found


def _process_table() -> dict[int, list[int]]:
    """Return parent -> children of every process that can be seen."""
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                # the command's name may hold blanks and brackets: the fields start after the last ")"
                table.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    return table
