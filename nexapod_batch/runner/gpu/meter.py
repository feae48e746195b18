"""How a replica uses its GPUs while it runs: time, memory, energy; and whether they fail meanwhile.

A thread asks the drivers, since one that hangs must not hang the executor. By process where the driver tells that, and
its processes can be told from here; else by device, when no other replica has it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import DeviceError
from nexapod_batch.hardware.devices import Devices
from nexapod_batch.runner.processes import descendants
from nexapod_batch.trust.statement import GpuUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.hardware.usage import Process, Usage
    from nexapod_batch.runner.gpu.grant import GrantedGpu

__all__ = ["Meter"]

SAMPLE_S = 0.25
PATIENCE_S = 30.0  # a driver that was just loaded takes seconds


class _Count(Struct):
    """What one GPU was used for so far."""

    before_mib: int | None  # in use when we came
    at: float  # of the last look
    busy_s: float | None = None
    peak_mib: int | None = None
    energy_mj: int | None = None  # when we came


class Meter:
    """Measures what runs below this process on some GPUs, from `start` to `stop`."""

    def __init__(self, gpus: Sequence[GrantedGpu], *, exclusive: bool) -> None:
        """Remember what to look at; `exclusive`: what happens there is of this replica, or of nobody of ours."""
        self._gpus, self._exclusive, self._pid = gpus, exclusive, os.getpid()
        self._told = [gpu for gpu in gpus if gpu.told]
        self._counts: dict[str, _Count] = {}
        self._used: dict[str, GpuUse] = {}
        self._ready, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.faults: dict[str, str] = {}  # UUID -> why that GPU cannot be used; once it is there USR1 is sent

    def start(self) -> None:
        """Begin; DeviceError when one of the GPUs cannot be used."""
        if not self._told:
            return
        self._thread.start()
        if not self._ready.wait(PATIENCE_S):
            self.faults = {gpu.uuid: f"{gpu.uuid}: its driver hangs" for gpu in self._told}
        for words in self.faults.values():
            raise DeviceError(words)

    def stop(self) -> tuple[GpuUse, ...]:
        """End, after one more look, and return what was used."""
        self._over.set()
        if self._told:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                self.faults.update((gpu.uuid, f"{gpu.uuid}: its driver hangs") for gpu in self._told)
        unknown = (GpuUse(uuid=gpu.uuid, model=gpu.model) for gpu in self._gpus)
        return tuple(self._used.get(one.uuid, one) for one in unknown)

    def _run(self) -> None:
        devices = Devices({gpu.vendor for gpu in self._told})
        try:
            self._each(devices, self._begin)
            self._ready.set()
            while not self._over.wait(SAMPLE_S) and not self.faults:
                self._each(devices, self._look)
                if self.faults:
                    os.kill(self._pid, signal.SIGUSR1)
            self._each(devices, self._look)
            self._each(devices, self._end)
        finally:
            devices.close()

    def _each(self, devices: Devices, what) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
        for gpu in self._told:
            if gpu.uuid not in self.faults:
                try:
                    what(devices, gpu)
                except DeviceError as error:
                    self.faults[gpu.uuid] = str(error).split("\n")[0]

    def _begin(self, devices: Devices, gpu: GrantedGpu) -> None:
        usage = devices.usage(gpu.uuid, gpu.vendor)
        energy = devices.energy_mj(gpu.uuid, gpu.vendor) if self._exclusive else None
        devices.watch(gpu.uuid, gpu.vendor)
        self._counts[gpu.uuid] = _Count(usage.memory_used_mib, time.monotonic(), energy_mj=energy)

    def _look(self, devices: Devices, gpu: GrantedGpu) -> None:
        usage, now, count = devices.usage(gpu.uuid, gpu.vendor), time.monotonic(), self._counts[gpu.uuid]
        busy, memory = self._ours(usage, count)
        if busy is not None:
            count.busy_s = (count.busy_s or 0.0) + (now - count.at) * min(busy, 100.0) / 100
        if memory is not None:
            count.peak_mib = max(count.peak_mib or 0, memory)
        count.at = now
        devices.check(gpu.uuid, gpu.vendor)

    def _end(self, devices: Devices, gpu: GrantedGpu) -> None:
        count, energy = self._counts[gpu.uuid], None
        if count.energy_mj is not None:
            energy = max(0, (devices.energy_mj(gpu.uuid, gpu.vendor) or 0) - count.energy_mj)
        self._used[gpu.uuid] = GpuUse(
            uuid=gpu.uuid,
            model=gpu.model,
            time_ms=None if count.busy_s is None else round(count.busy_s * 1000),
            peak_mib=count.peak_mib,
            energy_mj=energy,
        )

    def _ours(self, usage: Usage, count: _Count) -> tuple[float | None, int | None]:
        """Return the percent of the time and the MiB that are ours; None where nobody can tell."""
        if usage.processes is None:
            return None, None
        tree = set(descendants.find(self._pid))
        mine = [process for process in usage.processes if process.pid in tree]
        others = [process for process in usage.processes if process.pid not in tree]
        others = [process for process in others if os.path.exists(f"/proc/{process.pid}")]
        alone = self._exclusive and not others  # whom nobody here knows is ours, seen from outside of a container
        return _our_busy(usage, mine, alone=alone), _our_memory(usage, mine, count.before_mib, alone=alone)


def _our_busy(usage: Usage, mine: Sequence[Process], *, alone: bool) -> float | None:
    """Return percent: of a whole GPU when anything ran there, of a process how many of its parts were busy."""
    if alone and usage.busy is not None:
        return usage.busy
    shares = [one.busy for one in mine if one.busy is not None]
    if shares:
        return sum(shares)
    return None


def _our_memory(usage: Usage, mine: Sequence[Process], before_mib: int | None, *, alone: bool) -> int | None:
    """Return MiB: of our processes, else what the GPU has more than before they came."""
    amounts = [one.memory_mib for one in mine if one.memory_mib is not None]
    if amounts:
        return sum(amounts)
    if not alone or usage.memory_used_mib is None or before_mib is None:
        return None
    return max(0, usage.memory_used_mib - before_mib)
