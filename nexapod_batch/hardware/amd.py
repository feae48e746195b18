"""AMD's GPUs as the kernel shows them in /sys: every one that can compute (kfd), and those that only draw (drm)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import DeviceError
from nexapod_batch.hardware.usage import Process, Usage
from nexapod_batch.model.hardware import Gpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Amd", "installed"]

_MIB = 1 << 20
_VENDOR = "0x1002"


def installed(root: Path = Path("/sys")) -> bool:
    """Say whether the kernel has AMD's driver for computing loaded."""
    return os.path.isdir(root / "class/kfd/kfd/topology/nodes")


class _Card(Struct, frozen=True, kw_only=True):
    gpu: Gpu
    device: Path  # its folder in /sys, where usage is read
    number: str  # kfd's own number of it


class Amd:
    """Reads /sys, or a folder like it."""

    def __init__(self, root: Path = Path("/sys"), kfd: Path = Path("/dev/kfd")) -> None:
        """Remember where to look; DeviceError when there is nothing to look at."""
        self._root, self._kfd = root, kfd
        if not installed(root):
            raise DeviceError("AMD's driver does not answer", got="no /sys/class/kfd", hint="is amdgpu loaded?")
        self._cards = {card.gpu.uuid: card for card in self._found()}

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def gpus(self) -> Iterator[Gpu | DeviceError]:
        """Yield every GPU that can compute."""
        yield from (card.gpu for card in self._cards.values())

    def usage(self, uuid: str) -> Usage:
        """Return how one GPU is used now; DeviceError when it is not there any more."""
        card = self._cards.get(uuid)
        used = None if card is None else _number(card.device / "mem_info_vram_used")
        if card is None or used is None:
            raise DeviceError(f"GPU {uuid} does not answer", got="nothing in /sys", hint="rocm-smi tells more")
        busy = _number(card.device / "gpu_busy_percent")
        return Usage(
            uuid=uuid,
            busy=None if busy is None else float(busy),
            memory_used_mib=used // _MIB,
            memory_mib=card.gpu.memory_mib,
            processes=tuple(self._processes(card)),
        )

    def energy_mj(self, uuid: str) -> int | None:  # noqa: ARG002 - as NVIDIA's
        """Return None: the kernel counts no energy of it."""
        return None

    def watch(self, uuid: str) -> None:
        """Do nothing: what the kernel notes of faults is for root to read."""

    def check(self, uuid: str) -> None:
        """Do nothing likewise."""

    def _processes(self, card: _Card) -> Iterator[Process]:
        folder = self._root / "class/kfd/kfd/proc"
        with suppress(OSError):
            for name in sorted(os.listdir(folder)):
                used = _number(folder / name / f"vram_{card.number}")
                if used and name.isdigit():
                    yield Process(pid=int(name), memory_mib=used // _MIB)

    def _found(self) -> Iterator[_Card]:
        folder = self._root / "class/kfd/kfd/topology/nodes"
        driver = _text(self._root / "module/amdgpu/version") or f"kernel {os.uname().release}"
        why = "" if os.access(self._kfd, os.R_OK | os.W_OK) else f"this account may not open {self._kfd}"
        index = 0
        for name in sorted(os.listdir(folder), key=lambda one: (len(one), one)):
            told = _pairs(folder / name / "properties")
            if not told.get("simd_count") or told.get("vendor_id", int(_VENDOR, 16)) != int(_VENDOR, 16):
                continue  # a CPU
            device = self._root / f"class/drm/renderD{told.get('drm_render_minor', 0)}/device"
            number = _text(folder / name / "gpu_id")
            target = _target(told.get("gfx_target_version", 0))
            memory = _number(device / "mem_info_vram_total")
            unique = told.get("unique_id", 0)
            gpu = Gpu(
                uuid=f"GPU-{unique:016x}" if unique else str(index),  # ROCm takes its number where it has no UUID
                vendor="amd",
                model=_text(device / "product_name") or f"AMD {target}",
                index=str(index),
                memory_mib=(memory or _number_of(folder / name / "mem_banks/0/properties", "size_in_bytes")) // _MIB,
                compute=target,
                driver=driver,
                bus=os.path.basename(os.path.realpath(device)) if device.exists() else "",
                unusable=why,
            )
            yield _Card(gpu=gpu, device=device, number=number)
            index += 1


def _target(version: int) -> str:
    """Return `gfx1100` for 110000, `gfx90a` for 90010."""
    if version:
        return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return ""


def _pairs(file: Path) -> Mapping[str, int]:
    found = {}
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def _number_of(file: Path, name: str) -> int:
    return _pairs(file).get(name, 0)


def _number(file: Path) -> int | None:
    text = _text(file)
    if text.isdigit():
        return int(text)
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
