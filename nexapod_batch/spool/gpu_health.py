"""Which GPUs of a node are out of order: `gpus.json` in the spool, there only as long as some are.

A notice of the worker's, for whoever places replicas; nothing depends on it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.files import atomic, careful
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GpuHealth", "read", "write"]

_SCHEMA = 1


class GpuHealth(NamedTuple):
    """What a worker found when it last looked."""

    faults: tuple[str, ...]  # what is out of order, for people; never empty in a file
    works: int  # replicas that the others can take
    at: int = 0  # when: seconds since 1970


def write(spool: Path, health: GpuHealth) -> None:
    """Leave word of what is out of order now; without faults take it away. A full disk is passed over."""
    file = spool / layout.GPU_HEALTH
    with suppress(OSError):
        if not health.faults:
            file.unlink(missing_ok=True)
            return
        document = {"schema": _SCHEMA, "at": round(time.time()), "faults": health.faults, "works": health.works}
        atomic.write(file, orjson.dumps(document) + b"\n", mode=0o600, durable=False)


def read(spool: Path) -> GpuHealth | None:
    """Return what the worker wrote; None for nothing, or for what nobody can read."""
    try:
        document: Any = careful.load(spool / layout.GPU_HEALTH)
        return GpuHealth(tuple(map(str, document["faults"])), int(document["works"]), int(document["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
