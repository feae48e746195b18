"""Packing: no launch is lost or doubled, no limit is exceeded, all hosts work, and the same input packs the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nexapod_backends.slurm.jobs.directives import SbatchRequest, directives
from nexapod_backends.slurm.jobs.pack import Geometry, PackedArray, pack, room_for
from strategies import built

from nexapod_batch.errors import SchedulerError
from nexapod_batch.model.job import Resources
from nexapod_batch.model.site import Limits, Pack, Partition, Scheduler, Site

PARTITION = Partition(name="short", hosts=2, max_cpus=8, max_mem_mib=16_000, max_time_s=86_400)
MINUTE = Resources(time_s=60)


def _launches(*replicas: int) -> list[tuple[str, int]]:
    return [(f"k{number}", count) for number, count in enumerate(replicas)]


def _sizes(groups: tuple[PackedArray, ...]) -> list[int]:
    return [element.replicas for group in groups for element in group.elements]


def test_a_thousand_small_tasks_cost_few_jobs() -> None:
    """Elements are as many as keep the hosts busy, equally large, and as wide as a host."""
    (group,) = pack(_launches(*[4] * 250), resources=MINUTE, partition=PARTITION, limits=Limits())
    assert [element.replicas for element in group.elements] == [248, 248, 252, 252]
    rounds = 32  # of 252 replicas, 8 side by side
    assert Geometry(width=8, cpus_per_task=8, time_s=rounds * 60 + 120 + 96) == group.geometry


def test_few_launches_are_spread() -> None:
    """Three launches for many hosts have an element each, and none is wider than it has replicas."""
    partition = replace(PARTITION, hosts=100)
    groups = pack(_launches(1, 1, 10), resources=MINUTE, partition=partition, limits=Limits())
    assert _sizes(groups) == [1, 1, 10]
    assert [group.geometry.width for group in groups] == [1, 8]


@pytest.mark.parametrize(
    "resources", [Resources(), Resources(time_s=60, nodes=2), Resources(time_s=60, ntasks=4), Resources(mem_mib=512)]
)
def test_not_packed(resources: Resources) -> None:
    """A replica of unknown time or of several hosts or ranks has a Slurm job of its own, as it was asked for."""
    partition = replace(PARTITION, max_nodes=2)
    groups = pack(_launches(1, 1, 1), resources=resources, partition=partition, limits=Limits())
    (group,) = groups
    assert [element.keys for element in group.elements] == [("k0",), ("k1",), ("k2",)]
    asked = group.geometry
    assert (resources.nodes, resources.ntasks, resources.cpus_per_task, resources.mem_mib) == (
        asked.nodes,
        asked.ntasks,
        asked.cpus_per_task,
        asked.mem_mib,
    )
    assert (resources.time_s is None) == (asked.time_s is None)


def test_packing_off() -> None:
    """With one task for each Slurm job nothing is packed."""
    limits = Limits(pack=Pack(tasks=1))
    assert _sizes(pack(_launches(*[1] * 20), resources=MINUTE, partition=PARTITION, limits=limits)) == [1] * 20


def test_memory_narrows() -> None:
    """Side by side stand only as many as the host's memory holds; the job asks for all of them."""
    resources = Resources(time_s=60, mem_mib=5_000, cpus_per_task=2)
    (group,) = pack(_launches(30), resources=resources, partition=PARTITION, limits=Limits())
    assert (group.geometry.width, group.geometry.cpus_per_task, group.geometry.mem_mib) == (3, 6, 15_000)


@pytest.mark.parametrize(
    ("gpus", "slots", "width", "asked"),
    [(1, 1, 4, 4), (2, 1, 2, 4), (4, 1, 1, 4), (1, 2, 8, 4), (2, 2, 4, 4), (3, 1, 1, 3), (3, 8, 8, 3)],
)
def test_gpus_narrow(gpus: int, slots: int, width: int, asked: int) -> None:
    """Side by side stand only as many as the host's GPUs allow, and the job asks for what they need."""
    partition = replace(PARTITION, hosts=1, gpus=4, gpu_types=("a100",))
    resources = Resources(time_s=60, gpus=gpus, gpu_type="a100")
    limits = Limits(gpu_slots=slots)
    (group,) = pack(_launches(*[1] * 8), resources=resources, partition=partition, limits=limits)[:1]
    assert (group.geometry.width, group.geometry.gpus, group.geometry.gpu_type) == (width, asked, "a100")


def test_arrays_are_cut() -> None:
    """A group is never larger than an array may be."""
    limits = Limits(max_array=7, pack=Pack(tasks=1))
    groups = pack(_launches(*[1] * 20), resources=MINUTE, partition=PARTITION, limits=limits)
    assert [len(group.elements) for group in groups] == [7, 7, 6]


