"""What a running process tree uses: memory, disk and processes, seen from outside.

Of a container counts what runs in it, not the container program itself, and what was written into its private file
systems in memory: as disk, and as memory of those who wrote it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from nexapod_batch.runner import descendants

__all__ = ["MAX_PROCESSES", "Crowd", "Usage", "tree_bytes"]

#: Processes of one replica at once. Far more than a job of one machine has, and far fewer than harm it.
MAX_PROCESSES = 2_000
CROWD_S = 0.25  # between two looks at the number of threads
#: File systems in memory that a container has for itself.
_PRIVATE = ("tmp", "dev/shm")


class Usage:
    """The use of the process trees below this process, sampled."""

    def __init__(self, *, contained: bool) -> None:
        """Look at nothing yet: most commands are too short for that."""
        self._contained = contained
        self._head: int | None = None  # the first process in the container

    def memory_kib(self) -> int:
        """Return the resident memory in KiB."""
        if not self._contained:
            return descendants.resident_kib(descendants.find(os.getpid()))
        head = self._first()
        if head is None:
            return 0
        pids = descendants.find(head)
        in_files = self.private_bytes() // 1024
        return max(descendants.resident_kib(pids), descendants.anonymous_kib(pids) + in_files)

    def private_bytes(self) -> int:
        """Return how much lies in the container's own file systems in memory."""
        head = self._first() if self._contained else None
        total, seen = 0, set()
        for name in _PRIVATE if head is not None else ():
            with suppress(OSError):
                root, path = os.stat(f"/proc/{head}/root"), f"/proc/{head}/root/{name}"
                device = os.stat(path).st_dev
                if device != root.st_dev and device not in seen:
                    seen.add(device)
                    room = os.statvfs(path)
                    total += (room.f_blocks - room.f_bfree) * room.f_frsize
        return total

    def too_many(self) -> int | None:
        """Return how many processes there are when they are too many, else None."""
        count = len(descendants.find(os.getpid(), most=MAX_PROCESSES))
        return count if count > MAX_PROCESSES else None

    def _first(self) -> int | None:
        if self._head is None:
            self._head = next(iter(descendants.find_heads(os.getpid())), None)
        return self._head


class Crowd:
    """Notices when this machine has so many more threads than before that some replica may have too many processes.

    One look at a number of the kernel's, by one process of a runner, instead of a count by each executor.
    """

    def __init__(self) -> None:
        """Begin with what there is."""
        self._threads = _threads()
        self._next = 0.0

    def grew(self) -> bool:
        """Say whether everybody is to count; to be asked often."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + CROWD_S
        threads = _threads()
        self._threads = min(self._threads, threads)
        if threads - self._threads <= MAX_PROCESSES // 4:
            return False
        self._threads = threads
        return True


def _threads() -> int:
    """Return the number of threads on this machine; 0 where nobody says it."""
    try:
        with open("/proc/loadavg", "rb") as file:
            return int(file.read().split()[3].partition(b"/")[2])
    except (OSError, IndexError, ValueError):
        return 0


def tree_bytes(root: str) -> int:
    """Return the sum of the sizes of the files below a folder; links are not followed, what vanishes is passed over."""
    total, todo = 0, [root]
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total
