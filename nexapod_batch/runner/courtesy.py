"""How far a process and all that it starts stand back behind the owner's own programs.

Niceness and I/O class are inherited, so an executor sets its own and every command has them, in a container too. A
kernel that groups processes by session (autogroup, as desktops have it) weighs niceness within a session only; since
every command has a session of its own, the group of that session is made to stand back as well.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Courtesy", "lower_session", "stand_back"]

#: Number of the system call ioprio_set, which no library of C has a function for.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_WHO_PROCESS, _CLASS_IDLE = 1, 3 << 13


class Courtesy(NamedTuple):
    """How far to stand back."""

    nice: int  # 0 to 19
    idle_io: bool  # read and write only when nobody else does


def stand_back(how: Courtesy) -> None:
    """Let this process stand back; never forward, which the kernel allows root only."""
    if how.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, how.nice)
    number = _IOPRIO_SET.get(os.uname().machine)
    if how.idle_io and number is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE)  # what cannot be is left: nothing depends on it


def lower_session(pid: int, nice: int) -> bool:
    """Let the scheduler's group of a session stand back; False when the kernel wants to be asked again later."""
    try:
        fd = os.open(f"/proc/{pid}/autogroup", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no such kernel, or the process has ended
        return True
    try:
        with suppress(ProcessLookupError, PermissionError):
            os.write(fd, str(nice).encode())
    except OSError as error:
        return error.errno != errno.EAGAIN  # the kernel takes ten such changes a second
    finally:
        os.close(fd)
    return True
