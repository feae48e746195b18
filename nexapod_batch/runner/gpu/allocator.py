"""A node's GPUs as the worker hands them out: which there are, who has them, which are out of order.

Guarantees:

* a replica gets as many distinct GPUs as it asked for, and a GPU has no more replicas than `slots` of the node say;
* a GPU that another node of this account on this machine gave away is not given away again: every slot is a lock
  (flock), which the worker and the executor hold together, so that it is free when both have let go of it, however
  they ended;
* of what a scheduler gave a job never more is used;
* a GPU that does not answer gets nothing until it answers again.

The worker never talks to a driver itself: one that hangs must not make it hang, and executors are forked from it. A
child looks and tells (`probe.py`).
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.files.machine_locks import take_lock
from nexapod_batch.model.hardware import Gpu, is_gpu_type
from nexapod_batch.runner.gpu.probe import Look, Seen
from nexapod_batch.spool import gpu_health
from nexapod_batch.spool.gpu_health import GpuHealth

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.model.job import Resources

__all__ = ["GpuAllocator", "Grant", "resolve"]

HEAL_S = 30.0  # between two looks at what is out of order
_TRIES = 3


class _Slot(NamedTuple):
    gpu: Gpu
    number: int
    fd: int  # of its lock; -1 where there is none


class Grant(NamedTuple):
    """GPUs that one replica has, or several short ones in a row."""

    slots: tuple[_Slot, ...] = ()
    exclusive: bool = True  # nobody else of ours may have them meanwhile

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs."""
        return tuple(slot.gpu for slot in self.slots)

    @property
    def uuids(self) -> tuple[str, ...]:
        """Their UUIDs."""
        return tuple(slot.gpu.uuid for slot in self.slots)

    def document(self) -> list[Any]:
        """Return what an executor must know: [exclusive, [uuid, vendor, model, whether a driver tells of it], ...]."""
        return [self.exclusive, *([gpu.uuid, gpu.vendor, gpu.model, bool(gpu.driver)] for gpu in self.gpus)]

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors of the locks: whoever has one holds the GPU."""
        return tuple(slot.fd for slot in self.slots if slot.fd >= 0)


def resolve(tokens: Sequence[str], seen: Seen, *, trusted: bool) -> tuple[Gpu, ...]:
    """Return the GPUs that words of CUDA_VISIBLE_DEVICES mean: indexes, UUIDs or their beginnings.

    Unknown words are left out; `trusted` ones stand for themselves where there is no driver to ask.
    """
    found: dict[str, Gpu] = {}
    for token in tokens:
        if trusted and not seen.gpus and not seen.faults:
            found[token] = Gpu(uuid=token, vendor="nvidia", model="", index=token, memory_mib=0)
            continue
        meant = (gpu for gpu in seen.gpus if token == gpu.index or (not token.isdigit() and gpu.uuid.startswith(token)))
        for gpu in meant:
            found[gpu.uuid] = gpu
            break
    return tuple(found.values())


class GpuAllocator:
    """The GPUs of one worker; nothing is looked at before `mind` is called."""

    def __init__(
        self,
        *,
        slots: int = 1,
        only: tuple[str, ...] | None = None,
        given: bool = False,
        alone: bool = False,
        record: Path | None = None,
    ) -> None:
        """Remember what may be used: the GPUs that `only` names, as CUDA_VISIBLE_DEVICES does; with None all there are.

        `given`: a scheduler named them; `alone`: and gave them to this worker only, so that no lock is needed. What is
        out of order is told in the spool `record`, for whoever places replicas.
        """
        self._slots, self._only, self._given, self._alone, self._record = slots, only, given, alone, record
        self._gpus: dict[str, Gpu] = {}  # every one that ever answered and may be used, by UUID
        self._taken: dict[str, set[int]] = {}  # UUID -> numbers of the slots that are out
        self._bad: dict[str, str] = {}  # UUID -> why it gets nothing
        self._grants: set[Grant] = set()
        self._look: Look | None = None
        self._died = 0  # looks in a row
        self._next: float | None = 0.0  # when to look; None: not before something is found to be out of order
        self.faults: tuple[str, ...] = ()  # what is out of order, in words
        self.known = False  # it was looked at

    @property
    def names(self) -> Mapping[str, str]:
        """What people call each GPU, by UUID."""
        return {uuid: f"GPU {gpu.index}" for uuid, gpu in self._gpus.items()}

    def mind(self) -> None:
        """Look at the GPUs when that is due; to be called again and again once a GPU was asked for."""
        now = time.monotonic()
        if self._look is not None:
            seen = self._look.answer(now)
            if seen is None:
                return
            self._died = self._died + 1 if self._look.died else 0
            self._look = None
            if not 0 < self._died < _TRIES:
                self._hear(seen, now)
        elif self._next is not None and now >= self._next:
            self._look = Look(now)

    def need(self, asked: Resources) -> int:
        """Return how many GPUs of this machine a replica needs; one of several hosts has all that it was given here."""
        if asked.gpus and self._alone and (asked.nodes or 1) > 1:
            return max(1, len(self._gpus))
        return asked.gpus

    def never(self, asked: Resources) -> str:
        """Return why a replica cannot run here as things are; "" when it can, or when nobody knows yet."""
        count = self.need(asked)
        if not self.known or len(self._fitting(asked)) >= count:
            return ""
        there = ", ".join(_shown(gpu) for gpu in self._gpus.values() if gpu.uuid not in self._bad and not gpu.unusable)
        words = f"{count} GPU{'s' * (count != 1)}{_kind(asked)} wanted, there is {there or 'none that works'}"
        unusable = [f"GPU {gpu.index}: {gpu.unusable}" for gpu in self._gpus.values() if gpu.unusable]
        return "; ".join([words, *self.faults, *unusable])

    def offer(self, asked: Resources, closed: Container[str]) -> Grant | None:
        """Take GPUs for a replica, none that is `closed`; None when it has to wait."""
        count = self.need(asked)
        able = [gpu for gpu in self._fitting(asked) if gpu.uuid not in closed and self._out(gpu) < self._slots]
        if not self.known or len(able) < count:
            return None
        taken: list[_Slot] = []
        for gpu in sorted(able, key=self._out):
            slot = self._take(gpu)
            if slot is not None:
                taken.append(slot)
            if len(taken) == count:
                break
        grant = Grant(tuple(taken), exclusive=self._slots == 1)
        self._grants.add(grant)
        if len(taken) == count:
            return grant
        self.free(grant)
        return None

    def free(self, grant: Grant) -> None:
        """Take GPUs back."""
        self._grants.discard(grant)
        for gpu, number, fd in grant.slots:
            self._taken[gpu.uuid].discard(number)
            if fd >= 0:
                os.close(fd)

    def lose(self, faults: Mapping[str, str]) -> None:
        """Take note which GPUs do not answer, and why; they get nothing before a later look finds them in order."""
        self._bad.update(faults)
        self._next = time.monotonic() + HEAL_S
        self._tell(tuple(faults.values()))

    def forget(self) -> None:
        """Let go of everything, in a process that was forked from the worker."""
        for grant in self._grants:
            for fd in grant.fds:
                os.close(fd)

    def _fitting(self, asked: Resources) -> list[Gpu]:
        return [
            gpu
            for gpu in self._gpus.values()
            if gpu.uuid not in self._bad and not gpu.unusable and _suits(gpu, asked)
        ]

    def _out(self, gpu: Gpu) -> int:
        return len(self._taken.get(gpu.uuid, ()))

    def _take(self, gpu: Gpu) -> _Slot | None:
        """Take the first free slot of a GPU; None when others have all of them."""
        out = self._taken.setdefault(gpu.uuid, set())
        for number in range(self._slots):
            if number in out:
                continue
            fd = -1 if self._alone else _lock(gpu.uuid, number)
            if self._alone or fd >= 0:
                out.add(number)
                return _Slot(gpu, number, fd)
        return None

    def _hear(self, seen: Seen, now: float) -> None:
        """Take in what a look found: who answers is in order again, who did and does not is not."""
        found = seen.gpus if self._only is None else resolve(self._only, seen, trusted=self._given)
        mine = {gpu.uuid: gpu for gpu in found}
        gone = self._gone(mine)
        words = self._faults(seen, mine, gone)
        self._gpus.update(mine)
        self._bad = dict.fromkeys(gone, words[0]) if gone else {}
        self._next = now + HEAL_S if words else None
        self.known = True
        self._tell(tuple(words))

    def _gone(self, mine: Mapping[str, Gpu]) -> dict[str, str]:
        """Return what people call the GPUs that answered once, or were named by the owner, and do not answer."""
        gone = {uuid: _shown(gpu) for uuid, gpu in self._gpus.items() if uuid not in mine}
        if self._only is not None and not self._given:  # what its owner named and what never answered
            met = [*mine, *gone]
            gone.update({name: name for name in self._only if not any(uuid.startswith(name) for uuid in met)})
        return gone

    def _faults(self, seen: Seen, mine: Mapping[str, Gpu], gone: Mapping[str, str]) -> list[str]:
        """Return in words what is out of order; faults of GPUs that are not ours are none."""
        words: list[str] = []
        if gone or not mine or self._only is None:
            words += seen.faults
        if not words:
            words += [f"{name} is not there any more" for name in gone.values()]
        if not mine and not words:
            words.append("no GPU is there" if self._only is None else "no GPU was given to it")
        return words

    def _tell(self, line: tuple[str, ...]) -> None:
        """Keep what is out of order, and leave it where the coordinator finds it."""
        self.faults = line
        if self._record is not None:
            good = [gpu for uuid, gpu in self._gpus.items() if uuid not in self._bad and not gpu.unusable]
            gpu_health.write(self._record, GpuHealth(line, works=len(good) * self._slots))


def _kind(asked: Resources) -> str:
    kind = f" of type {asked.gpu_type}" if asked.gpu_type else ""
    return kind + (f" with {asked.gpu_mem_mib} MiB" if asked.gpu_mem_mib else "")


def _suits(gpu: Gpu, asked: Resources) -> bool:
    if not gpu.model:  # no driver tells; the scheduler that gave it knew what was asked for
        return True
    if asked.gpu_type and not is_gpu_type(asked.gpu_type, gpu.model):
        return False
    return gpu.memory_mib is None or gpu.memory_mib >= (asked.gpu_mem_mib or 0)


def _lock(uuid: str, number: int) -> int:
    """Lock a slot; return the descriptor that holds it, -1 when somebody else does."""
    return take_lock(f"{re.sub(r'[^A-Za-z0-9_-]', '_', uuid)[:100]}.{number}")


def _shown(gpu: Gpu) -> str:
    memory = "memory unknown" if gpu.memory_mib is None else f"{gpu.memory_mib} MiB"
    return f"GPU {gpu.index} ({gpu.model}, {memory})"
