"""What a running process tree uses: memory, disk and processes, seen from outside.

Of a container counts what runs in it, not the container program itself, and what was written into its private file
systems in memory: as disk, and as memory of those who wrote it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from nexapod_batch.runner.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["ALARM_S", "MAX_PROCESSES", "Alarm", "Usage", "longest_file", "occupied_bytes", "tree_bytes"]

#: Processes of one replica at once. Far more than a job of one machine has, and far fewer than harm it.
MAX_PROCESSES = 2_000
ALARM_S = 0.25  # between two looks at the whole machine
_ENOUGH = 7 / 8  # of the free memory that there was; less rings
_ROUNDING = 64 * 1024  # bytes by which a file takes more than it is long
#: File systems in memory that a container has for itself.
_PRIVATE = ("tmp", "var/tmp", "dev/shm")


class Usage:
    """The use of the process trees below this process, sampled."""

    def __init__(self, *, contained: bool) -> None:
        """Look at nothing yet: most commands are too short for that."""
        self._contained = contained
        self._head: int | None = None  # the first process in the container

    def memory_kib(self, exact_above: int | None = None) -> int:
        """Return the resident memory in KiB; shared memory counts once if there is more than `exact_above`.

        To tell what is shared the kernel walks through all of it, so it is asked only where the answer matters.
        """
        in_files = 0
        if self._contained:
            head = self._first()
            if head is None:
                return 0
            pids = descendants.find(head)
            in_files = self.private_bytes() // 1024
        else:
            pids = descendants.find(os.getpid())
        used = max(descendants.resident_kib(pids), in_files and descendants.anonymous_kib(pids) + in_files)
        if exact_above is None or used <= exact_above or len(pids) == 1:
            return used
        whole, anonymous = descendants.proportional_kib(pids)
        return max(whole, in_files and anonymous + in_files)

    def unlinked_bytes(self, *roots: str) -> int:
        """Return what files take on the disks of folders that have no name any more, and are open in the tree."""
        total, seen, devices = 0, set(), set()
        for root in roots:
            with suppress(OSError):
                devices.add(os.stat(root).st_dev)
        for pid in descendants.find(os.getpid()):
            with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    with suppress(OSError):
                        found = entry.stat()
                        nameless = found.st_nlink == 0 and found.st_dev in devices and S_ISREG(found.st_mode)
                        if nameless and (found.st_dev, found.st_ino) not in seen:
                            seen.add((found.st_dev, found.st_ino))
                            total += occupied_bytes(found)
        return total

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
        count = len(descendants.find(os.getpid(), max_count=MAX_PROCESSES))
        if count > MAX_PROCESSES:
            return count
        return None

    def _first(self) -> int | None:
        if self._head is None:
            self._head = next(iter(descendants.find_heads(os.getpid())), None)
        return self._head


class Alarm:
    """Rings when this machine has many more threads, or much less free memory, than before: some replica may be at it.

    Two numbers of the kernel's that one process of a runner looks at, instead of each executor at all that is its own.
    What is too many is a number, since the kernel has room for a number; what is too much memory is a share of what is
    free: as long as there is plenty, nobody is harmed before the next look of who grows.
    """

    def __init__(self, look: Callable[[], tuple[int, int]] | None = None) -> None:
        """Begin with what there is; `look` returns the threads and the KiB of free memory."""
        self._look = look or _machine
        self._threads, self._free = self._look()
        self._next = 0.0

    def rings(self, now: float) -> bool:
        """Say whether everybody is to look; to be asked often, with a time that only runs forward."""
        if now < self._next:
            return False
        self._next = now + ALARM_S
        threads, free = self._look()
        self._threads, self._free = min(self._threads, threads), max(self._free, free)
        if threads - self._threads <= MAX_PROCESSES // 4 and free >= self._free * _ENOUGH:
            return False
        self._threads, self._free = threads, free
        return True


def _machine() -> tuple[int, int]:
    """Return the threads on this machine, and the KiB of memory that programs can have yet; 0 where nobody says it."""
    threads = free = 0
    with suppress(OSError, IndexError, ValueError), open("/proc/loadavg", "rb") as file:
        threads = int(file.read().split()[3].partition(b"/")[2])
    with suppress(OSError, IndexError, ValueError), open("/proc/meminfo", "rb") as file:
        free = int(file.read().partition(b"MemAvailable:")[2].split(None, 1)[0])
    return threads, free


def tree_bytes(*roots: str) -> int:
    """Return what the files below folders take; one with several names counts once, what vanishes is passed over."""
    total, seen = 0, set()
    for found in _files(roots):
        if found.st_nlink > 1:
            key = (found.st_dev, found.st_ino)
            if key in seen:
                continue
            seen.add(key)
        total += occupied_bytes(found)
    return total


def longest_file(*roots: str) -> int:
    """Return the length of the longest file below folders; 0 without one."""
    return max((found.st_size for found in _files(roots)), default=0)


def _files(roots: Sequence[str]) -> Iterator[os.stat_result]:
    """Yield what is known of everything below folders that is no folder."""
    todo = list(roots)
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                        continue
                    yield entry.stat(follow_symlinks=False)


def occupied_bytes(status: os.stat_result) -> int:
    """Return what a file takes: its length, without the holes in it, and with room beyond it that was set aside."""
    taken = status.st_blocks * 512
    if status.st_size <= taken <= status.st_size + max(_ROUNDING, status.st_blksize):
        return status.st_size  # whole blocks
    return taken
