"""The suite of backends on `local` and on `slurm`, and what only they can show."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Cluster, Clusters
from msgspec.structs import replace
from spools import House, alive, until

from nexapod_batch.model.job import Job, Resources
from nexapod_batch.model.site import Limits, Partition, Scheduler, Site
from nexapod_batch.plugins import BackendState, load
from nexapod_batch.testing.backends import TRUE, BackendConformance
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.plugins import Backend, Launch, NodeContext

class TestLocal(BackendConformance):
    """The suite on `local`, and what only a worker on this machine can show."""

    name = "local"

    def end(self, house: House) -> None:
        """Kill the worker of this spool, and wait until its lock is free."""
        pid = self.worker(house)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            until(lambda: not alive(pid), "the worker to end")

    def worker(self, house: House) -> int | None:
        """Return the process id of the worker of this spool."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            # executors have the same command line: the worker is the one whose parent has not
            if os.fsencode(house.spool) in words and alive(int(folder.name)):
                try:
                    above = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    above = []
                if os.fsencode(house.spool) not in above:
                    return int(folder.name)
        return None

    def test_a_killed_worker_fails_its_launches(self, backend: Backend, house: House) -> None:
        """After kill -9 the launch is FAILED, is not run again, and the next launch gets a new worker."""
        launch, _ = self.blocking(house)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "the command to start")
        pid = self.worker(house)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.state(backend, house, launch) is BackendState.FAILED, "the launch to fail")
        following = house.launch(TRUE, job_id=2)
        backend.launch(house.context(), [following])
        self.ended(backend, house, following)
        assert self.state(backend, house, launch) is BackendState.FAILED

    def test_a_launch_without_a_worker_gets_one_by_asking(self, backend: Backend, house: House) -> None:
        """`status` starts a worker for what waits in the inbox, as after a reboot."""
        launch = house.launch(TRUE)
        house.put(launch)
        assert self.state(backend, house, launch) in {BackendState.QUEUED, BackendState.ACTIVE}
        self.ended(backend, house, launch)

    def test_a_worker_that_cannot_start_is_explained(self, backend: Backend, house: House) -> None:
        """While the node's configuration is broken the launch stays QUEUED, with the worker's own words."""
        (house.spool / "node.json").write_text("{")
        launch = house.launch(TRUE)
        backend.launch(house.context(), [launch])
        reason = until(lambda: backend.status(house.context(), [launch.key])[launch.key].reason, "the reason")
        assert "ended with 78" in reason
        assert self.state(backend, house, launch) is BackendState.QUEUED

    def test_the_worker_survives_its_starter(self, backend: Backend, house: House) -> None:
        """The worker leads a session of its own, so that closing the shell does not end it."""
        launch, go = self.blocking(house)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "the command to start")
        pid = self.worker(house)
        assert pid is not None
        assert os.getsid(pid) == pid
        go.touch()
        self.ended(backend, house, launch)


@dataclass
class SlurmHouse(House):
    """A node whose runners are started by a cluster."""

    cluster: Cluster | None = None

    def context(self) -> NodeContext:
        """Return what the backend is told: the site has the node's name, as for the main group of its partitions."""
        assert self.cluster is not None
        site = Site(
            name="testnode",
            scheduler=Scheduler(type="slurm", bin=str(self.cluster.bin), conf=str(self.cluster.conf)),
            limits=Limits(poll_interval_s=1, submit_rate=100),
            partitions=(Partition(name="short", hosts=1, max_time_s=3_600, max_cpus=8, max_mem_mib=16_000),),
        )
        return replace(super().context(), site=site, state=self.home / "state")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield a cluster of one node that really runs."""
    with Clusters.start(shapes=(Shape(name="alpha", nodes=("a1",)),)) as clusters:
        yield clusters.alpha


class TestSlurm(BackendConformance):
    """The suite on `slurm`, with a real cluster; and what differs where a launch is a job in a queue."""

    name = "slurm"

    @pytest.fixture
    def house(self, tmp_path: Path, cluster: Cluster) -> Iterator[House]:
        """Give a node of the cluster, prepared as the coordinator does it."""
        made = SlurmHouse(tmp_path, cluster=cluster)
        settings = json.loads((made.spool / "node.json").read_bytes())
        load("backend", self.name).prepare(made.context(), settings)
        yield made
        self.end(made)

    def end(self, house: House) -> None:
        """Cancel what is left in the queue."""
        assert isinstance(house, SlurmHouse)
        assert house.cluster is not None
        house.cluster.cancel_all()

    def blocking(self, house: House, replicas: int = 1) -> tuple[Launch, Path]:
        """Return a launch whose time is known, so that its replicas run side by side."""
        launch, go = super().blocking(house, replicas)
        job = replace(launch.job, resources=Resources(time_s=60))
        return house.launch(job, replicas), go

    def test_a_launch_is_cancelled(self, backend: Backend, house: House, cluster: Cluster) -> None:
        """Its Slurm job is cancelled as a whole: nothing of it is left in the queue, nothing of it counts."""
        launch, _ = self.blocking(house, 6)
        backend.launch(house.context(), [launch])
        until((house.home / "at.0").exists, "a command to start")
        backend.cancel(house.context(), {launch.key: None})
        cluster.wait_idle()
        ended = {BackendState.COMPLETED, BackendState.FAILED}
        until(lambda: self.state(backend, house, launch) in ended, "the launch to end")
        assert {one.statement.outcome for one in house.reports()} <= {Outcome.CANCELLED, Outcome.PREEMPTED}

    def test_a_launch_can_be_described(self, backend: Backend, house: House, cluster: Cluster) -> None:
        """The description is the script that sbatch would get; nothing is launched."""
        text = backend.describe(house.context(), Job(name="t", command=("echo", "a b")), 3)
        assert "3 Slurm jobs in 1 call of sbatch" in text
        assert "#SBATCH --partition=short" in text
        assert "#SBATCH --no-requeue" in text
        assert list((house.spool / "inbox").iterdir()) == []
        assert not cluster.run("squeue", "--noheader", check=True).stdout

    def test_a_queued_launch_is_cancelled(self, backend: Backend, house: House, cluster: Cluster) -> None:
        """One that never started leaves the queue, and is FAILED for good."""
        node = cluster.nodes[0]
        cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test", check=True)
        try:
            launch = house.launch(TRUE)
            backend.launch(house.context(), [launch])
            assert self.state(backend, house, launch) is BackendState.QUEUED
            backend.cancel(house.context(), {launch.key: None})
            until(lambda: self.state(backend, house, launch) is BackendState.FAILED, "the launch to fail")
        finally:
            cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=True)
        cluster.wait_idle()
        assert house.reports() == []

    def test_two_processes_share_what_they_know(self, house: House) -> None:
        """A second process finds the Slurm job of the first, and submits nothing again."""
        launch, go = self.blocking(house)
        first, second = load("backend", self.name), load("backend", self.name)
        native = first.launch(house.context(), [launch])
        assert second.launch(house.context(), [launch]) == native
        assert second.status(house.context(), [launch.key])[launch.key].native == native[launch.key]
        go.touch()
        self.ended(second, house, launch)
        assert len(house.reports()) == 1
