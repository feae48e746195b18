"""All GPUs of a machine behind one door, whoever made them: what there is, how it is used, what it has used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nexapod_batch.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexapod_batch.hardware.usage import Usage
    from nexapod_batch.model.hardware import Gpu

__all__ = ["Devices"]


class _Driver(Protocol):
    def close(self) -> None: ...
    def gpus(self) -> Iterator[Gpu | DeviceError]: ...
    def usage(self, uuid: str) -> Usage: ...
    def energy_mj(self, uuid: str) -> int | None: ...
    def watch(self, uuid: str) -> None: ...
    def check(self, uuid: str) -> None: ...


class Devices:
    """The GPUs of this machine. A forked process opens its own.

    With `vendors` only the drivers of these are asked; else those that are installed.
    """

    def __init__(self, vendors: Iterable[str] | None = None) -> None:
        """Open what is there; a driver that does not answer is kept in `faults`, and the others go on."""
        self._drivers: dict[str, _Driver] = {}
        self.faults: list[DeviceError] = []  # drivers that do not answer, and since `gpus` also GPUs
        for vendor in _VENDORS if vendors is None else sorted(set(vendors)):
            try:
                driver = _open(vendor, wanted=vendors is not None)
            except DeviceError as error:
                self.faults.append(error)
                continue
            if driver is not None:
                self._drivers[vendor] = driver


    def close(self) -> None:
        """End the conversation with the drivers."""
        for driver in self._drivers.values():
            driver.close()
        self._drivers.clear()

    def gpus(self) -> tuple[Gpu, ...]:
        """Return every GPU and instance that answers; those that do not are added to `faults`."""
        found: list[Gpu] = []
        for driver in self._drivers.values():
            for gpu in driver.gpus():
                if isinstance(gpu, DeviceError):
                    self.faults.append(gpu)
                else:
                    found.append(gpu)
        return tuple(found)

    def usage(self, uuid: str, vendor: str = "nvidia") -> Usage:
        """Return how one GPU is used now; DeviceError when it, or its driver, does not answer."""
        return self._of(vendor).usage(uuid)

    def energy_mj(self, uuid: str, vendor: str = "nvidia") -> int | None:
        """Return the energy that one GPU has used so far in millijoules; None where nobody counts. DeviceError."""
        return self._of(vendor).energy_mj(uuid)

    def watch(self, uuid: str, vendor: str = "nvidia") -> None:
        """Have the driver remember from now on what goes wrong with one GPU."""
        self._of(vendor).watch(uuid)

    def check(self, uuid: str, vendor: str = "nvidia") -> None:
        """Raise DeviceError when one GPU went wrong since it is watched, for a reason that no program gives it."""
        self._of(vendor).check(uuid)

    def _of(self, vendor: str) -> _Driver:
        if vendor in self._drivers:
            return self._drivers[vendor]
        raise self.faults[0] if self.faults else DeviceError(f"there is no driver for {vendor} GPUs here any more")


_VENDORS = ("nvidia", "amd")


def _open(vendor: str, *, wanted: bool) -> _Driver | None:
    """Open a driver; None where it is not installed, unless it is `wanted`."""
    if vendor == "amd":
        from nexapod_batch.hardware import amd  # noqa: PLC0415 - only where such a GPU may be

        if wanted or amd.installed():
            return amd.Amd()
        return None
    from nexapod_batch.hardware import nvml  # noqa: PLC0415

    if nvml.installed():
        return nvml.Nvml()
    if wanted:
        raise DeviceError("NVIDIA's driver is not there any more", got="no libnvidia-ml.so.1", hint="install it again")
    return None
