"""Packing: which launches go into one Slurm job, and how large that job is. Pure and deterministic.

One array shares its directives, so a group is one geometry and the elements that fit it. No launch is lost, doubled or
split. A replica is packed with others only when its time is known and it runs on one host as one task. The limits of
`[limits.pack]` and of the partition hold for every element whose launches are small enough to keep them; a single
launch that is larger than they allow has an element of its own, and the partition's longest time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_backends.slurm.jobs.pack_limits import BARE, SINGLE, UNBOUNDED
from nexapod_batch.errors import SchedulerError
from nexapod_batch.model.fit import excesses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.model.job import Resources
    from nexapod_batch.model.site import Limits, Partition

__all__ = ["Element", "Geometry", "PackedArray", "Room", "has_spare_time", "pack", "packed_time", "room_for"]

#: What a Slurm job gets beyond the time of its replicas: Slurm warns up to a minute earlier than it was told to, and
#: is told to warn up to a minute before the end; until then every replica must have had its time.
MARGIN_S = 120
MARGIN_SHARE = 20  # and one twentieth, for the start of the runner, staging and hashing


class Geometry(Struct, frozen=True, kw_only=True):
    """What one Slurm job asks for; None and 0 are not asked for."""

    width: int = 1  # replicas side by side
    nodes: int | None = None
    ntasks: int | None = None
    cpus_per_task: int | None = None
    mem_mib: int | None = None  # of the whole job
    time_s: int | None = None
    gpus: int = 0  # of the whole job
    gpu_type: str | None = None


class Element(Struct, frozen=True, kw_only=True):
    """One Slurm job (one element of an array): the launches that its runner takes, in order."""

    keys: tuple[str, ...]
    replicas: int


class PackedArray(Struct, frozen=True, kw_only=True):
    """One call of sbatch."""

    geometry: Geometry
    elements: tuple[Element, ...]


class Room(Struct, frozen=True, kw_only=True):
    """What one Slurm job can hold."""

    width: int  # replicas side by side
    rounds: int  # one after the other
    tasks: int  # replicas in all; a launch that is larger keeps no limit
    together: bool  # whether several launches may share it


def room_for(resources: Resources, partition: Partition, limits: Limits, max_replicas: int = UNBOUNDED) -> Room:
    """Return how much of such replicas one Slurm job may hold, no more than `max_replicas` of them."""
    time_s, pack = resources.time_s, limits.pack
    several = (resources.nodes or 1) > 1 or (resources.ntasks or 1) > 1
    if max_replicas <= SINGLE or time_s is None or several:
        return Room(width=1, rounds=1, tasks=1, together=False)
    tasks = min(pack.tasks, max_replicas)
    width = min(_width(resources, partition, limits), tasks)
    rounds = max(1, pack.time_s // time_s)
    if partition.max_time_s is not None:
        rounds_there = (partition.max_time_s - MARGIN_S) * MARGIN_SHARE // (MARGIN_SHARE + 1) // time_s
        rounds = max(1, min(rounds, rounds_there))
    return Room(width=width, rounds=rounds, tasks=min(width * rounds, tasks), together=tasks > 1)


def _width(resources: Resources, partition: Partition, limits: Limits) -> int:
    """Return how many of such replicas a host has room for side by side; at least one."""
    pack = limits.pack
    cpus = min(pack.cpus, partition.max_cpus) if pack.cpus else partition.max_cpus
    width = cpus // resources.cpus
    if resources.mem_mib:
        width = min(width, partition.max_mem_mib // resources.mem_mib)
    if resources.gpus:  # its runner gives each replica its own of what the job has
        width = min(width, partition.gpus * limits.gpu_slots // resources.gpus)
    return max(1, width)


def pack(
    launches: Sequence[tuple[str, int]],
    *,
    resources: Resources,
    partition: Partition,
    limits: Limits,
    max_replicas: int = UNBOUNDED,
) -> tuple[PackedArray, ...]:
    """Return the calls of sbatch for launches (key, replicas) of one job.

    Args:
        launches: In the order in which they are to run.
        resources: Of one replica.
        partition: Where they run.
        limits: Those of the site.
        max_replicas: That one Slurm job may hold; `BARE`: one, and no time to spare.

    Raises:
        SchedulerError: The partition is too small for one replica.

    """
    _check(resources, partition)
    room = room_for(resources, partition, limits, max_replicas)
    spare = max_replicas > BARE
    elements = list(_elements(launches, room, partition.hosts))
    by_width: dict[int, list[Element]] = {}
    for element in elements:
        by_width.setdefault(max(1, min(room.width, element.replicas)), []).append(element)
    groups: list[PackedArray] = []
    for width, alike in by_width.items():
        rounds = max(-(-element.replicas // width) for element in alike)
        geometry = _geometry(resources, partition, width=width, rounds=rounds, slots=limits.gpu_slots, spare=spare)
        groups += (
            PackedArray(geometry=geometry, elements=tuple(alike[start : start + limits.max_array]))
            for start in range(0, len(alike), limits.max_array)
        )
    return tuple(groups)


def packed_time(time_s: int, partition: Partition) -> int:
    """Return how long a Slurm job is whose replicas take so many seconds one after the other."""
    time_s += MARGIN_S + -(-time_s // MARGIN_SHARE)
    return time_s if partition.max_time_s is None else min(time_s, partition.max_time_s)


def has_spare_time(array: PackedArray, resources: Resources) -> bool:
    """Say whether the Slurm jobs of an array ask for more time than one replica does."""
    return (array.geometry.time_s or 0) > (resources.time_s or 0)


def _check(resources: Resources, partition: Partition) -> None:
    """Refuse a replica that is larger than the partition."""
    over = excesses(partition, resources)
    if over:
        raise SchedulerError(
            f"partition {partition.name} is too small for one replica",
            got=", ".join(f"{one.key} {one.got}" for one in over),
            wanted=", ".join(f"at most {one.limit}" if isinstance(one.limit, int) else one.limit for one in over),
            hint="choose another partition, or ask for less",
        )


def _elements(launches: Sequence[tuple[str, int]], room: Room, hosts: int) -> Iterator[Element]:
    """Share the launches out, in order: as many elements as keep all hosts busy, none above its room."""
    if not room.together:
        yield from (Element(keys=(key,), replicas=replicas) for key, replicas in launches)
        return
    left = sum(number for _, number in launches)
    hosts = max(1, hosts)
    wanted = -(-left // room.tasks)
    wanted = min(len(launches), -(-wanted // hosts) * hosts)  # a multiple of the hosts, so that they end together
    share = _share(left, wanted, room)
    keys: list[str] = []
    held = 0
    for position, (key, number) in enumerate(launches):
        if keys and (held + number > share or len(launches) - position < wanted):
            yield Element(keys=tuple(keys), replicas=held)
            left, wanted, keys, held = left - held, wanted - 1, [], 0
            share = _share(left, wanted, room)
        keys.append(key)
        held += number
    if keys:
        yield Element(keys=tuple(keys), replicas=held)


def _share(replicas: int, elements: int, room: Room) -> int:
    """Return how many replicas the next of so many elements takes."""
    return min(room.tasks, -(-replicas // max(1, elements)))


def _geometry(
    resources: Resources, partition: Partition, *, width: int, rounds: int, slots: int, spare: bool
) -> Geometry:
    """Return what a Slurm job of so many replicas side by side and one after the other asks for."""
    time_s = resources.time_s
    if time_s is not None:
        time_s = packed_time(rounds * time_s, partition) if spare else rounds * time_s
    cpus = resources.cpus_per_task
    return Geometry(
        width=width,
        nodes=resources.nodes,
        ntasks=resources.ntasks,
        cpus_per_task=cpus if width == 1 else width * (cpus or 1),
        mem_mib=None if resources.mem_mib is None else width * resources.mem_mib,
        time_s=time_s,
        gpus=max(resources.gpus, -(-width * resources.gpus // slots)),
        gpu_type=resources.gpu_type,
    )
