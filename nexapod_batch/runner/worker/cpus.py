"""Processors handed out to what runs: each replica has as many as it asked for, and no other replica has one of them.

Among the processors that the worker may use itself. Other nodes of the account on this machine are heeded: what one of
them has is taken last. Where a node promises more processors than there are, nothing is bound to any.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from nexapod_batch.files.machine_locks import take_lock

__all__ = ["Cpus"]


class Cpus:
    """The processors of one worker."""

    def __init__(self, promised: int) -> None:
        """Look which there are; so many were `promised`."""
        self.all = tuple(sorted(os.sched_getaffinity(0)))
        self._enough = promised <= len(self.all)
        self._taken: dict[int, int] = {}  # processor -> descriptor of its lock; -1: another node has that

    def take(self, count: int) -> tuple[int, ...]:
        """Return so many that nothing else of this worker has; () where that cannot be: all of them, unbound."""
        free = [cpu for cpu in self.all if cpu not in self._taken]
        if not self._enough or not 0 < count <= len(free):
            return ()
        locked: dict[int, int] = {}
        with suppress(OSError):  # no place for locks: other nodes cannot be heeded
            for cpu in free:
                fd = take_lock(f"cpu.{cpu}")
                if fd >= 0:
                    locked[cpu] = fd
                if len(locked) == count:
                    break
        rest = [cpu for cpu in free if cpu not in locked][: count - len(locked)]
        self._taken.update(locked)
        self._taken.update(dict.fromkeys(rest, -1))
        return (*locked, *rest)

    def free(self, cpus: tuple[int, ...]) -> None:
        """Give back what was taken."""
        for cpu in cpus:
            fd = self._taken.pop(cpu, -1)
            if fd >= 0:
                fcntl.flock(fd, fcntl.LOCK_UN)  # executors that were forked meanwhile have a copy of the descriptor
                os.close(fd)
