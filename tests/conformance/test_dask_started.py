"""The suite of backends on Dask clusters that start when needed: on this machine, and with workers in real Slurm jobs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest
from clusters.confs import Shape
from clusters.slurm import Clusters
from conformance.dask_suite import DaskConformance
from msgspec.structs import replace
from nexapod_backends.dask.managed.cluster import demand
from nexapod_backends.dask.site_table import Dask
from spools import House

from nexapod_batch.model.site import Filesystem, Partition, Scheduler, Site
from nexapod_batch.plugins import load
from nexapod_batch.testing.backends import TRUE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.plugins import NodeContext

#: Seconds until workers are there.
PATIENCE_S = 120.0


@dataclass
class StartedHouse(House):
    """A node whose cluster is started by the first who needs it, and shared with the other tests of a module."""

    dask: Dask | None = None
    on: Site | None = None
    cluster: Path | None = None  # where the files of the cluster lie

    def context(self) -> NodeContext:
        """Return what the backend is told."""
        assert self.cluster is not None
        state = self.home / "state"
        if not (state / "dask").exists():
            (state / "dask").mkdir(parents=True)
            (state / "dask" / "cluster").symlink_to(self.cluster)
        site = Site(
            name="testnode",
            scheduler=Scheduler(type="dask"),
            backend_settings=self.dask,
            filesystem=Filesystem(work_dir=str(self.home)),
            partitions=(Partition(name="short", hosts=2, max_cpus=2, max_mem_mib=800),),
        )
        return replace(super().context(), site=site, state=state, on=self.on)


@contextmanager
def started(folder: Path) -> Iterator[Path]:
    """Yield the folder of a cluster; its owner is ended afterwards, and everything that it started."""
    yield folder
    said = json.loads((folder / "scheduler.json").read_bytes())
    owner = psutil.Process(said["pid"])
    tree = [owner, *owner.children(recursive=True)]
    owner.terminate()
    _, left = psutil.wait_procs(tree, timeout=120)
    assert left == []


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield where the files of a cluster of this machine lie; it starts with the first launch."""
    with started(tmp_path_factory.mktemp("local")) as folder:
        yield folder


@pytest.fixture(scope="module")
def alpha() -> Iterator[Site]:
    """Yield the site of a real Slurm cluster with two nodes."""
    with Clusters.start(shapes=(Shape(name="alpha", nodes=("a1", "a2")),)) as clusters:
        cluster = clusters.alpha
        yield Site(
            name="alpha",
            scheduler=Scheduler(type="slurm", bin=str(cluster.bin), conf=str(cluster.conf)),
            partitions=(Partition(name="short", hosts=2, max_cpus=8, max_mem_mib=16_000),),
        )


@pytest.fixture(scope="module")
def jobqueue(tmp_path_factory: pytest.TempPathFactory, alpha: Site) -> Iterator[Path]:
    """Yield where the files of a cluster lie whose workers that Slurm starts, with the first launch."""
    assert alpha.partitions
    with started(tmp_path_factory.mktemp("jobqueue")) as folder:
        yield folder


class DaskStarted(DaskConformance):
    """The suite on a cluster that is started."""

    name = "dask"

    def prepared(self, house: StartedHouse) -> Iterator[House]:
        """Give a node, prepared as the coordinator does it, when the workers are up: Slurm may take its time."""
        settings, backend = json.loads((house.spool / "node.json").read_bytes()), load("backend", self.name)
        backend.prepare(house.context(), settings)
        assert house.cluster is not None
        demand(house.cluster, "tests", 2, waiting=1)
        end = time.monotonic() + PATIENCE_S
        while "2 workers with 4 threads are connected" not in (said := backend.describe(house.context(), TRUE, 1, ask=True)):
            assert time.monotonic() < end, said
            time.sleep(0.2)
        yield house
        self.end(house)


class TestDaskLocal(DaskStarted):
    """On this machine."""

    @pytest.fixture
    def house(self, tmp_path: Path, local: Path) -> Iterator[House]:
        """Give a node of the cluster."""
        dask = Dask(cluster="local", workers=2, threads=2, timeout_s=20)
        yield from self.prepared(StartedHouse(tmp_path, dask=dask, cluster=local))


class TestDaskJobqueue(DaskStarted):
    """In Slurm jobs, started by dask-jobqueue."""

    @pytest.fixture
    def house(self, tmp_path: Path, jobqueue: Path, alpha: Site) -> Iterator[House]:
        """Give a node of the cluster."""
        dask = Dask(cluster="jobqueue", on="alpha", workers=2, threads=2, timeout_s=20)
        yield from self.prepared(StartedHouse(tmp_path, dask=dask, on=alpha, cluster=jobqueue))
