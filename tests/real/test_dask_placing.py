"""Where launches go on a real Dask cluster: machines with several addresses, workers that end, and other people's tasks."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from real.dask_homes import DaskHome, client
from real.slurm_homes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWO = '[job]\nname = "t"\ncommand = ["echo", "a"]\n[resources]\ntime = "1m"\n[quorum]\nagree = 2\n'
OTHERS = """
import sys
from distributed import Client

gate, count = sys.argv[2], int(sys.argv[4])

def train(number):
    import os, time
    while not os.path.exists(gate):
        time.sleep(0.05)

with Client(sys.argv[1]) as client:
    client.gather([client.submit(train, n, workers=[sys.argv[3]], allow_other_workers=False) for n in range(count)])
"""
HAS = "[len(client.processing()[a]) for a, w in client.scheduler_info()['workers'].items() if w['name'] == '{name}']"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    """Yield a scheduler; tests start the workers that they need."""
    with DaskCluster.start(tmp_path / "dask", workers=0) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DaskHome]:
    """Yield a home without sites."""
    made = DaskHome(tmp_path)
    yield made
    made.end()


@contextmanager
def tasks_of_others(cluster: DaskCluster, gate: Path, worker: str, count: int) -> Iterator[None]:
    """Have somebody else run tasks on a worker until the gate is there."""
    argv = [sys.executable, "-P", "-c", OTHERS, cluster.address, str(gate), worker, str(count)]
    with subprocess.Popen(argv, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        try:
            until(lambda: client(cluster, HAS.format(name=worker)) == [count], "tasks of others to run")
            yield
        finally:
            gate.touch()
            one.terminate()


def test_two_files_of_one_scheduler_are_one_site(home: DaskHome, cluster: DaskCluster) -> None:
    """Also by another spelling of its address; the scheduler says itself who it is."""
    cluster.start_worker("w1")
    home.pool(cluster.address)
    home.pool(cluster.address.replace("127.0.0.1", "localhost"), name="mirror")
    for field in ("site", "owner", "node"):
        refused = home.submit(TWO + f'distinct = "{field}"\n')
        assert refused.code == 65, refused.out
    assert "site pool is the cluster of site mirror" in refused.err or "site mirror is the cluster of site pool" in refused.err
    assert "dask:Scheduler-" in refused.err


def test_two_addresses_of_one_machine_are_one_host(home: DaskHome, cluster: DaskCluster) -> None:
    """The check warns; nothing is accepted from "two machines"; with a worker on another machine it is."""
    cluster.start_worker("w1", machine="m")
    cluster.start_worker("w2", machine="m")
    home.pool(cluster.address, partition={"hosts": 2})
    found = home.check()
    assert found["machines all"]["mark"] == "warn"
    assert "127.0.0.2 and 127.0.0.3 are one machine" in found["machines all"]["text"]
    job = home.start(TWO + 'distinct = "host"\nmax_replicas = 2\n')
    words = "no worker is on the hosts that are left for this replica; 127.0.0.2 and 127.0.0.3 are one machine"
    home.drive(lambda: words in home.explain(job), "the reason to be told")
    cluster.start_worker("w3")
    home.ended(job)
    (task,) = home.json("show", "last")["tasks"]
    words = "2 of 2 agree, from 2 machines of one site and owner, all run by one account; isolation none: the word of one account"
    assert task["reason"] == words


def test_two_addresses_are_said_to_be_one_machine_where_hosts_do_not_count(home: DaskHome, cluster: DaskCluster) -> None:
    """Agreement on one machine is called that."""
    cluster.start_worker("w1", machine="m")
    cluster.start_worker("w2", machine="m")
    home.pool(cluster.address, partition={"hosts": 2})
    home.ended(home.start(TWO + 'distinct = "run"\n'))
    (task,) = home.json("show", "last")["tasks"]
    assert task["reason"].startswith("2 of 2 agree, both on pool (127.0.0.2, 127.0.0.3)")


def test_a_worker_whose_end_is_known_gets_nothing_that_takes_longer(home: DaskHome, cluster: DaskCluster) -> None:
    """It waits in words; a worker that stays takes it, and the one that ends takes what is short enough."""
    cluster.start_worker("w1", more=["--lifetime", "10 minutes"])
    home.pool(cluster.address, partition={"hosts": 2})
    one = TWO.replace("agree = 2", "agree = 1") + 'distinct = "run"\n'
    long = home.start(one.replace('"1m"', '"20m"'))
    home.drive(lambda: "no worker is there long enough: w1 ends in" in home.explain(long), "the reason to be told")
    assert "the launch needs up to 20 min" in home.explain(long)
    short = home.start(one)
    home.drive(lambda: home.job(short)["finished_at"], "what is short to end")
    cluster.start_worker("w2")
    home.ended(long)
    assert [said["host"] for said in home.statements(long)] == ["127.0.0.3"]


EATER = """
import sys
from distributed import Client

