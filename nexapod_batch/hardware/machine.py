"""The hardware profile of this machine, taken from what its kernel, its drivers and its programs say.

Nothing fails because a part does not answer: what it would have told is left out and said beside the profile.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

from nexapod_batch.files.answers import Question
from nexapod_batch.files.filesystem_type import filesystem_of
from nexapod_batch.hardware.devices import Devices
from nexapod_batch.model.hardware import Benchmark, Cpu, Disk, Gpu, Profile, Program

__all__ = ["gpus", "memory_mib", "take", "usable_cpus"]

_MIB = 1 << 20
_CONTAINERS = ("apptainer", "singularity")
#: Seconds that a container program may take to say its version, and bytes that this may have.
_PATIENCE_S, _MAX_ANSWER = 20, 1 << 20


def take(folder: Path, benchmark: Benchmark | None = None) -> tuple[Profile, list[str]]:
    """Return the profile, with the disk of `folder` (which need not exist), and in words what did not answer."""
    asked = [(name, path, _ask(path)) for name, path in _container_programs()]  # they answer while the rest is read
    found, faults = gpus()
    kernel = os.uname()
    profile = Profile(
        taken_ms=int(time.time() * 1000),
        host=socket.gethostname(),
        system=kernel.sysname.lower(),
        release=kernel.release,
        distribution=_distribution(),
        arch=kernel.machine,
        cpu=_cpu(),
        memory_mib=memory_mib(),
        disk=_disk(folder),
        gpus=found,
        containers=tuple(_program(name, path, process) for name, path, process in asked),
        benchmark=benchmark,
    )
    return profile, faults


def usable_cpus() -> int:
    """Return how many processors this account may use."""
    return len(os.sched_getaffinity(0))


def memory_mib() -> int:
    """Return the memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB


def gpus() -> tuple[tuple[Gpu, ...], list[str]]:
    """Return the GPUs of the machine, and in words what did not answer."""
    devices = Devices()
    try:
        return devices.gpus(), [str(fault) for fault in devices.faults]
    finally:
        devices.close()


def _cpu() -> Cpu:
    import archspec.cpu  # noqa: PLC0415 - 30 ms that only a profile needs

    host = archspec.cpu.host()
    threads = os.cpu_count() or 1
    said = _first("/proc/cpuinfo", r"^(?:model name|Model|cpu model)\s*:\s*(.+)$")
    return Cpu(
        model=_plain(said or f"{host.vendor} {host.name}"),
        vendor=_plain(host.vendor),
        microarchitecture=host.name,
        cores=_cores() or threads,
        threads=threads,
        usable=usable_cpus(),
        features=tuple(sorted(map(_plain, host.features))),
    )


def _cores() -> int:
    """Return the number of physical cores, 0 where the kernel does not say: threads of one share a list of siblings."""
    found = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"):
        try:
            found.add(path.read_text())
        except OSError:  # it was just switched off
            continue
    return len(found)


def _disk(folder: Path) -> Disk:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Disk(
        path=_plain(str(folder)),
        filesystem=filesystem_of(folder)[0],
        total_mib=usage.total // _MIB,
        free_mib=usage.free // _MIB,
    )


def _distribution() -> str:
    try:
        return _plain(platform.freedesktop_os_release().get("PRETTY_NAME", ""))
    except OSError:
        return ""


def _container_programs() -> list[tuple[str, str]]:
    """Return (name, path) of what runs containers; Debian's `singularity` is another name of `apptainer`."""
    found: dict[str, tuple[str, str]] = {}
    for name in _CONTAINERS:
        path = shutil.which(name)
        if path is not None:
            found.setdefault(os.path.realpath(path), (name, os.path.abspath(path)))
    return list(found.values())


def _ask(path: str) -> Question | None:
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/proc/none", "LC_ALL": "C"}
    try:
        return Question([path, "--version"], env=env, max_bytes=_MAX_ANSWER)
    except OSError:
        return None


def _program(name: str, path: str, asked: Question | None) -> Program:
    """Return what a program said of itself, as in `apptainer version 1.4.5`."""
    said = ""
    if asked is not None:
        with suppress(OSError):
            said = asked.answer(_PATIENCE_S).stdout.decode("utf-8", "replace")
    version = re.search(r"\d+\.\d\S*", said)
    return Program(name=name, path=_plain(path), version=_plain(version[0])[:100] if version else "")


def _first(file: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(file).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return ""
    if found:
        return found[1].strip()
    return ""


def _plain(text: str) -> str:
    """Return text that may be signed and shown: a path may hold anything."""
    return "".join(char if char.isprintable() else "?" for char in text)[:4096]
