"""NVIDIA's GPUs through NVML, by nvidia-ml-py. A machine without the driver's library never imports the binding.

Every answer of the driver may be an error, for one GPU or for all: what a GPU or an old driver cannot tell is None, a
GPU that does not answer is a DeviceError that names it, and so is a driver that went away.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import DeviceError
from nexapod_batch.hardware.usage import Process, Usage
from nexapod_batch.model.hardware import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Nvml", "installed"]

_LIBRARY = "libnvidia-ml.so.1"
_MIB = 1 << 20


def installed() -> bool:
    """Say whether this machine has NVIDIA's library, and we its binding; the driver may still not answer."""
    with suppress(OSError):
        ctypes.CDLL(_LIBRARY)
        return find_spec("pynvml") is not None
    return False


class Nvml:
    """A conversation with the driver. Not to be shared with a forked process: that opens its own."""

    def __init__(self) -> None:
        """Begin; DeviceError when the driver does not answer."""
        import pynvml  # noqa: PLC0415 - 30 ms that only a machine with a GPU needs

        self._nvml: Any = pynvml
        # a driver older than a function of the binding is told by an error that is no NVMLError
        older = getattr(pynvml, "NVMLLibraryMismatchError", None)
        self._errors = (pynvml.NVMLError, older) if older else (pynvml.NVMLError,)
        self._handles: dict[str, Any] = {}  # by UUID
        self._seen_us: dict[str, int] = {}  # time of the last samples of processes, by UUID
        self._events: Any = None  # what the driver reports of the GPUs that are watched
        self._xids: dict[str, int] = {}  # by UUID: the last one that was no program's fault
        try:
            self._nvml.nvmlInit()
        except self._errors as error:
            raise DeviceError("NVIDIA's driver does not answer", got=_words(error), hint=_HINT) from error

    def close(self) -> None:
        """End the conversation."""
        with suppress(*self._errors):
            self._nvml.nvmlShutdown()

    def gpus(self) -> Iterator[Gpu | DeviceError]:
        """Yield every GPU, then the instances of it, and an error for each that does not answer."""
        nvml = self._nvml
        try:
            count, driver = nvml.nvmlDeviceGetCount(), self._optional(nvml.nvmlSystemGetDriverVersion) or ""
        except self._errors as error:
            yield DeviceError("NVIDIA's driver does not answer", got=_words(error), hint=_HINT)
            return
        for index in range(count):
            try:
                gpu, handle = self._gpu(index, driver)
                yield gpu
                if gpu.mig == "on":
                    yield from self._instances(gpu, handle)
            except self._errors as error:
                yield DeviceError(f"GPU {index} does not answer", got=_words(error), hint=_HINT)

    def usage(self, uuid: str) -> Usage:
        """Return how one GPU, or instance, is used now; DeviceError when it is not there or does not answer."""
        nvml, handle = self._nvml, self.handle(uuid)
        try:
            memory = self._optional(nvml.nvmlDeviceGetMemoryInfo, handle)
            rates = self._optional(nvml.nvmlDeviceGetUtilizationRates, handle)
            return Usage(
                uuid=uuid,
                busy=None if rates is None else float(rates.gpu),
                memory_used_mib=None if memory is None else int(memory.used) // _MIB,
                memory_mib=None if memory is None else int(memory.total) // _MIB,
                processes=self._processes(uuid, handle),
            )
        except self._errors as error:
            raise self._lost(uuid, error) from error

    def energy_mj(self, uuid: str) -> int | None:
        """Return what a whole GPU has used since its driver was loaded in millijoules; None where nobody counts."""
        handle = self.handle(uuid)
        try:
            return self._optional(self._nvml.nvmlDeviceGetTotalEnergyConsumption, handle)  # type: ignore[no-any-return]
        except self._errors as error:
            raise self._lost(uuid, error) from error

    def watch(self, uuid: str) -> None:
        """Have the driver report critical errors (Xid) of one GPU from now on, where it can."""
        nvml, handle = self._nvml, self.handle(uuid)
        with suppress(*self._errors):  # instances have none, and some systems neither
            self._events = self._events or nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)

    def check(self, uuid: str) -> None:
        """Raise DeviceError when a critical error of one GPU was reported that no program causes."""
        nvml = self._nvml
        with suppress(*self._errors):  # the last one: nothing more is there
            while self._events is not None:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
                if event.eventData in _XIDS:
                    self._xids[nvml.nvmlDeviceGetUUID(event.device)] = int(event.eventData)
        if uuid in self._xids:
            number = self._xids[uuid]
            raise DeviceError(f"{uuid} failed", got=f"Xid {number}, {_XIDS[number]}", hint=_HINT)

    def handle(self, uuid: str) -> Any:  # noqa: ANN401 - the binding's
        """Return the handle of a UUID; DeviceError when there is no such GPU now."""
        if uuid not in self._handles:
            try:
                self._handles[uuid] = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            except self._errors as error:
                raise self._lost(uuid, error) from error
        return self._handles[uuid]

    def by_index(self, index: int) -> str:
        """Return the UUID of the GPU that the driver counts so; DeviceError when there is none."""
        nvml = self._nvml
        try:
            return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index)))
        except self._errors as error:
            raise DeviceError(f"GPU {index} does not answer", got=_words(error), hint=_HINT) from error

    def _gpu(self, index: int, driver: str) -> tuple[Gpu, Any]:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = self._optional(nvml.nvmlDeviceGetCudaComputeCapability, handle) or (0, 0)
        mode = self._optional(nvml.nvmlDeviceGetMigMode, handle)
        pci = self._optional(nvml.nvmlDeviceGetPciInfo_v3, handle)
        divided, mig = False, ""
        if mode is not None:
            divided = bool(mode[0])
            mig = "on" if divided else "off"
        gpu = Gpu(
            uuid=nvml.nvmlDeviceGetUUID(handle),
            vendor="nvidia",
            model=nvml.nvmlDeviceGetName(handle),
            index=str(index),
            memory_mib=self._memory_mib(handle),
            compute=f"{major}.{minor}" if major else "",
            driver=driver,
            bus=_text(pci.busId) if pci is not None else "",
            mig=mig,
            unusable="it is divided (MIG): its instances are used" if divided else "",
        )
        self._handles[gpu.uuid] = handle
        return gpu, handle

    def _instances(self, gpu: Gpu, handle: Any) -> Iterator[Gpu]:  # noqa: ANN401 - the binding's
        nvml = self._nvml
        for number in range(self._optional(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            instance = self._optional(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            if instance is None:  # that place is free
                continue
            yield Gpu(
                uuid=nvml.nvmlDeviceGetUUID(instance),
                vendor="nvidia",
                model=nvml.nvmlDeviceGetName(instance),
                index=f"{gpu.index}:{number}",
                memory_mib=self._memory_mib(instance),
                compute=gpu.compute,
                driver=gpu.driver,
                bus=gpu.bus,
                parent=gpu.uuid,
            )

    def _memory_mib(self, handle: Any) -> int | None:  # noqa: ANN401 - the binding's
        memory = self._optional(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        if memory is None:
            return None
        return int(memory.total) // _MIB

    def _processes(self, uuid: str, handle: Any) -> tuple[Process, ...] | None:  # noqa: ANN401 - the binding's
        """Return who has memory on a GPU, with its share of the time since the last call where the driver tells.

        None: it does not tell who computes there, so that nobody knows whose the GPU's time is.
        """
        nvml = self._nvml
        computing = self._optional(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        drawing = self._optional(nvml.nvmlDeviceGetGraphicsRunningProcesses, handle)
        samples = self._optional(nvml.nvmlDeviceGetProcessUtilization, handle, self._seen_us.get(uuid, 0))
        if computing is None and not samples:
            return None
        found: dict[int, tuple[int | None, bool]] = {}  # pid -> memory, whether it draws
        for row in drawing or ():
            found[row.pid] = (row.usedGpuMemory, True)
        for row in computing or ():
            found[row.pid] = (row.usedGpuMemory, row.pid in found)
        busy: dict[int, float] = {}
        for sample in sorted(samples or (), key=lambda one: one.timeStamp):
            busy[sample.pid] = float(sample.smUtil)
            self._seen_us[uuid] = sample.timeStamp
            if computing is None:  # it is there, which is all that is told of it
                found.setdefault(sample.pid, (None, False))
        return tuple(
            Process(pid=pid, memory_mib=None if used is None else used // _MIB, draws=draws, busy=busy.get(pid))
            for pid, (used, draws) in sorted(found.items())
        )

    def _optional(self, ask: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - what the binding returns
        """Return an answer that not every GPU has; None where it has none. A GPU that is lost is no such case."""
        nvml = self._nvml
        try:
            return ask(*arguments)
        except self._errors as error:
            if getattr(error, "value", None) in {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_DRIVER_NOT_LOADED}:
                raise
            return None

    def _lost(self, uuid: str, error: Exception) -> DeviceError:
        self._handles.pop(uuid, None)
        return DeviceError(f"{uuid} does not answer", got=_words(error), hint=_HINT)


#: Errors by NVIDIA's numbers that come from the hardware or the driver, not from a program that ran (as 13, 31, 43 do).
_XIDS = {
    48: "a double-bit ECC error", 61: "its micro-controller stopped", 62: "its micro-controller halted",
    64: "rows of its memory cannot be remapped", 74: "an NVLink error", 79: "it has fallen off the bus",
    94: "a contained ECC error", 95: "an uncontained ECC error", 119: "its GSP does not answer",
    120: "an error of its GSP", 140: "an unrecovered ECC error", 143: "it cannot be initialised",
}  # fmt: skip

_HINT = "nvidia-smi tells more; after an update of the driver the machine must be started again"


def _words(error: Exception) -> str:
    return _text(str(error))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)
