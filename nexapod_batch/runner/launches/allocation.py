"""A runner inside a scheduler's job: which launches are its own, and what it was given to run them with.

The backend writes `groups/<id>.json` into the spool before it submits; the scheduler's environment says which element
of the group this is. Today that is Slurm's.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.errors import ConfigError
from nexapod_batch.files import careful
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["TIME_OVER", "Allocation", "given_gpus", "is_over", "load"]

TIME_OVER = signal.SIGUSR2  # what a scheduler's job is sent when its time is nearly over
WARNED_S = 240  # before the end of an allocation; earlier its warning has another reason
#: When this program began, by the only clock that it shares with nobody: this host's may differ from the scheduler's.
_BEGAN = time.monotonic()

#: Where schedulers say which GPUs a job may use; the first that is set counts.
_GIVEN = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")


class Allocation(NamedTuple):
    """What one element of a group has."""

    launches: tuple[str, ...]  # keys, in the order in which they are to be run
    cpus: int
    mem_mib: int
    native_id: str  # what the scheduler calls this element
    host: str  # as the scheduler calls it
    lasts_s: int = 0  # how long it has been given; 0 where the scheduler does not say


def is_over(lasts_s: int) -> bool:
    """Say whether `TIME_OVER` means the end of an allocation's time: it does where nobody says how long that is."""
    return not lasts_s or time.monotonic() - _BEGAN > lasts_s - WARNED_S


def given_gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Return the words by which a scheduler names the GPUs that it gave; () for none of them, None when it is silent.

    As in CUDA an entry that names nothing ends the list.
    """
    for name in _GIVEN:
        if name in environ:
            words = [word.strip() for word in environ[name].split(",")]
            end = next((at for at, word in enumerate(words) if not _names_gpu(word)), len(words))
            return tuple(dict.fromkeys(words[:end]))
    return None


def _names_gpu(word: str) -> bool:
    return word.isdigit() or word.startswith(("GPU-", "MIG-"))


def load(spool: Path, group: str, environ: Mapping[str, str] = os.environ) -> Allocation:
    """Read the group's file and this element's place in it; ConfigError for what cannot be."""
    file = spool / layout.group(group)
    try:
        document: Any = careful.load(file)
        index = int(environ.get("SLURM_ARRAY_TASK_ID", "0"))
        keys = tuple(document["elements"][index])
        cpus, mem_mib = document["cpus"], document["mem_mib"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{file} cannot be used", got=f"{type(error).__name__}: {error}") from error
    _check(file, index, keys, cpus, mem_mib)
    if not environ.get("SLURM_JOB_ID"):
        raise ConfigError(
            "a runner of a group runs inside its Slurm job only", got="no SLURM_JOB_ID",
            hint="sbatch starts it; by hand, or by the shell of a login node, it runs nothing",
        )  # fmt: skip
    start, end = (_seconds(environ, f"SLURM_JOB_{what}_TIME") for what in ("START", "END"))
    job = environ.get("SLURM_ARRAY_JOB_ID") or environ["SLURM_JOB_ID"]
    return Allocation(
        launches=keys,
        cpus=cpus,
        mem_mib=mem_mib,
        native_id=f"{job}_{index}",
        host=environ.get("SLURMD_NODENAME") or os.uname().nodename,
        lasts_s=max(0, end - start) if start else 0,
    )


def _check(file: Path, index: int, keys: tuple[Any, ...], cpus: object, mem_mib: object) -> None:
    """Raise ConfigError for what no coordinator of ours writes."""
    if index < 0 or not all(isinstance(key, str) and layout.is_launch_key(key) for key in keys):
        raise ConfigError(f"{file} names no launches for element {index}")
    if not all(type(count) is int and count > 0 for count in (cpus, mem_mib)):
        raise ConfigError(f"{file} says nothing of CPUs and memory", got=f"{cpus!r} and {mem_mib!r}")


def _seconds(environ: Mapping[str, str], name: str) -> int:
    """Return a time in seconds since 1970, by the scheduler's clock; 0 where it does not say."""
    said = environ.get(name, "")
    if said.isdecimal() and len(said) < 15:
        return int(said)
    return 0
