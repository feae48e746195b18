"""Jobs on a real Dask cluster, as a researcher runs them: agreement, workers and hosts, files, the words for waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from nvml import SECOND, Driver
from real.dask_homes import DaskHome, lying_python
from spools import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTS = {"127.0.0.2", "127.0.0.3", "127.0.0.4"}
JOB = """[job]
name = "t"
script = '''#!/bin/sh
mkdir out
cat in.txt > out/copy
echo "task $NEXAPOD_TASK"
'''
[resources]
time = "1m"
[[inputs]]
source = "in.txt"
target = "in.txt"
[[outputs]]
path = "out/*"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler with three workers on three hosts."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=3) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DaskHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = DaskHome(tmp_path)
    (tmp_path / "in.txt").write_text("what goes in\n")
    yield made
    made.end()


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_replicas_of_a_task_run_on_different_workers(home: DaskHome, cluster: DaskCluster, shared: bool) -> None:
    """Two tasks, two replicas each: accepted, from two workers by the signed statements, with results and proofs."""
    home.pool(cluster.address, shared=shared)
    done = home.submit(JOB + '[array]\nids = "1-2"\n[quorum]\ndistinct = "run"\n', "--wait")
    assert done.code == 0, done.err + home.describe()
    for task in home.json("show", "last")["tasks"]:
        assert task["state"] == "accepted"
        assert len({one["host"] for one in task["replicas"]}) == 2
    said = home.statements(1)
    assert [said[0]["nativeId"] != said[1]["nativeId"], said[2]["nativeId"] != said[3]["nativeId"]] == [True, True]
    assert (home.path / "results" / "1" / "2" / "out" / "copy").read_text() == "what goes in\n"
    assert (home.path / "results" / "1" / "2" / "stdout").read_text() == "task 2\n"
    assert home.call("logs", "1_1").out == "task 1\n"
    assert home.call("verify", "last").code == 0


def test_hosts_are_enforced_and_signed(home: DaskHome, cluster: DaskCluster) -> None:
    """Three must agree, `distinct = "host"`: each statement names another host, and the verdict counts three."""
    home.pool(cluster.address)
    done = home.submit(JOB + '[quorum]\nagree = 3\ndistinct = "host"\n', "--wait")
    assert done.code == 0, done.err + home.describe()
    (task,) = home.json("show", "last")["tasks"]
    assert task["reason"] == "3 of 3 agree, from 3 machines of one site and owner, all run by one account; isolation none: the word of one account"
    assert {one["host"] for one in home.statements(1)} == HOSTS


def test_more_hosts_than_there_are_is_refused(home: DaskHome, cluster: DaskCluster) -> None:
    """What the site file declares is too little: said at once, with the ways out; nothing is submitted."""
    home.pool(cluster.address, partition={"hosts": 1})
    done = home.submit(JOB + '[quorum]\nagree = 2\ndistinct = "host"\n', "--wait")
    assert done.code == 65, done.err
    assert "needs 2 replicas that differ in host: got 1 in reach (pool)" in done.err
    assert home.jobs() == []


def test_a_declared_host_that_is_not_there_is_waited_for_in_words(home: DaskHome, cluster: DaskCluster) -> None:
    """The replica is out until its deadline; `explain` says for what; then the task is inconclusive, never accepted."""
    home.pool(cluster.address, partition={"hosts": 2, "workers": ["w1"]})
    quorum = '[quorum]\nagree = 2\nmax_replicas = 2\nmax_lost = 1\ndeadline = "8s"\ndistinct = "host"\n'
    job = home.start(JOB + quorum)
    words = "no worker is on the hosts that are left for this replica"
    home.drive(lambda: words in home.explain(job), "the reason to be told")
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.job(job)["n_inconclusive"] == 1, home.describe()
    assert [one["host"] for one in home.statements(job)] == ["127.0.0.2"]


