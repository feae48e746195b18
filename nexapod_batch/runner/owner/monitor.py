"""Keeps a worker to its owner's wishes: reads them when they change, looks at the clock, and rules on what runs.

Where the owner wants nothing this costs one look at a file's time for each turn of the worker.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.errors import ConfigError
from nexapod_batch.runner.gpu.foreign_use import Watch
from nexapod_batch.runner.owner import machine_state
from nexapod_batch.runner.owner.rules import Machine, Pause, Ruling, Running, Seen, Standing, judge
from nexapod_batch.runner.processes import niceness
from nexapod_batch.spool import layout, owner_settings
from nexapod_batch.spool.owner_settings import NO_LIMIT, OwnerSettings, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.runner.gpu.allocator import GpuAllocator
    from nexapod_batch.spool.node_config import NodeConfig

__all__ = ["OwnerMonitor"]

LOOK_S = 1.0  # between two looks at the clock, where a wish depends on it
MACHINE_S = 2.0  # and at the machine
_NEVER = float("inf")


class OwnerMonitor:
    """Knows what a worker may do now: `ruling`."""

    def __init__(self, node: NodeConfig, *, owned: bool) -> None:
        """Rule once, with nothing running; what is not `owned`, as a share of a cluster, is used whole."""
        self._node, self._owned = node, owned
        self._file = node.spool / layout.OWNER_SETTINGS
        self._version: tuple[int, int] | None = None
        self._wishes = OwnerSettings()
        self._unreadable: Pause | None = None
        self._standing = Standing()
        self._allocator: GpuAllocator | None = None  # GPUs, as soon as somebody asked for one
        self._watch: Watch | None = None
        self._turns: list[int] = []  # that were ruled on last
        self._next = _NEVER
        self._machine, self._next_machine = Machine(), 0.0
        self.ruling = Ruling(cpus=node.cpus, mem_mib=node.mem_mib)
        if owned:
            owner_settings.reserve(node.spool)
        self.look(list)

    def look(self, what_runs: Callable[[], Sequence[Running]]) -> bool:
        """Rule again if there may be a reason to; True when something changed."""
        news = self._owned and self._read()
        if not news and self._next == _NEVER:
            return False
        now, running = time.monotonic(), what_runs()
        turns = [one.turn for one in running]
        if not news and now < self._next and turns == self._turns:
            return False
        self._turns = turns
        before = self.ruling
        self._rule(now, running)
        return self.ruling != before

    def _rule(self, now: float, running: Sequence[Running]) -> None:
        """Rule on what runs, and say when that is due again."""
        names = self._allocator.names if self._allocator else {}
        seen = Seen(clock=owner_settings.clock(), loads=self._loads(now), names=names, machine=self._seen(now))
        self.ruling, self._standing = judge(
            self._wishes, seen, self._node.cpus, self._node.mem_mib, running, self._standing
        )
        if self._unreadable:  # nothing new until it is understood; what runs goes on
            self.ruling = Ruling(cpus=self.ruling.cpus, mem_mib=self.ruling.mem_mib, paused=self._unreadable)
        self._next = now + LOOK_S if self._wishes != OwnerSettings() or self._allocator else _NEVER
        if self._allocator and self._watch and self._watch.waiting(now):  # nothing starts where a game may be
            unknown = {uuid: Pause(why=f"who uses {name} is not known yet") for uuid, name in names.items()}
            self.ruling = replace(self.ruling, closed={**unknown, **self.ruling.closed})
            self._next = now

    def stops(self, *, busy: bool) -> bool:
        """Say whether the owner wants the worker to end now; `busy`: something runs."""
        return self._wishes.stop is Stop.NOW or (self._wishes.stop is Stop.FINISH and not busy)

    def _seen(self, now: float) -> Machine:
        """Return what was seen of the machine a moment ago, if a wish depends on it."""
        if not machine_state.matters(self._wishes):
            self._machine, self._next_machine = Machine(), 0.0
        elif now >= self._next_machine:
            self._machine = machine_state.look(self._wishes, str(self._node.work))
            self._next_machine = now + MACHINE_S
        return self._machine

    def mind_gpus(self, allocator: GpuAllocator) -> None:
        """Rule on these GPUs as well, by what the owner's programs use of them."""
        if self._owned:
            self._allocator, self._next = allocator, 0.0

    def end(self) -> None:
        """Let nobody look at the GPUs any more."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _loads(self, now: float) -> Mapping[str, float]:
        """Return what the owner's programs use of each GPU, if that matters."""
        if self._allocator is None or self._wishes.gpu_busy >= NO_LIMIT:
            self.end()
            return {}
        self._watch = self._watch or Watch(now)
        return self._watch.loads(now)

    @property
    def courtesy(self) -> niceness.Niceness:
        """How far what is started from now on stands back behind the owner's programs."""
        nice = self._node.nice if self._wishes.nice is None else self._wishes.nice
        idle_io = (self._wishes.io or self._node.io) == "idle"
        return niceness.Niceness(nice=nice, idle_io=idle_io, idle_cpu=self._wishes.cpu == "idle")

    def never(self, cpus: int, mem_mib: int) -> str:
        """Return why a replica of this size cannot run here while the wishes are as they are; "" when it can."""
        if cpus <= self.ruling.cpus and mem_mib <= self.ruling.mem_mib:
            return ""
        gives = f"CPUs: {self.ruling.cpus}, MiB of memory: {self.ruling.mem_mib}"
        return f"its owner gives {gives}; this needs {cpus} and {mem_mib}"

    def _read(self) -> bool:
        """Read the wishes if their file is another one; True when it is."""
        try:
            found = os.stat(self._file)
            version = (found.st_mtime_ns, found.st_ino)
        except OSError:
            version = None
        if version == self._version:
            return False
        self._version, self._next_machine = version, 0.0
        try:
            self._wishes, self._unreadable = owner_settings.load(self._node.spool), None
        except ConfigError as error:
            told = str(error).split("\n")[0]
            print(told, file=sys.stderr, flush=True)  # noqa: T201 - worker.log
            self._unreadable = Pause(why=f"starts nothing: {told}")
        return True
