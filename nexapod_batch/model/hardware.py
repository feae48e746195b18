"""What a machine is made of, as its own system tells: the hardware profile of a node, and what follows from it. Pure.

Numeric classes, the tier that is suggested, and whether two profiles are of the same machine are functions of the
profile alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.model.job import NumericClass, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "Benchmark",
    "Cpu",
    "Disk",
    "Gpu",
    "Offer",
    "Profile",
    "Program",
    "changes",
    "classes_of",
    "is_gpu_type",
    "model_word",
    "tier_of",
]

#: Words of a GPU's name that make it another chip than the name before them.
_VARIANTS = frozenset({"ti", "super", "d", "xt", "xtx", "gre", "laptop", "mobile", "max", "mig"})
#: Two profiles may differ by this share of the memory: a kernel keeps more or less for itself.
_MEMORY_SLACK = 0.03


class Gpu(Struct, frozen=True, kw_only=True):
    """A GPU, or an instance of one that was divided (MIG)."""

    uuid: str  # as its driver spells it, and as CUDA_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES take it
    vendor: str  # nvidia | amd
    model: str  # as its driver calls it
    index: str  # as people call it: "0", "0:1" for an instance
    memory_mib: int | None  # None: its driver does not tell
    compute: str = ""  # CUDA's compute capability ("8.9") or AMD's target ("gfx1100")
    driver: str = ""  # its version
    bus: str = ""  # PCI address
    mig: str = ""  # on | off; "" where it cannot be divided
    parent: str = ""  # of an instance: UUID of the GPU
    unusable: str = ""  # why no replica can have it; "" when one can


class Cpu(Struct, frozen=True, kw_only=True):
    """The processors of a machine."""

    model: str  # as the processor calls itself
    vendor: str
    microarchitecture: str  # by archspec's name, as Spack and EasyBuild use it
    cores: int  # physical ones
    threads: int  # that the kernel sees
    usable: int  # of these, that this account may use
    features: tuple[str, ...]  # instruction sets, sorted


class Disk(Struct, frozen=True, kw_only=True):
    """The file system of the work folders."""

    path: str
    filesystem: str
    total_mib: int
    free_mib: int


class Program(Struct, frozen=True, kw_only=True):
    """A program that runs containers."""

    name: str
    path: str
    version: str  # "" where it does not say


class Benchmark(Struct, frozen=True, kw_only=True):
    """What was measured in a few seconds: a yardstick between nodes, not what the machine can do at its best."""

    scalar_mflops: float  # one process: multiplications of doubles, one after another, in a loop in C
    scalar_all_mflops: float  # a process for each usable CPU, together
    copy_gib_s: float  # one process: bytes copied between two buffers larger than a cache
    copy_all_gib_s: float  # a process for each usable CPU, together
    matmul_gflops: float | None = None  # numpy's matrix product with all threads; None without numpy
    matmul_by: str = ""  # numpy and its version


class Profile(Struct, frozen=True, kw_only=True):
    """The hardware profile of a machine."""

    taken_ms: int  # milliseconds since 1970
    host: str
    system: str  # linux
    release: str  # of the kernel
    distribution: str
    arch: str  # x86_64
    cpu: Cpu
    memory_mib: int
    disk: Disk
    gpus: tuple[Gpu, ...] = ()
    containers: tuple[Program, ...] = ()
    benchmark: Benchmark | None = None

    @property
    def devices(self) -> tuple[Gpu, ...]:
        """The GPUs and instances that a replica can have."""
        return tuple(gpu for gpu in self.gpus if not gpu.unusable)


class Offer(Struct, frozen=True, kw_only=True):
    """What a node offers of its machine, as the node signed it when it was registered."""

    profile: Profile
    gpus: tuple[str, ...] = ()  # UUIDs of the GPUs that replicas can have

    @property
    def devices(self) -> tuple[Gpu, ...]:
        """The GPUs that replicas can have."""
        return tuple(gpu for gpu in self.profile.devices if gpu.uuid in self.gpus)

    @property
    def classes(self) -> dict[str, str]:
        """The numeric classes that follow."""
        return classes_of(self.profile, self.devices)

    @property
    def speed(self) -> float:
        """What one of its CPUs did in the benchmark while all were busy, in Mflop/s; 0 where it was not measured."""
        mark = self.profile.benchmark
        if mark:
            return mark.scalar_all_mflops / max(1, self.profile.cpu.usable)
        return 0.0


def tier_of(gpus: Sequence[Gpu], *, cluster: bool = False) -> Tier:
    """Return the tier to suggest: `hpc` for a machine of a cluster, which a site file registers, else by its GPUs."""
    if cluster:
        return Tier.HPC
    if gpus:
        return Tier.CONSUMER_GPU
    return Tier.CPU


def classes_of(profile: Profile, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return the numeric classes of a node on this machine that offers these GPUs.

    With GPUs of several models a replica may get any of them: the class names all, and only a node with the same
    mixture shares it.
    """
    os_arch = f"{profile.system}-{profile.arch}"
    model = "+".join(sorted({model_word(gpu.model) for gpu in gpus})) or "none"
    return {
        NumericClass.OS_ARCH.value: os_arch,
        NumericClass.CPU_MICROARCH.value: profile.cpu.microarchitecture,
        NumericClass.GPU_MODEL.value: model,
        NumericClass.NODE_CLASS.value: f"{os_arch}/{profile.cpu.microarchitecture}/{model}",
    }


