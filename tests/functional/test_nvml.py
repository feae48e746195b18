"""The real binding of NVML against a small library that implements it, in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nvml import FIRST, SECOND, Driver, asked, gpu

if TYPE_CHECKING:
    from pathlib import Path

#: Prints what a function of `Devices` says, or its error.
SAY = """
from nexapod_batch.errors import NexapodError
from nexapod_batch.hardware.devices import Devices
devices = Devices()
try:
    print({})
except NexapodError as error:
    print("error:", str(error).splitlines()[0])
print(*(str(fault).splitlines()[0] for fault in devices.faults), sep="\\n")
"""


def said(driver: Driver, what: str) -> list[str]:
    """Return the lines that an expression about `devices` prints, and the faults after them."""
    return asked(driver, SAY.format(what)).splitlines()


def test_every_gpu_is_told_as_its_driver_tells(driver: Driver) -> None:
    """Model, memory, compute capability, driver and UUID come from the driver."""
    found = said(driver, "[(g.uuid, g.model, g.memory_mib, g.compute, g.driver, g.mig) for g in devices.gpus()]")
    model = "NVIDIA GeForce RTX 4090"
    assert [str([(one, model, 24564, "8.9", "550.90.07", "") for one in (FIRST, SECOND)])] == found


def test_a_divided_gpu_stands_back_for_its_instances(tmp_path: Path) -> None:
    """With MIG on a replica can have an instance, by its own UUID, and not the whole."""
    driver = Driver(tmp_path, gpu("GPU-9", model="NVIDIA A100", compute="8 0"), "mig 0 on", "instance 0 MIG-9 4864 NVIDIA A100 MIG 1g.5gb")
    found = said(driver, "[(g.uuid, g.index, g.mig, g.parent, bool(g.unusable)) for g in devices.gpus()]")
    assert [str([("GPU-9", "0", "on", "", True), ("MIG-9", "0:0", "", "GPU-9", False)])] == found


def test_usage_names_the_processes(driver: Driver) -> None:
    """Memory, share of the time and processes, whether these compute or draw."""
    driver.add(f"used {FIRST} 900", f"busy {FIRST} 70", f"process {FIRST} 41 600 c 65", f"process {FIRST} 42 100 g 5")
    found = said(driver, f"(u := devices.usage('{FIRST}')) and (u.busy, u.memory_used_mib, [(p.pid, p.memory_mib, p.draws, p.busy) for p in u.processes])")
    assert [str((70.0, 900, [(41, 600, False, 65.0), (42, 100, True, 5.0)]))] == found


def test_what_a_gpu_does_not_tell_is_left_out(driver: Driver) -> None:
    """Energy is None where the driver counts none, and what it counts where it does."""
    driver.add(f"energy {SECOND} 1234")
    assert said(driver, f"(devices.energy_mj('{FIRST}'), devices.energy_mj('{SECOND}'))") == ["(None, 1234)"]


EVERYTHING = "[(g.uuid, g.memory_mib, g.compute, g.driver) for g in devices.gpus()]"
USED = "(u := devices.usage({uuid!r})) and (u.busy, u.memory_used_mib, u.memory_mib, u.processes and [(p.pid, p.memory_mib, p.busy) for p in u.processes])"


@pytest.mark.parametrize(
    ("call", "gpu_as_told", "use_as_told"),
    [
        ("GetMemoryInfo", (None, "8.9", "550.90.07"), (70.0, None, None, [(41, 600, 65.0)])),
        ("GetComputeRunningProcesses", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, [(41, None, 65.0)])),
        ("GetGraphicsRunningProcesses", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, [(41, 600, 65.0)])),
        ("GetProcessUtilization", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, [(41, 600, None)])),
        ("GetUtilizationRates", (24564, "8.9", "550.90.07"), (None, 900, 24564, [(41, 600, 65.0)])),
        ("GetCudaComputeCapability", (24564, "", "550.90.07"), (70.0, 900, 24564, [(41, 600, 65.0)])),
        ("GetDriverVersion", (24564, "8.9", ""), (70.0, 900, 24564, [(41, 600, 65.0)])),
        ("GetMig", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, [(41, 600, 65.0)])),
        ("Processes", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, [(41, None, 65.0)])),
        ("Process", (24564, "8.9", "550.90.07"), (70.0, 900, 24564, None)),
    ],
)
def test_what_nobody_can_tell_is_none_and_the_gpu_is_in_order(
    driver: Driver, call: str, gpu_as_told: tuple[object, ...], use_as_told: tuple[object, ...]
) -> None:
    """A call that a driver does not support takes that figure away, and nothing else."""
    driver.add(f"used {FIRST} 900", f"busy {FIRST} 70", f"process {FIRST} 41 600 c 65", f"lacks {call}")
    assert said(driver, EVERYTHING) == [str([(one, *gpu_as_told) for one in (FIRST, SECOND)])]
    assert said(driver, USED.format(uuid=FIRST)) == [str(use_as_told)]


def test_a_driver_older_than_the_binding_is_in_order(tmp_path: Path) -> None:
    """It lacks functions that the binding looks for, which that tells in a way of its own."""
    driver = Driver(tmp_path, old=True)
    driver.add(f"used {FIRST} 900", f"busy {FIRST} 70", f"process {FIRST} 41 600 c 65")
    assert said(driver, EVERYTHING) == [str([(one, 24564, "8.9", "550.90.07") for one in (FIRST, SECOND)])]
    assert said(driver, USED.format(uuid=FIRST)) == [str((70.0, 900, 24564, [(41, None, 65.0)]))]
    assert said(driver, f"(devices.watch('{FIRST}'), devices.check('{FIRST}'))") == ["(None, None)"]


def test_a_gpu_that_is_lost_is_named_and_the_others_go_on(driver: Driver) -> None:
    """One GPU off the bus is one fault."""
    driver.add(f"lost {FIRST}")
    assert [f"['{SECOND}']", "GPU 0 does not answer: got GPU is lost"] == said(driver, "[g.uuid for g in devices.gpus()]")
    assert [f"error: {FIRST} does not answer: got GPU is lost"] == said(driver, f"devices.usage('{FIRST}')")


def test_a_driver_that_is_not_loaded_is_a_fault_and_no_gpu(driver: Driver) -> None:
    """The library is there, the driver is not: said, and everything else goes on."""
    driver.vanish()
    assert said(driver, "devices.gpus()") == ["()", "NVIDIA's driver does not answer: got Driver Not Loaded"]


def test_a_driver_that_goes_away_is_told_by_the_next_question(driver: Driver) -> None:
    """A conversation that began well ends in words."""
    gone = f"__import__('os').unlink('{driver.file}') or devices.usage('{FIRST}')"
    assert [f"error: {FIRST} does not answer: got Driver Not Loaded"] == said(driver, gone)
