"""What is known of the largest hosts bounds packing, is asked for once a day, and never stands in a replica's way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.cli.commands import Slurm
from nexapod_backends.slurm.jobs.capacity import read_nodes
from nexapod_backends.slurm.jobs.largest_hosts import HostSize, LargestHosts, host_sizes
from nexapod_backends.slurm.jobs.pack import pack
from nexapod_backends.slurm.transport import Done, LocalTransport

from nexapod_batch.model.job import Resources
from nexapod_batch.model.site import Limits, Partition, Scheduler, Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T0 = 1_000_000.0
DAY = 86_400.0
SHORT = Partition(name="short", hosts=2, max_time_s=3_600, max_cpus=8, max_mem_mib=16_000)
#: Two kinds of hosts; of the larger one Slurm keeps 2 CPUs and 1,000 MiB.
NODES = (
    "NodeName=a CPUEfctv=6 CPUTot=8 RealMemory=16000 MemSpecLimit=1000 CoreSpecCount=2 Partitions=short,long \n"
    "NodeName=b CPUEfctv=4 CPUTot=4 RealMemory=8000 Partitions=short \n"
)


@dataclass
class Machine(LocalTransport):
    """This machine, where scontrol answers what a test says, or fails."""

    answer: str = NODES
    asked: list[str] = field(default_factory=list)

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:
        """Note the call and answer it."""
        del extra, text, timeout_s
        self.asked.append(" ".join(argv))
        return Done(0 if self.answer else 1, self.answer, "")


def _known(machine: Machine, folder: Path) -> LargestHosts:
    """Return what another process has."""
    return LargestHosts(Slurm(Site(name="here", scheduler=Scheduler(type="slurm")), machine), folder / "state" / "largest.json")


def test_the_largest_of_each_partition_count() -> None:
    """A pack that the smallest cannot hold is one that another host can."""
    assert host_sizes(read_nodes(NODES)) == {"short": (HostSize(6, 15_000),), "long": (HostSize(6, 15_000),)}


FEATURED = (
    "NodeName=big CPUEfctv=64 CPUTot=64 RealMemory=512000 AvailableFeatures=amd,large Partitions=short\n"
    "NodeName=s1 CPUEfctv=4 CPUTot=4 RealMemory=9000 AvailableFeatures=intel Partitions=short\n"
    "NodeName=s2 CPUEfctv=6 CPUTot=6 RealMemory=7000 AvailableFeatures=intel Partitions=short\n"
)


@pytest.mark.parametrize(
    ("constraints", "wanted"),
    [
        ((), (8, 16_000)), (("intel",), (6, 9_000)), (("amd",), (8, 16_000)), (("intel|amd",), (8, 16_000)), (("[intel|arm]",), (6, 9_000)),
        (("amd", "intel"), (8, 16_000)), (("large", "amd"), (8, 16_000)), (("arm",), (8, 16_000)), (("intel*2",), (6, 9_000)), (("(amd",), (8, 16_000)),
    ],
)  # fmt: skip
def test_only_hosts_that_a_constraint_admits_bound_packing(tmp_path: Path, constraints: tuple[str, ...], wanted: tuple[int, int]) -> None:
    """A pack for the large hosts would never start on the small ones; what no host satisfies is for Slurm to refuse."""
    found = _known(Machine(answer=FEATURED), tmp_path)
    found.look(T0)
    fitted = found.fitted(SHORT, Resources(time_s=60), constraints)
    assert (fitted.max_cpus, fitted.max_mem_mib) == wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (Resources(time_s=60), (6, 15_000)),
        (Resources(time_s=60, cpus_per_task=7), (7, 15_000)),
        (Resources(time_s=60, mem_mib=15_500), (6, 15_500)),
        (Resources(time_s=60, ntasks=16), (8, 15_000)),
        (Resources(time_s=60, nodes=2, ntasks=2, mem_mib=30_000), (6, 16_000)),
    ],
)
def test_packing_is_bounded_and_a_single_replica_keeps_its_place(tmp_path: Path, asked: Resources, wanted: tuple[int, int]) -> None:
    """Of what Slurm would refuse to one replica it says so itself; nothing is ever more than the file allows."""
    found = _known(Machine(), tmp_path)
    found.look(T0)
    fitted = found.fitted(SHORT, asked)
    assert (fitted.max_cpus, fitted.max_mem_mib) == wanted


@pytest.mark.parametrize(("mem_mib", "width", "total"), [(None, 6, None), (3_900, 3, 11_700), (16_000, 1, 16_000)])
def test_no_pack_asks_for_more_than_a_host_has(tmp_path: Path, mem_mib: int | None, width: int, total: int | None) -> None:
    """By the file alone it would be 8 CPUs, or four replicas of 3,900 MiB."""
    found = _known(Machine(), tmp_path)
    found.look(T0)
    asked = Resources(time_s=60, mem_mib=mem_mib)
    (group,) = pack([(str(n), 1) for n in range(48)], resources=asked, partition=found.fitted(SHORT, asked), limits=Limits())
    assert (group.geometry.width, group.geometry.mem_mib) == (width, total)


def test_slurm_is_asked_once_a_day_by_all_processes_together(tmp_path: Path) -> None:
    """What was said is kept in a file; a clock that was set back counts as a new day."""
    machine = Machine()
    for at in (T0, T0 + 1, T0 + DAY):
        _known(machine, tmp_path).look(at)
    assert len(machine.asked) == 1
    _known(machine, tmp_path).look(T0 + DAY + 1)
    assert len(machine.asked) == 2
    _known(machine, tmp_path).look(T0)
    assert len(machine.asked) == 3


@pytest.mark.parametrize("answer", ["", "slurm_load_node error: Unable to contact slurm controller\n", "NodeName=x CPUTot=many Partitions=short\n"])
def test_where_slurm_does_not_say_the_file_alone_counts(tmp_path: Path, answer: str) -> None:
    """It is asked again after a quarter of an hour."""
    machine = Machine(answer=answer)
    found = _known(machine, tmp_path)
    found.look(T0)
    found.look(T0 + 900)
    assert (len(machine.asked), found.fitted(SHORT, Resources())) == (1, SHORT)
    machine.answer = NODES
    found.look(T0 + 901)
    assert found.fitted(SHORT, Resources()).max_cpus == 6


@pytest.mark.parametrize("content", [b"", b"[]", b'{"until": 1e9}', b'{"until": "x", "sizes": {}}', b'{"until": 1e6, "sizes": {"short": 7}}', b'{"until": 1e6, "largest": {}}'])
def test_a_file_that_is_broken_is_none(tmp_path: Path, content: bytes) -> None:
    """Slurm is asked."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "largest.json").write_bytes(content)
    found = _known(Machine(), tmp_path)
    assert found.fitted(SHORT, Resources()) == SHORT
    found.look(T0)
    assert found.fitted(SHORT, Resources()).max_cpus == 6


def test_other_partitions_are_as_the_file_has_them(tmp_path: Path) -> None:
    """Where the site chooses the partition, the file's name is none of Slurm's."""
    found = _known(Machine(), tmp_path)
    found.look(T0)
    other = Partition(name="any", max_cpus=64)
    assert found.fitted(other, Resources()) is other
