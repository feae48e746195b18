"""Hardware profiles of machines that are not here."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from nexapod_batch.model.hardware import Cpu, Disk, Gpu, Profile

__all__ = ["gpu", "profile"]

_CPU = Cpu(
    model="AMD Ryzen 9 7950X", vendor="AuthenticAMD", microarchitecture="zen4", cores=16, threads=32, usable=32,
    features=("avx2", "avx512f"),
)  # fmt: skip
_GPU = Gpu(
    uuid="GPU-1", vendor="nvidia", model="NVIDIA GeForce RTX 4090", index="0", memory_mib=24564, compute="8.9",
    driver="550.90.07",
)  # fmt: skip
_PROFILE = Profile(
    taken_ms=1, host="tower", system="linux", release="6.1", distribution="Debian GNU/Linux 12", arch="x86_64", cpu=_CPU,
    memory_mib=64000, disk=Disk(path="/", filesystem="ext4", total_mib=1000000, free_mib=500000),
)  # fmt: skip


def gpu(**changed: Any) -> Gpu:
    """Return an RTX 4090, but for what is named."""
    return replace(_GPU, **changed)


def profile(*, microarchitecture: str = "zen4", **changed: Any) -> Profile:
    """Return a workstation without a GPU, but for what is named."""
    return replace(_PROFILE, cpu=replace(_CPU, microarchitecture=microarchitecture), **changed)
