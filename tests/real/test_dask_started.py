"""Dask clusters that start when they are needed: on this machine, and with workers that a real Slurm starts."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import psutil
import pytest
from real.dask_homes import DaskHome
from real.slurm_homes import queue, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster

JOB = '[job]\nname = "t"\ncommand = ["echo", "a"]\n[resources]\ntime = "1m"\n[quorum]\nagree = 2\ndistinct = "run"\n'
LOCAL = {"cluster": "local", "workers": 2, "idle": "5s"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DaskHome]:
    """Yield a home without sites; the cluster that it started, and its runners, are ended afterwards."""
    made = DaskHome(tmp_path)
    yield made
    for one in owners(made):
        one.terminate()
        one.wait(30)
    made.end()


def owners(home: DaskHome) -> list[psutil.Process]:
    """Return the processes that own clusters of this home."""
    mine = str(home.path / "sites")
    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        if "nexapod_backends.dask.owner" in words and words[-1].startswith(mine):
            found.append(one)
    return found


def own(home: DaskHome, **tables: object) -> None:
    """Write a site file whose cluster is started."""
    home.pool(shared=True, **{"dask": LOCAL, "partition": {"hosts": 1, "max_cpus": 1, "max_mem": "600M"}, **tables})  # type: ignore[arg-type]


def test_a_local_cluster_outlives_commands_and_ends_when_idle(home: DaskHome) -> None:
    """The first job starts it, the second finds it; nobody else can use it; then it ends by itself, with all workers."""
    own(home, dask={**LOCAL, "idle": "5m"})
    for _ in range(2):
        done = home.submit(JOB, "--wait")
        assert done.code == 0, done.err + home.describe()
        (owner,) = owners(home)
    assert len({one["nativeId"] for one in home.statements(1) + home.statements(2)}) == 2
    said = json.loads((home.path / "sites/pool/dask/cluster/scheduler.json").read_bytes())
    assert said["address"].startswith("tls://127.0.0.1:")
    assert said["pid"] == owner.pid
    listening = [one.laddr.ip for process in [owner, *owner.children(recursive=True)] for one in process.net_connections() if one.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}
    tree = [owner, *owner.children(recursive=True)]
    used = home.path / "sites/pool/dask/cluster/used"
    earlier = used.stat().st_mtime - 300
    os.utime(used, (earlier, earlier))
    until(lambda: not any(one.is_running() for one in tree), "the cluster to end", log=home.describe)


def test_a_cluster_whose_owner_is_killed_is_started_again(home: DaskHome) -> None:
    """What ran there is lost and replaced, elsewhere; no worker of the old cluster is left."""
    own(home, dask={**LOCAL, "idle": "5m"})
    gate = home.folder / "gate"
    job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
    home.ran(1)
    (owner,) = owners(home)
    tree = [owner, *owner.children(recursive=True)]
    owner.kill()
    until(lambda: not any(one.is_running() and one.status() != "zombie" for one in tree), "its workers to end")
    home.drive(lambda: len(home.executed()) == 2, "another replica to start")
    gate.touch()
    home.ended(job)
    assert home.replicas(job) == ["lost", "reported"]
    assert set(home.executed().values()) == {1}


def test_a_check_ends_what_it_started(home: DaskHome) -> None:
    """A check starts a cluster of its own, says what is wrong with it, submits nothing, and ends it."""
    own(home, runner={"python": "/nonexistent/python"})
    found = home.check(code=78)
    assert found["runner on 127.0.0.1"]["mark"] == "fail"
    assert "/nonexistent/python" in found["runner on 127.0.0.1"]["text"]
    assert found["test job"]["mark"] == "skip"
    until(lambda: not owners(home), "the cluster of the check to end")


def test_a_check_with_workers_that_slurm_starts(home: DaskHome, alpha: Cluster) -> None:
    """Up to a signed report; afterwards no Slurm job is left."""
    home.site(alpha)
    jobqueue = {"cluster": "jobqueue", "on": "alpha", "workers": 1, "idle": "5m", "timeout": "20s"}
    own(home, dask=jobqueue, partition={"max_cpus": 1, "max_mem": "600M"})
    done = home.call("site", "check", "pool", "--json")
    assert "could not be removed" not in done.err
    found = {one["probe"]: one for one in json.loads(done.out)["findings"]}
    assert "1 signed report" in found["test job"]["text"]
    own(home, dask={**jobqueue, "on": "nosuch"}, partition={"max_cpus": 1, "max_mem": "600M"})
    done = home.call("site", "check", "pool")
    assert (done.code, "dask.on names no site: got nosuch, wanted one of: alpha" in done.out) == (78, True), done.out
    until(lambda: not owners(home) and queue(alpha) == [], "cluster and Slurm jobs to end")


def test_workers_that_slurm_starts(home: DaskHome, alpha: Cluster) -> None:
    """One home, two sites: the Dask site runs in the Slurm site's partition; its Slurm jobs end when it is idle."""
    home.site(alpha)
    jobqueue = {"cluster": "jobqueue", "on": "alpha", "workers": 2, "idle": "5s", "timeout": "20s"}
    own(home, dask=jobqueue, partition={"hosts": 2, "max_cpus": 1, "max_mem": "600M"})
    done = home.submit(JOB, "--wait", "--site", "pool")
    assert done.code == 0, done.err + home.describe()
    assert len({one["nativeId"] for one in home.statements(1)}) == 2
    assert queue(alpha, "%j") == ["dask-worker", "dask-worker"]
    assert set(queue(alpha, "%P")) == {"short"}
    until(lambda: not owners(home), "the cluster to end")
    until(lambda: queue(alpha) == [], "its Slurm jobs to end")
