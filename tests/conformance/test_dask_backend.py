"""The suite of backends on `dask`, with a real scheduler and real workers: storage shared with them, and not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from clusters.dask import DaskCluster
from conformance.dask_suite import DaskConformance
from msgspec.structs import replace
from nexapod_backends.dask.site_table import Dask
from spools import House, until

from nexapod_batch.model.job import Input, Job, Output, QuorumPolicy
from nexapod_batch.model.site import Filesystem, Partition, Scheduler, Site
from nexapod_batch.plugins import BackendState, load
from nexapod_batch.testing.backends import TRUE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.plugins import Backend, NodeContext


@dataclass
class DaskHouse(House):
    """A node whose runners are on the workers of a Dask cluster."""

    cluster: DaskCluster | None = None
    shared: bool = True
    local_dir: str = ""
    usable: tuple[str, ...] = ()  # by name, where not all may be used

    def lines(self) -> list[dict[str, Any]]:
        """Return every complete line, after what lies on the workers was brought here."""
        load("backend", "dask").collect(self.context())
        return super().lines()

    def context(self) -> NodeContext:
        """Return what the backend is told."""
        assert self.cluster is not None
        there: dict[str, Any] = {"local_dir": self.local_dir or str(self.home / "there")} if not self.shared else {}
        site = Site(
            name="testnode",
            scheduler=Scheduler(type="dask"),
            backend_settings=Dask(address=self.cluster.address, timeout_s=5, **there),
            filesystem=Filesystem(work_dir=str(self.home) if self.shared else ""),
            partitions=(Partition(name="all", hosts=2, max_cpus=2, max_mem_mib=2_000, workers=self.usable),),
        )
        return replace(super().context(), site=site, state=self.home / "state")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler with three workers."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=3) as made:
        yield made


class TestDaskShared(DaskConformance):
    """The suite where workers see the coordinator's files."""

    name = "dask"
    shared = True

    @pytest.fixture
    def house(self, tmp_path: Path, cluster: DaskCluster) -> Iterator[House]:
        """Give a node of the cluster, prepared as the coordinator does it."""
        made = DaskHouse(tmp_path, cluster=cluster, shared=self.shared)
        settings = json.loads((made.spool / "node.json").read_bytes())
        load("backend", self.name).prepare(made.context(), settings)
        yield made
        self.end(made)

    def test_replicas_of_one_task_run_on_different_workers(self, backend: Backend, house: House) -> None:
        """Three replicas, three workers, by the signed statements; a fourth waits, and says why."""
        job = Job(name="t", command=("true",), quorum=QuorumPolicy(agree=2))
        launches = [house.launch(job) for _ in range(3)]
        for one in launches:
            backend.launch(house.context(), [one])
        self.ended(backend, house, *launches)
        reports = house.reports()
        assert len({one.statement.native_id for one in reports}) == 3
        assert {one.statement.host for one in reports} == {"127.0.0.2", "127.0.0.3", "127.0.0.4"}
        late = house.launch(job)
        backend.launch(house.context(), [late])
        told = backend.status(house.context(), [late.key])[late.key]
        assert told.state is BackendState.NEW
        assert "different workers" in told.reason
        backend.cancel(house.context(), {late.key: None})
        assert self.state(backend, house, late) is BackendState.CANCELED

    def test_hosts_of_a_set_are_the_schedulers_word(self, backend: Backend, house: House) -> None:
        """Launches bound to different sets run on different hosts, and the status says which."""
        launches = [replace(house.launch(TRUE), host_set=(index, 3)) for index in range(3)]
        backend.launch(house.context(), launches)
        self.ended(backend, house, *launches)
        told = backend.status(house.context(), [one.key for one in launches])
        assert {one.hosts for one in told.values()} == {("127.0.0.2",), ("127.0.0.3",), ("127.0.0.4",)}

    def test_a_launch_at_the_wrong_worker_is_not_run(self, house: DaskHouse, cluster: DaskCluster) -> None:
        """A scheduler that starts it elsewhere than it was told finds an agent that knows for whom it was meant."""
        from nexapod_backends.dask.scheduler.client import Call, Wire

        base = str(house.home / "elsewhere")
        wire = Wire(lambda: (cluster.address, {}), 10.0, "test")
        mine, other = sorted(wire.workers())[:2]
        who = wire.ask(mine, {"op": "look", "base": base, "address": mine})[0]["id"]
        launch = house.launch(Job(name="t", command=("touch", str(house.home / "ran"))))
        spec = {"key": launch.key, "base": base, "worker": who, "address": mine, "host": "", "python": "", "reports": "", "seed": launch.seed.hex()}
        request = json.dumps({**spec, "envelope": base64.b64encode(launch.envelope).decode()}).encode()
        key = f"test-{launch.key}"
        wire.submit([Call(key=key, worker=other, request=request, resources={})])
        until(lambda: wire.states([key])[key] == "memory", "the task at the wrong worker to end")
        assert os.listdir(f"{base}/w") == []
        wire.release([key])

    def test_two_processes_share_what_they_know(self, house: House) -> None:
        """A second process finds the future of the first, and submits nothing again."""
        launch, go = self.blocking(house)
        first, second = load("backend", self.name), load("backend", self.name)
        settings = json.loads((house.spool / "node.json").read_bytes())
        for one in (first, second):
            one.prepare(house.context(), settings)
        first.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "the command to start")
        second.launch(house.context(), [launch])
        bound = first.status(house.context(), [launch.key])[launch.key].native
        assert second.status(house.context(), [launch.key])[launch.key].native == bound
        go.touch()
        self.ended(second, house, launch)
        assert len(house.reports()) == 1

    def test_what_another_process_saw_end_takes_no_room(self, house: DaskHouse) -> None:
        """A worker has as many launches as it may, all of them ended, and none forgotten yet: the next one goes to it."""
        house.usable = ("w1",)
        job = Job(name="t", command=("true",), quorum=QuorumPolicy(agree=1))
        first, second = load("backend", self.name), load("backend", self.name)
        full = [house.launch(job) for _ in range(8)]  # four ahead for each of its two threads
        first.launch(house.context(), full)
        self.ended(first, house, *full)
        late = house.launch(job)
        second.launch(house.context(), [late])
        told = second.status(house.context(), [late.key])[late.key]
        assert told.state is not BackendState.NEW, told.reason
        self.ended(second, house, late)


