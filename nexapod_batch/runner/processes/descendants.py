"""Every process below one: found through /proc, signalled, measured.

The runner is a subreaper, so that a process whose parent ended becomes the runner's child: whoever called setsid or
forked twice is found here all the same.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from signal import SIGKILL
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

__all__ = [
    "ancestors",
    "anonymous_kib",
    "become_subreaper",
    "behind",
    "die_with_parent",
    "end_all",
    "find",
    "find_heads",
    "find_strays",
    "proportional_kib",
    "resident_kib",
    "signal_all",
    "state",
]

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


def find(pid: int, spare: frozenset[int] = frozenset(), max_count: int | None = None) -> list[int]:
    """Return the ids of all processes below `pid`; those in `spare` and what is below them are left out.

    With `max_count` the search ends as soon as there are more.
    """
    found: list[int] = []
    seen = {pid, *spare}
    todo = [pid]
    table: dict[int, list[int]] | None = None
    while todo and (max_count is None or len(found) <= max_count):
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


def ancestors(pid: int) -> list[int]:
    """Return the ids of the processes above `pid`, as far as they can be seen."""
    found: list[int] = []
    with suppress(OSError, IndexError, ValueError):
        while (pid := int(_content(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])) > 0:
            found.append(pid)
    return found


def find_heads(pid: int) -> list[int]:
    """Return the processes below `pid` that are the first of a process namespace: with one of them all of it ends."""
    found, todo = [], [pid]
    while todo:
        for child in _children(todo.pop()) or ():
            if _is_head(child):
                found.append(child)
            else:
                todo.append(child)
    return found


def behind(pid: int) -> int:
    """Return the command that a wrapper started in a process namespace; `pid` itself where there is none."""
    heads = [pid] if _is_head(pid) else find_heads(pid)
    commands = (_children(heads[0]) if heads else None) or [pid]
    return commands[0]


def end_all(pid: int) -> None:
    """Kill everything below `pid`, also what forks faster than it can be listed.

    The kernel ends a process namespace with its first process, and kills a process group at one stroke: no fork comes
    in between. Whoever left both is killed by number. The caller repeats this until nothing is left.
    """
    signal_all(find_heads(pid), SIGKILL)
    found = find(pid)
    for group in {group for one in found if (group := _group(one)) is not None}:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, SIGKILL)
    signal_all(found, SIGKILL)


def find_strays(work: str) -> list[int]:
    """Return the processes that run in the environment of a replica of this work folder, whoever their parent is."""
    marks = [f"{name}={work}/".encode() for name in ("HOME", "PWD", "NEXAPOD_ROOT")]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if any(entry.startswith(mark) for entry in file.read().split(b"\0") for mark in marks):
                    found.append(int(name))
    return found


def signal_all(pids: list[int], sign: int) -> None:
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
        with suppress(OSError, IndexError, ValueError):
            total += int(_content(f"/proc/{pid}/statm").split()[1]) * _PAGE_KIB
    return total


def proportional_kib(pids: list[int]) -> tuple[int, int]:
    """Return the resident memory of these processes in KiB, and how much of it is of no file.

    Of a page that several processes have each has a share only.
    """
    whole = anonymous = 0
    for pid in pids:
        told: dict[bytes, int] = {}
        with suppress(OSError, IndexError, ValueError):
            for line in _content(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
                word, _, rest = line.partition(b":")
                told[word] = int(rest.split(None, 1)[0])
        share = told.get(b"Pss")
        if share is None:  # an old kernel, or a program of more rights: all of it is its own
            whole += resident_kib([pid])
            anonymous += anonymous_kib([pid])
        else:
            whole += share
            anonymous += told.get(b"Pss_Anon", min(share, told.get(b"Anonymous", share)))
    return whole, anonymous


def anonymous_kib(pids: list[int]) -> int:
    """Return the sum of the memory in KiB that these processes share with nobody and no file."""
    total = 0
    for pid in pids:
        with suppress(OSError, IndexError, ValueError):
            _, resident, shared, *_ = _content(f"/proc/{pid}/statm").split()
            total += max(0, int(resident) - int(shared)) * _PAGE_KIB
    return total


def _group(pid: int) -> int | None:
    """Return the process group of a process below us; None when it ended, or has ours or none."""
    try:
        group = os.getpgid(pid)
    except OSError:
        return None
    if group > 1 and group != os.getpgrp():
        return group
    return None


def _is_head(pid: int) -> bool:
    """Say whether a process is number 1 in a namespace that is not ours."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            numbers = next((line.split()[1:] for line in file if line.startswith(b"NSpid:")), [])
    except OSError:
        return False
    return len(numbers) > 1 and numbers[-1] == b"1"


def _children(pid: int) -> list[int] | None:
    """Return the children of all threads of `pid`; None where the kernel does not list them."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            found += map(int, _content(f"/proc/{pid}/task/{task}/children").split())
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{task}"):
                return None
        except OSError:
            continue
    return found


def _content(path: str) -> bytes:
    """Return what a file of the kernel's holds: a third of the time of `open`, which counts when many are watched."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _process_table() -> dict[int, list[int]]:
    """Return parent -> children of every process that can be seen."""
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                # the command's name may hold blanks and brackets: the fields start after the last ")"
                table.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    return table
