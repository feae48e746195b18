"""Hosts of which a real Slurm keeps CPUs and memory for itself: what jobs can have is said, and packing asks for no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Cluster, Clusters
from msgspec.structs import replace
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, Capacity, read_nodes
from real.slurm_homes import SlurmHome, queue

from nexapod_batch.config.site.sites import load_site

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of a host with 8 CPUs and 16,000 MiB: an odd amount of memory, so that no rounding hides it.
KEPT = "CoreSpecCount=2 MemSpecLimit=1234"
CPUS, MEM_MIB = 6, 14_766


@pytest.fixture(scope="module")
def kappa() -> Iterator[Cluster]:
    """Yield a cluster with one host of which Slurm keeps a part."""
    with Clusters.start(shapes=(Shape(name="kappa", nodes=("k1",), kept=KEPT),)) as clusters:
        yield clusters.each["kappa"]


def test_what_slurm_keeps_is_read_from_a_real_one(kappa: Cluster) -> None:
    """The line that `a2` of the golden text of this release stands for."""
    said = kappa.run(*SCONTROL_NODES, check=True).stdout
    found = read_nodes(said)["k1"]
    assert {"short", "long"} <= set(found.partitions)
    assert replace(found, partitions=()) == Capacity(cpus=CPUS, mem_mib=MEM_MIB, kept_cpus=2, kept_mib=1_234)


def test_site_init_writes_what_jobs_can_have(home: SlurmHome, kappa: Cluster) -> None:
    """Not what the machine has."""
    made = home.call("site", "init", "--from-slurm", "--bin", kappa.bin, "--conf", kappa.conf)
    assert made.code == 0, made.err
    short = next(one for one in load_site(home.path / "sites.d/kappa.toml").partitions if one.name == "short")
    assert (short.max_cpus, short.max_mem_mib) == (CPUS, MEM_MIB)


@pytest.mark.slow
@pytest.mark.parametrize("mem", ["", 'mem = "3900MiB"\n'], ids=["cpus", "memory"])  # four of which fit the host, three what jobs can have
def test_packing_asks_for_no_more_than_jobs_can_have(home: SlurmHome, kappa: Cluster, mem: str) -> None:
    """Also where the site file promises all of the host: Slurm refuses nothing, so nothing is unpacked."""
    home.site(kappa, partition={"hosts": 1})
    job = home.start(home.tasks(24, time_s=30, more=mem))
    launched = {len(element) for group in home.groups().values() for element in group["elements"]}
    assert max(launched) > 1
    home.ended(job)
    assert home.executed().total() == 24
    assert list(home.path.glob("sites/*/narrow.json")) == []
    assert queue(kappa) == []


def test_a_file_that_promises_all_of_a_host_is_told_what_jobs_can_have(home: SlurmHome, kappa: Cluster) -> None:
    """`site check` names both figures, and what Slurm has of them."""
    home.site(kappa, partition={"hosts": 1})
    found = home.json("site", "check", "kappa", "--no-job")["findings"]
    said = next(one for one in found if one["probe"] == "partition short")
    assert said["mark"] == "warn"
    assert f"max_cpus = 8, but Slurm has {CPUS}" in said["text"]
    assert f"max_mem (MiB) = 16000, but Slurm has {MEM_MIB}" in said["text"]