class TestDaskApart(TestDaskShared):
    """The suite where nothing is shared: bundles, inputs, reports and outputs travel through Dask."""

    shared = False

    def test_files_of_a_replica_are_brought(self, backend: Backend, house: House) -> None:
        """Outputs of several parts, in folders, come here as they are; then they can be removed there."""
        script = "mkdir -p sub; head -c 9000000 /dev/zero > sub/big; echo small > one; ln -s one link"
        launch = house.launch(Job(name="t", script=script, outputs=(Output(path="sub/*"), Output(path="one"))))
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        backend.fetch(house.context(), "1_0.1")
        found = {str(one.relative_to(house.work)): one.stat().st_size for one in house.work.rglob("*") if one.is_file()}
        assert found["1_0.1/sub/big"] == 9_000_000
        assert found["1_0.1/one"] == 6
        assert "1_0.1/link" not in found
        backend.remove(house.context(), ["1_0.1"])
        assert not list(house.home.rglob("1_0.1*"))

    def test_what_came_before_a_cut_is_not_brought_again(self, backend: Backend, house: House) -> None:
        """A part that is here is gone on with; what was in it is seen in the file."""
        launch = house.launch(Job(name="t", script="head -c 9000000 /dev/zero > big", outputs=(Output(path="big"),)))
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        folder = house.work / "1_0.1"
        folder.mkdir()
        (folder / f".{hashlib.sha256(b'big').hexdigest()[:16]}.part").write_bytes(b"A" * 8_000_000)
        backend.fetch(house.context(), "1_0.1")
        assert [one.name for one in folder.iterdir()] == ["big"]
        assert (folder / "big").read_bytes() == b"A" * 8_000_000 + bytes(1_000_000)

    def test_an_unconfirmed_launch_is_lost_and_never_repeated(self, backend: Backend, house: DaskHouse, cluster: DaskCluster) -> None:
        """Its worker stands still when it comes, and dies: another process at the same address runs nothing of it."""
        house.usable = ("w1",)
        first = house.launch(TRUE)
        backend.launch(house.context(), [first])
        self.ended(backend, house, first)
        address = backend.status(house.context(), [first.key])[first.key].native
        cluster.signal(signal.SIGSTOP, "w1")
        launch = house.launch(Job(name="t", command=("touch", str(house.home / "ran")), quorum=QuorumPolicy(agree=1)))
        backend.launch(house.context(), [launch])
        assert self.state(backend, house, launch) is BackendState.QUEUED
        cluster.kill("w1")
        cluster.start_worker("w1", more=["--worker-port", address.rpartition(":")[2]])
        until(lambda: self.state(backend, house, launch) is BackendState.FAILED, "the launch to be called lost")
        later = house.launch(Job(name="t", command=("true",), quorum=QuorumPolicy(agree=1)))
        backend.launch(house.context(), [launch, later])  # the lost one again, as after a crash of ours
        self.ended(backend, house, later)
        told = backend.status(house.context(), [launch.key, later.key])
        assert told[later.key].native == address
        assert told[launch.key].state is BackendState.FAILED
        assert "left the cluster" in told[launch.key].reason
        assert not (house.home / "ran").exists()

    def test_files_outlive_their_worker(self, backend: Backend, house: DaskHouse, cluster: DaskCluster) -> None:
        """The first worker dies, through which files were seen: another one that sees them brings them."""
        launch = house.launch(Job(name="t", script="head -c 100000 /dev/zero > big", outputs=(Output(path="big"),)))
        backend.launch(house.context(), [launch])
        self.ended(backend, house, launch)
        cluster.kill("w1")
        try:
            until(lambda: "2 workers" in backend.describe(house.context(), TRUE, 1, ask=True), "the scheduler to notice")
            backend.fetch(house.context(), "1_0.1")
        finally:
            cluster.start_worker("w1")
        assert (house.work / "1_0.1" / "big").stat().st_size == 100_000

    def test_inputs_are_sent_once(self, backend: Backend, house: House) -> None:
        """An input is where the bundle says that it is, whichever worker runs it."""
        source = house.home / "source"
        source.write_bytes(os.urandom(5_000_000))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        job = Job(name="t", command=("sha256sum", "in"), inputs=(Input(source=str(source), target="in", sha256=digest),))
        paths = backend.stage(house.context(), {digest: source})
        launches = [house.launch(job, paths=paths) for _ in range(2)]
        backend.launch(house.context(), launches)
        self.ended(backend, house, *launches)
        texts = [one.carried["stdout"].decode() for one in house.reports() if one.carried]
        assert texts == [f"{digest}  in\n"] * 2
