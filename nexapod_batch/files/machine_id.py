"""Which machine this is, as kernel and system tell it: one machine with two addresses is not two machines.

Both ids are told as hashes, made for one purpose each: `/etc/machine-id` is not to be shown to others
(machine-id(5)), and who has a node of his own must not learn what another machine would say in a job that is open.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache, lru_cache

from nexapod_batch.trust.statement import Machine

__all__ = ["identity"]

_BOOT = "/proc/sys/kernel/random/boot_id"
_MACHINE = "/etc/machine-id"
_MOST = 256  # bytes of either file that are looked at


@lru_cache(maxsize=64)  # the replicas of a job share it
def identity(job_uuid: str) -> Machine | None:
    """Return what this machine is called in the statements of a job; None where the kernel has no id of its boot."""
    boot, machine, booted_ms = _this()
    if not boot:
        return None
    return Machine(_hash("boot", job_uuid, boot), booted_ms, _hash("machine", job_uuid, machine) if machine else "")


@cache
def _this() -> tuple[str, str, int]:
    """Return both ids, "" for one that is not there, and when this machine was started."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return _read(_BOOT), _read(_MACHINE), max(0, round(booted)) * 1000


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            found = stream.read(_MOST).strip()
    except (OSError, ValueError):
        return ""
    return found if found.strip("-0") and found != "uninitialized" else ""  # not set yet, in an image


def _hash(what: str, job_uuid: str, text: str) -> str:
    return hashlib.sha256(f"nexapod-batch {what} {job_uuid} {text}".encode()).hexdigest()[:32]
