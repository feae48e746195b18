"""How many replicas a Slurm job may hold after one was too large: half of them, until whoever is to blame is alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.jobs.pack import pack, room_for
from nexapod_backends.slurm.jobs.pack_limits import BARE, SINGLE, UNBOUNDED, PackLimits, fewer, shape_of
from nexapod_backends.slurm.queue.submission_records import Group

from nexapod_batch.model.job import Resources
from nexapod_batch.model.site import Limits, Pack, Partition

if TYPE_CHECKING:
    from pathlib import Path

T0, DAY = 1_000_000.0, 86_400.0
MINUTE = Resources(time_s=60)
SHAPE = shape_of("a/q/p", MINUTE)
HOST = Partition(name="p", hosts=1, max_cpus=8, max_mem_mib=16_000, max_time_s=86_400)


@pytest.fixture
def limits(tmp_path: Path) -> PackLimits:
    """Return limits of which nothing was learnt."""
    return PackLimits(tmp_path / "site" / "pack.json")


@pytest.mark.parametrize(
    ("size", "steps"),
    [(1, [0]), (2, [1, 0]), (3, [1, 0]), (6, [3, 1, 0]), (64, [32, 16, 8, 4, 2, 1, 0]), (1_000, [500, 250, 125, 62, 31, 15, 7, 3, 1, 0])],
)
def test_each_failure_halves_it(limits: PackLimits, size: int, steps: list[int]) -> None:
    """In as many steps as the size can be halved, and one more for the minutes beside a replica's own."""
    seen = []
    while size:
        size = fewer(size)
        assert limits.learn(SHAPE, size, T0)
        seen.append(limits.max_replicas(SHAPE, T0))
    assert seen == steps


@pytest.mark.parametrize("replicas", [2, 5, 8, 64, 300])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_the_culprit_is_alone_after_few_launches(limits: PackLimits, replicas: int, where: str) -> None:
    """Whoever ends each Slurm job that it is in takes the others with it ever fewer times; then they are all done."""
    culprit = {"first": 0, "middle": replicas // 2, "last": replicas - 1}[where]
    left, rounds, lost = list(range(replicas)), 0, dict.fromkeys(range(replicas), 0)
    while left != [culprit]:
        rounds += 1
        most = limits.max_replicas(SHAPE, T0)
        for array in pack([(str(one), 1) for one in left], resources=MINUTE, partition=HOST, limits=Limits(), max_replicas=most):
            for element in array.elements:
                members = {int(key) for key in element.keys}
                if culprit not in members:
                    left = [one for one in left if one not in members]
                    continue
                for one in members:
                    lost[one] += 1
                limits.learn(SHAPE, fewer(element.replicas), T0)
        assert rounds <= replicas.bit_length() + 1
    assert max(lost.values()) <= replicas.bit_length() + 1


@pytest.mark.parametrize(("max_replicas", "width", "rounds", "tasks"), [
    (UNBOUNDED, 8, 60, 480), (64, 8, 60, 64), (32, 8, 60, 32), (8, 8, 60, 8), (7, 7, 60, 7), (2, 2, 60, 2), (SINGLE, 1, 1, 1), (BARE, 1, 1, 1),
])  # fmt: skip
def test_the_room_is_no_larger(max_replicas: int, width: int, rounds: int, tasks: int) -> None:
    """Rounds go first, then width."""
    limits = Limits(pack=Pack(tasks=480, time_s=3_600))
    room = room_for(MINUTE, HOST, limits, max_replicas)
    assert (room.width, room.rounds, room.tasks, room.together) == (width, rounds, tasks, tasks > 1)


def test_only_a_bare_replica_has_no_spare_time() -> None:
    """One that is alone keeps the minutes in which a runner can say that its time was over."""
    times = {
        most: pack([("k", 1)], resources=MINUTE, partition=HOST, limits=Limits(), max_replicas=most)[0].geometry.time_s
        for most in (UNBOUNDED, SINGLE, BARE)
    }
    assert times == {UNBOUNDED: 183, SINGLE: 183, BARE: 60}


def test_what_was_learnt_holds_for_a_day_and_never_grows(limits: PackLimits, tmp_path: Path) -> None:
    """In every process, for its shape alone; a larger job that fails later says nothing new."""
    assert limits.learn(SHAPE, 8, T0)
    assert not limits.learn(SHAPE, 16, T0)
    assert not limits.learn(SHAPE, 8, T0)
    other = PackLimits(tmp_path / "site" / "pack.json")
    assert (other.max_replicas(SHAPE, T0 + DAY - 1), other.max_replicas(shape_of("b/q/p", MINUTE), T0)) == (8, UNBOUNDED)
    assert other.max_replicas(SHAPE, T0 + DAY) == UNBOUNDED
    assert other.max_replicas(SHAPE, T0 - 1) == UNBOUNDED  # a clock that was set back


@pytest.mark.parametrize("content", [b"", b"[]", b'{"s": 3}', b'{"s": [null, 1]}', b"{"])
def test_a_broken_memory_is_none(limits: PackLimits, tmp_path: Path, content: bytes) -> None:
    """It is only a memory."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pack.json").write_bytes(content)
    assert limits.max_replicas("s", T0) == UNBOUNDED


@pytest.mark.parametrize(("replicas", "spare", "size"), [((4, 9, 2), True, 9), ((1, 1), True, 1), ((1,), False, 0), ((3,), False, 3)])
def test_the_size_of_a_group(replicas: tuple[int, ...], spare: bool, size: int) -> None:
    """That of its largest element; nothing is left to be taken from one that is bare."""
    keys = tuple((str(index),) for index in range(len(replicas)))
    assert Group(id="g", node="n", partition="p", elements=keys, replicas=replicas, spare=spare).size == size