with Client(sys.argv[1]) as client:
    client.submit(lambda: __import__("time").sleep(len(b"x" * (600 << 20)) and 60), retries=0).result()
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [("retired", "it was retired"), ("memory", "its nanny ended it for its memory")],
)
def test_who_ended_a_worker_is_said(home: DaskHome, cluster: DaskCluster, how: str, words: str) -> None:
    """The reason of the loss names who: somebody retired it, or its nanny ended it."""
    more = ["--nanny", "--memory-limit", "400MiB"] if how == "memory" else []
    cluster.start_worker("w1", more=more)
    home.pool(cluster.address, partition={"hosts": 2})
    gate = home.folder / "gate"
    job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done", time_s=None))
    home.ran(1)
    folders = "[one['local_directory'] for one in client.scheduler_info()['workers'].values()]"
    (folder,) = client(cluster, folders)  # of this process: a nanny starts the next one at the same address
    if how == "retired":
        client(cluster, "client.retire_workers(names=['w1'])")
    eater = subprocess.Popen([sys.executable, "-P", "-c", EATER, cluster.address], cwd="/") if how == "memory" else None
    try:
        until(lambda: folder not in client(cluster, folders), "the worker to be gone", timeout=150)
    finally:
        if eater is not None:
            eater.kill()
            eater.wait()
    home.kill_runners()
    home.drive(lambda: any(words in str(one) for one in home.reasons(job)), "the reason to be told")
    gate.touch()
    if how != "memory":  # there its nanny starts another one
        cluster.start_worker("w2")
    home.ended(job)


def test_a_launch_is_taken_back_from_a_worker_that_is_full_of_others(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """Bound there while nobody else was free, it says for whose tasks it waits; when another worker comes it runs there, once."""
    cluster.start_worker("w1", 1)
    home.pool(cluster.address, partition={"hosts": 2, "max_cpus": 1})
    with tasks_of_others(cluster, tmp_path / "gate", "w1", 2):
        job = home.start(TWO.replace("agree = 2", "agree = 1") + 'distinct = "run"\n')
        home.drive(lambda: "waits on its worker w1 for 2 tasks of others (2 train)" in home.explain(job), "the reason to be told")
        cluster.start_worker("w2", 1)
        home.ended(job)
        assert [said["host"] for said in home.statements(job)] == ["127.0.0.3"]
        assert home.replicas(job) == ["reported"]


def test_free_workers_are_preferred(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """Of two workers, the one without other people's tasks gets everything that it has room for."""
    cluster.start_worker("w1", 1)
    cluster.start_worker("w2", 1)
    home.pool(cluster.address, partition={"hosts": 2, "max_cpus": 1})
    with tasks_of_others(cluster, tmp_path / "gate", "w1", 1):
        for _ in range(2):
            job = home.start(TWO.replace("agree = 2", "agree = 1") + 'distinct = "run"\n')
            home.ended(job)
            assert [said["host"] for said in home.statements(job)] == ["127.0.0.3"]