def test_a_host_that_only_the_statement_names_is_not_counted(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """Runners that sign hosts of their own choice: two valid statements, one domain, no acceptance."""
    home.pool(cluster.address, runner={"python": str(lying_python(tmp_path, "10.1.2.3"))}, partition={"hosts": 2})
    job = home.start(JOB + '[quorum]\nagree = 2\nmax_replicas = 2\ndistinct = "host"\n')
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert {one["host"] for one in home.statements(job)} == {"10.1.2.3"}
    assert home.job(job)["n_inconclusive"] == 1, home.describe()


@pytest.mark.parametrize(
    ("partition", "needs", "words"),
    [
        ({"gpus": 1}, "gpus = 1", "none of 3 workers has the resource GPU = 1"),
        ({"max_mem": "4000M"}, 'mem = "3000M"', "no worker has 3000 MiB of memory, the largest has 2048 MiB"),
        ({"max_cpus": 8}, "cpus_per_task = 4", "no worker has 4 threads, the largest has 2"),
        ({"workers": ["gone-*"]}, "", "none of 3 workers is one of partition all"),
    ],
)
def test_what_no_worker_has_is_explained(
    home: DaskHome, cluster: DaskCluster, partition: dict[str, object], needs: str, words: str
) -> None:
    """The site file promises more than the workers have: the launch waits, `explain` says for what, cancelling ends it."""
    home.pool(cluster.address, partition=partition)
    job = home.start(f'[job]\nname = "t"\ncommand = ["true"]\n[resources]\n{needs}\n[quorum]\nagree = 1\ndistinct = "run"\n')
    assert f"pool says NEW, {words}" in home.explain(f"{job}_0")
    assert home.call("cancel", job).code == 0
    home.ended(job, "cancelled")


def test_a_paused_worker_is_explained(home: DaskHome, cluster: DaskCluster) -> None:
    """A worker that has more memory in use than it may pauses: nothing is given to it, and `explain` says why."""
    worker = cluster.start_worker("w4", more=["--memory-limit", "50MiB"])
    try:
        until(lambda: "Pausing worker" in cluster.log(worker), "the worker to pause")
        home.pool(cluster.address, partition={"workers": ["w4"]})
        job = home.start('[job]\nname = "t"\ncommand = ["true"]\n[quorum]\nagree = 1\ndistinct = "run"\n')
        assert "pool says NEW, worker w4 is paused" in home.explain(f"{job}_0")
    finally:
        cluster.kill("w4")


def test_a_replica_has_the_gpu_of_its_worker(
    home: DaskHome, cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask counts the resource; which GPU it is says CUDA_VISIBLE_DEVICES of the worker, and the driver its UUID."""
    with monkeypatch.context() as patch:
        for name, value in {**Driver(tmp_path).env, "CUDA_VISIBLE_DEVICES": "1"}.items():
            patch.setenv(name, value)
        cluster.start_worker("w5", more=["--resources", "GPU=1"])
    try:
        home.pool(cluster.address, partition={"gpus": 1, "workers": ["w5"]})
        job = home.start('[job]\nname = "t"\ncommand = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]\n[resources]\ngpus = 1\n[quorum]\nagree = 1\n')
        home.ended(job)
        assert (home.path / "results" / str(job) / "0" / "stdout").read_text() == f"{SECOND}\n"
        assert f"({SECOND})" in home.explain(f"{job}_0")
    finally:
        cluster.kill("w5")


def test_a_dry_run_prints_the_call(home: DaskHome, cluster: DaskCluster) -> None:
    """What would be submitted, with priority and resources; with `=dask` what the scheduler says as well."""
    home.pool(cluster.address, partition={"gpus": 1})
    assert home.submit('[job]\ncommand = ["true"]\n[quorum]\nagree = 1\n').code == 0
    text = '[job]\nname = "t"\ncommand = ["echo", "a b"]\n[resources]\ngpus = 1\n[schedule]\npriority = 7\n[quorum]\ndistinct = "run"\n'
    done = home.submit(text, "--dry-run=dask")
    assert done.code == 0, done.err
    for word in ("client.submit(run, ", "pure=False, retries=0", "priority=7", "resources={'GPU': 1.0}", "echo 'a b'"):
        assert word in done.out
    assert "3 workers with 6 threads are connected" in done.out
    assert len(home.jobs()) == 1


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_node_and_coordinator_get_new_keys_while_a_job_runs(home: DaskHome, cluster: DaskCluster, tmp_path: Path, shared: bool) -> None:
    """What runs finishes under the old keys, in the same folders; what comes next is of the new ones."""
    home.pool(cluster.address, shared=shared)
    gate = tmp_path / "gate"
    job = home.start(home.tasks(2, f"while [ ! -e '{gate}' ]; do sleep 0.02; done"))
    home.ran(2)
    assert home.call("key", "rotate", "pool", "coordinator").code == 0
    later = home.start(home.tasks(1))
    gate.touch()
    for one in (job, later):
        home.ended(one)
        assert home.call("verify", one).code == 0
    assert home.replicas(job, "number") == [1] * 2