def model_word(model: str) -> str:
    """Return a GPU's model as one word: `NVIDIA GeForce RTX 4090` is `geforce-rtx-4090`."""
    return "-".join(_words(model)) or "unknown"


def is_gpu_type(wanted: str, model: str) -> bool:
    """Say whether a GPU is of the type that a job asks for.

    `rtx4090`, `rtx-4090` and `4090` all mean a GeForce RTX 4090, but `4070` means no RTX 4070 Ti, and `a10` no A100.
    """
    words, asked = _words(model), "".join(_words(wanted))
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            if "".join(words[first:last]) == asked and not (last < len(words) and words[last] in _VARIANTS):
                return True
    return False


def _words(model: str) -> list[str]:
    words = re.findall(r"[a-z0-9]+", model.lower())
    if words[:1] in (["nvidia"], ["amd"]):
        return words[1:]
    return words


def changes(old: Profile, new: Profile) -> list[str]:
    """Return in words what is another machine than it was; what comes and goes by itself (free disk) is left out."""
    found = [
        f"{what}: was {before}, is {after}"
        for what, before, after in (
            ("architecture", f"{old.system}-{old.arch}", f"{new.system}-{new.arch}"),
            ("CPU", old.cpu.model, new.cpu.model),
            ("CPU micro-architecture", old.cpu.microarchitecture, new.cpu.microarchitecture),
            ("CPU cores", old.cpu.cores, new.cpu.cores),
            ("CPU threads", old.cpu.threads, new.cpu.threads),
        )
        if before != after
    ]
    if abs(old.memory_mib - new.memory_mib) > _MEMORY_SLACK * old.memory_mib:
        found.append(f"memory: was {old.memory_mib} MiB, is {new.memory_mib} MiB")
    return [*found, *_gpu_changes(_by_uuid(old), _by_uuid(new))]


def _by_uuid(profile: Profile) -> dict[str, Gpu]:
    return {gpu.uuid: gpu for gpu in profile.gpus}


def _gpu_changes(old: Mapping[str, Gpu], new: Mapping[str, Gpu]) -> Iterator[str]:
    yield from (f"GPU {gpu.index} ({gpu.model}, {uuid}) is gone" for uuid, gpu in old.items() if uuid not in new)
    yield from (f"GPU {gpu.index} ({gpu.model}, {uuid}) is new" for uuid, gpu in new.items() if uuid not in old)
    for uuid in old.keys() & new.keys():
        for what in ("model", "driver", "mig", "unusable"):
            before, after = getattr(old[uuid], what), getattr(new[uuid], what)
            if before != after:
                yield f"GPU {new[uuid].index} ({uuid}): {what} was {before or 'nothing'}, is {after or 'nothing'}"
