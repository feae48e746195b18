"""How far a process and all that it starts stand back behind the owner's own programs.

Niceness and I/O class are inherited, so an executor sets its own and every command has them, in a container too. A
kernel that groups processes by session (autogroup, as desktops have it) weighs niceness within a session only, so the
groups of sessions are made to stand back as well: that of the command, and of whatever below it has one of its own.
Anybody may come forward again, or begin a session, at any time: it is kept by looking, not set once.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Niceness", "keep_back", "own", "stand_back"]

#: Number of the system call ioprio_set, which no library of C has a function for.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31, "ppc64le": 274, "s390x": 283}
_WHO_PROCESS, _CLASS_IDLE = 1, 3 << 13
_RESET_ON_FORK = os.SCHED_RESET_ON_FORK


class Niceness(NamedTuple):
    """How far to stand back."""

    nice: int  # 0 to 19
    idle_io: bool  # read and write only when nobody else does
    idle_cpu: bool = False  # compute only on CPUs that nobody else wants: SCHED_IDLE

    @property
    def any(self) -> bool:
        """Whether there is anything to see to."""
        return self.nice > 0 or self.idle_io or self.idle_cpu


def stand_back(wanted: Niceness) -> None:
    """Let this process stand back; never forward, which the kernel allows root only."""
    if wanted.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, wanted.nice)
    if wanted.idle_io:
        _io_priority(_IOPRIO_SET, 0, _CLASS_IDLE)  # what cannot be is left: nothing depends on it
    if wanted.idle_cpu:
        with suppress(OSError):
            _schedule_idle(0)


def own() -> Niceness:
    """Return how far this process stands back."""
    found = _io_priority(_IOPRIO_GET, 0)
    idle = found >= 0 and found & _CLASS_IDLE == _CLASS_IDLE
    idle_cpu = os.sched_getscheduler(0) & ~_RESET_ON_FORK == os.SCHED_IDLE
    return Niceness(nice=os.getpriority(os.PRIO_PROCESS, 0), idle_io=idle, idle_cpu=idle_cpu)


def keep_back(pids: list[int], wanted: Niceness) -> bool:
    """Let processes, and the groups of their sessions, stand back that do not; False when some wait for the kernel."""
    done, sessions = True, set()
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpriority(os.PRIO_PROCESS, pid) < wanted.nice:
                os.setpriority(os.PRIO_PROCESS, pid, wanted.nice)
            if wanted.idle_io:
                _io_priority(_IOPRIO_SET, pid, _CLASS_IDLE)
            if wanted.idle_cpu:
                _schedule_idle(pid)
            session = os.getsid(pid)
            if session not in sessions:
                sessions.add(session)
                done &= _lower_session(pid, wanted.nice)
    return done


def _schedule_idle(pid: int) -> None:
    if os.sched_getscheduler(pid) != os.SCHED_IDLE:  # as well one that forks into another class
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def _io_priority(numbers: Mapping[str, int], *arguments: int) -> int:
    """Ask the kernel for an I/O priority, or to change it; -1 where that cannot be."""
    number = numbers.get(os.uname().machine)
    if number is None:
        return -1
    return int(ctypes.CDLL(None).syscall(number, _WHO_PROCESS, *arguments))


def _lower_session(pid: int, nice: int) -> bool:
    """Let the scheduler's group of a session stand back; False when the kernel wants to be asked again later."""
    try:
        fd = os.open(f"/proc/{pid}/autogroup", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # no such kernel, or the process has ended
        return True
    try:
        with suppress(ProcessLookupError, PermissionError, ValueError, IndexError):
            if int(os.read(fd, 100).split()[-1]) < nice:  # as in `/autogroup-123 nice 5`
                os.write(fd, str(nice).encode())
    except OSError as error:
        return error.errno != errno.EAGAIN  # the kernel takes ten such changes a second
    finally:
        os.close(fd)
    return True
