"""The GPUs of local nodes: which their owner offers, and which are out of order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nexapod_batch.errors import UsageError
from nexapod_batch.files import careful
from nexapod_batch.spool import gpu_health, layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.model.hardware import Gpu
    from nexapod_batch.model.job import Resources

__all__ = ["closed", "faults_of", "kinds", "offered", "paused"]

#: For how long a node gets no work for a GPU that was found out of order; then its worker looks again.
AGAIN_S = 300


def offered(wanted: str | None, gpus: Sequence[Gpu], faults: Sequence[str]) -> tuple[Gpu, ...]:
    """Return the GPUs that `wanted` names: `all`, `none`, or indexes and UUIDs with commas; UsageError for others."""
    if wanted in (None, "all"):
        return tuple(gpus)
    words = [] if wanted == "none" else [word.strip() for word in str(wanted).split(",")]
    found: dict[str, Gpu] = {}
    for word in words:
        meant = [gpu for gpu in gpus if word in (gpu.index, gpu.uuid)]
        if not meant:
            raise _no_such_gpu(word, gpus, faults)
        found[meant[0].uuid] = meant[0]
    return tuple(found.values())


def _no_such_gpu(word: str, gpus: Sequence[Gpu], faults: Sequence[str]) -> UsageError:
    """Return the error for a word that names no GPU, with those that there are and why there may be others."""
    there = ", ".join(f"{gpu.index} ({gpu.model})" for gpu in gpus) or "none"
    why = f"; {'; '.join(faults)}" if faults else ""
    return UsageError(
        "--gpus: there is no such GPU", got=repr(word), wanted=f"all, none, or of these: {there}{why}",
        hint="nexapod-batch node profile tells more",
    )  # fmt: skip


def kinds(gpus: Sequence[Gpu]) -> str | None:
    """Return the models of a node's GPUs as the registry keeps them: with commas; None without any."""
    return ",".join(sorted({gpu.model.replace(",", " ") for gpu in gpus})) or None


def faults_of(spool: Path) -> list[str]:
    """Return in words what of a node's GPUs was found out of order last."""
    health = gpu_health.read(spool)
    if health is None:
        return []
    return list(health.faults)


def paused(spool: Path, asked: Resources) -> str:
    """Return why a node may not take a replica that asks for GPUs now, or ""."""
    health = gpu_health.read(spool) if asked.gpus else None
    if health is None or asked.gpus <= health.works:
        return ""
    left = health.at + AGAIN_S - time.time()
    if not 0 < left <= AGAIN_S:
        return ""
    return f"has GPUs out of order ({'; '.join(health.faults)}), tried again in {left:.0f} s"


def closed(spool: Path, asked: Resources) -> str:
    """Return why the owner lets a replica that asks for GPUs have none now, or ""."""
    from nexapod_batch.local_nodes import node_status, owner_policy  # noqa: PLC0415 - for who wants one

    status = node_status.running(spool)
    found = owner_policy.closed_gpus(spool, {} if status is None else status.closed)
    if not found:
        return ""
    try:
        offers = careful.load(spool / layout.NODE_CONFIG)["gpus"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    left = sum(uuid not in found for uuid in offers)
    if asked.gpus <= left:
        return ""
    return f"is not to use all of its GPUs: {'; '.join(sorted(set(found.values())))}"