@pytest.mark.parametrize("time_s", [1, 60, 599, 3_600, 40_000])
def test_warning_comes_after_the_last_replica(time_s: int) -> None:
    """Slurm may warn a minute earlier than it is told to; even then every replica has had its time."""
    (group,) = pack(_launches(1), resources=Resources(time_s=time_s), partition=PARTITION, limits=Limits())
    ask = SbatchRequest(group="g", log="/l", runner=("/r",), geometry=group.geometry)
    (signal,) = [
        one for one in directives(Site(name="s", scheduler=Scheduler(type="slurm")), ask) if one.name == "signal"
    ]
    assert group.geometry.time_s is not None
    assert group.geometry.time_s - int(str(signal.value).removeprefix("B:USR2@")) - 60 >= time_s


def test_time_stays_within_the_partition() -> None:
    """The margin shrinks before the partition's limit is exceeded."""
    resources = Resources(time_s=PARTITION.max_time_s)
    (group,) = pack(_launches(1), resources=resources, partition=PARTITION, limits=Limits())
    assert group.geometry.time_s == 86_400


def test_too_large() -> None:
    """A replica that the partition cannot hold is refused with what is too large."""
    with pytest.raises(SchedulerError, match="cpus_per_task 9"):
        pack(_launches(1), resources=Resources(cpus_per_task=9), partition=PARTITION, limits=Limits())


def test_nothing() -> None:
    """No launches, no Slurm jobs."""
    assert pack([], resources=MINUTE, partition=PARTITION, limits=Limits()) == ()


@given(
    sizes=st.lists(st.integers(1, 64), max_size=60),
    resources=st.builds(
        Resources,
        time_s=st.none() | st.integers(1, 40_000),
        cpus_per_task=st.none() | st.integers(1, 8),
        mem_mib=st.none() | st.integers(1, 16_000),
        nodes=st.none() | st.integers(1, 2),
        ntasks=st.none() | st.integers(1, 4),
    ),
    partition=built(
        Partition,
        name=st.just("p"),
        hosts=st.integers(2, 50),
        max_cpus=st.integers(32, 64),
        max_mem_mib=st.integers(64_000, 128_000),
        max_time_s=st.none() | st.integers(40_000, 90_000),
    ),
    limits=built(
        Limits,
        max_array=st.integers(1, 100),
        pack=st.builds(Pack, tasks=st.integers(1, 3_000), time_s=st.integers(60, 9_000), cpus=st.integers(0, 80)),
    ),
)
def test_packing_holds(sizes: list[int], resources: Resources, partition: Partition, limits: Limits) -> None:
    """Every launch is in one element, in order; the limits hold wherever single launches are small enough."""
    launches = _launches(*sizes)
    groups = pack(launches, resources=resources, partition=partition, limits=limits)
    assert groups == pack(launches, resources=resources, partition=partition, limits=limits)
    elements = [(element, group.geometry) for group in groups for element in group.elements]
    by_key = dict(launches)
    assert sorted(by_key) == sorted(key for element, _ in elements for key in element.keys)
    numbers = [[int(key[1:]) for key in element.keys] for element, _ in elements]
    assert all(own == list(range(own[0], own[-1] + 1)) for own in numbers)  # neighbours stay together, in order
    assert len(elements) >= min(partition.hosts, len(launches))
    room = room_for(resources, partition, limits)
    for element, asked in elements:
        assert element.replicas == sum(by_key[key] for key in element.keys)
        assert asked.width <= element.replicas
        assert (asked.cpus_per_task or 1) * (asked.ntasks or 1) <= partition.max_cpus
        assert (asked.mem_mib or 0) <= partition.max_mem_mib * (asked.nodes or 1)
        if asked.time_s is not None and partition.max_time_s is not None:
            assert asked.time_s <= partition.max_time_s
        if not room.together:
            assert len(element.keys) == 1
            continue
        if limits.pack.cpus:
            assert asked.width * resources.cpus <= max(limits.pack.cpus, resources.cpus)
        if len(element.keys) > 1 or element.replicas <= room.tasks:
            assert resources.time_s is not None
            rounds = -(-element.replicas // asked.width)
            assert element.replicas <= limits.pack.tasks
            assert rounds * resources.time_s <= max(limits.pack.time_s, resources.time_s)
            assert asked.time_s is not None
            assert rounds * resources.time_s <= asked.time_s
    assert all(len(group.elements) <= limits.max_array for group in groups)
