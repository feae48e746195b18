"""How much of each GPU the owner's own programs use, told again and again by a child of the worker.

The child alone talks to the driver: one that hangs, or goes away, hangs or ends the child, and nothing is known of the
GPUs until another child tells. A program is the owner's unless it runs below this worker, or in the environment of a
replica (of another node of this account).
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import orjson

from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.processes.fork import fork_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nexapod_batch.hardware.usage import Usage

__all__ = ["Watch", "foreign", "is_ours"]

EVERY_S = 1.0  # between two looks at the GPUs
STALE_S = 10.0  # what is older is not known any more
FIRST_S = 5.0  # for which the first word of a child is waited for
AGAIN_S = 10.0  # between two children of which the first ended
_BLOCK = 1 << 16
_OURS = b"NEXAPOD_NODE="


def foreign(usage: Usage, ours: Callable[[int], bool]) -> float:
    """Return the percentage of a GPU that programs of others use, as far as its driver tells whose the time is. Pure.

    Where it does not tell that of each process the whole time counts, unless something of ours is there too; where it
    tells of no process at all nothing is guessed.
    """
    if usage.processes is None:
        return 0.0
    others = [process for process in usage.processes if not ours(process.pid)]
    told = [other.busy for other in others if other.busy is not None]
    if told:
        return min(100.0, sum(told))
    if others and len(others) == len(usage.processes):
        return usage.busy or 0.0
    return 0.0


class Watch:
    """The child and what it told last."""

    def __init__(self, now: float) -> None:
        """Start the child; `now` is of a clock that only runs forward."""
        self._fd, self._pid, self._rest = -1, 0, b""
        self._loads: Mapping[str, float] = {}
        self._start(now)

    def loads(self, now: float) -> Mapping[str, float]:
        """Return the percentage of each GPU by UUID; nothing of what is not known."""
        if self._fd < 0 and now - self._started >= AGAIN_S:
            self._start(now)
        while self._fd >= 0:
            try:
                data = os.read(self._fd, _BLOCK)
            except BlockingIOError:
                break
            if not data:
                self.end()
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                self._loads, self._told = orjson.loads(lines[-1]), now
        if now - self._told < STALE_S:
            return self._loads
        return {}

    def waiting(self, now: float) -> bool:
        """Say whether the child was started a moment ago and has told nothing yet."""
        return self._fd >= 0 and self._told < self._started and now - self._started < FIRST_S

    def end(self) -> None:
        """End the child; the worker collects it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            descendants.signal_all([self._pid], signal.SIGKILL)

    def _start(self, now: float) -> None:
        self._started, self._told = now, float("-inf")
        self._rest = b""
        self._fd, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        worker = os.getpid()
        self._pid = fork_helper(lambda: _tell(writer, worker))
        os.close(writer)


def _tell(writer: int, worker: int) -> None:
    """Write a line of JSON every `EVERY_S` for as long as the worker lives; end when the driver does not answer."""
    from nexapod_batch.errors import DeviceError  # noqa: PLC0415 - for the child alone
    from nexapod_batch.hardware.devices import Devices  # noqa: PLC0415

    devices = Devices()
    gpus = devices.gpus()
    while gpus and os.getppid() == worker:
        mine = frozenset(descendants.find(worker))
        loads = {}
        for gpu in gpus:
            try:
                loads[gpu.uuid] = foreign(devices.usage(gpu.uuid, gpu.vendor), partial(is_ours, mine))
            except DeviceError:  # out of order: that is told elsewhere
                continue
        if not loads:
            return
        os.write(writer, orjson.dumps(loads) + b"\n")
        time.sleep(EVERY_S)


def is_ours(mine: frozenset[int], pid: int) -> bool:
    """Say whether a process is one of `mine`, or a replica's; one that has ended is nobody's else."""
    if pid in mine:
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return any(entry.startswith(_OURS) for entry in file.read().split(b"\0"))
    except (FileNotFoundError, ProcessLookupError):  # it has ended, or cannot be seen from inside a container: nobody's
        return True
    except OSError:  # another account's
        return False
