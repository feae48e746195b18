"""Dask clusters that start when they are needed: on this machine, and with workers that a real Slurm starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
THERE = JOB + '[schedule]\nsites = ["pool"]\n'
LOCAL = {"cluster": "local", "workers": 2, "idle": "5s", "timeout": "20s"}


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
        if "nexapod_backends.dask.managed.owner" in words and words[-1].startswith(mine):
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
    assert (done.code, "it needs a site that is not there: got nosuch, wanted one of: alpha" in done.out) == (78, True), done.out
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


HOSTILE = {
    "malformed": "distributed: [\n : :",
    "harmful": """distributed:
  scheduler: {idle-timeout: 1s, preload: [/nonexistent/preload.py]}
  worker: {preload: [/nonexistent/preload.py], lifetime: {duration: 1s}}
  nanny: {preload: [/nonexistent/preload.py]}
""",
    "logging": "logging:\n  version: 1\n  handlers: {x: {class: no.such.Handler}}\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_accounts_own_configuration_of_dask_never_matters(home: DaskHome, text: str) -> None:
    """What would stop, preload or end Dask for the account itself: our cluster is what the site file says."""
    account = home.folder / "account"
    (account / ".config" / "dask").mkdir(parents=True)
    (account / ".config" / "dask" / "distributed.yaml").write_text(text)
    own(home)
    env = {"HOME": str(account), "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": "1s", "DASK_CONFIG": str(account / ".config" / "dask")}
    done = home.call("submit", home.descriptor(JOB), "--wait", env=env)
    assert done.code == 0, done.err + home.describe()
    assert os.listdir(account / ".config" / "dask") == ["distributed.yaml"]  # nothing is written there either


def test_an_owner_whose_scheduler_closed_ends(home: DaskHome) -> None:
    """Whoever closes the scheduler ends the cluster: its owner goes, and the next command starts another one."""
    own(home, dask={**LOCAL, "idle": "5m"})
    assert home.submit(JOB, "--wait").code == 0
    (owner,) = owners(home)
    said = json.loads((home.path / "sites/pool/dask/cluster/scheduler.json").read_bytes())
    code = (
        "import sys\nfrom distributed import Client, Security\n"
        "s = Security(require_encryption=True, **dict(zip(('tls_ca_file', 'tls_client_cert', 'tls_client_key'), sys.argv[2:])))\n"
        "Client(sys.argv[1], security=s).shutdown()\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code, said["address"], *said["security"].values()], check=True, timeout=120, cwd="/")
    until(lambda: not owner.is_running() or owner.status() == "zombie", "the owner to end")
    assert home.submit(JOB, "--wait").code == 0
    assert [one.pid for one in owners(home)] != [owner.pid]


def test_what_waits_in_slurms_queue_keeps_its_place(home: DaskHome, alpha: Cluster) -> None:
    """Far longer than `idle`: the same Slurm jobs, as many as there is work for, and `explain` says what they wait for."""
    home.site(alpha)
    jobqueue = {"cluster": "jobqueue", "on": "alpha", "workers": 4, "idle": "1s", "timeout": "20s"}
    own(home, dask=jobqueue, partition={"hosts": 2, "max_cpus": 1, "max_mem": "600M"})
    alpha.run("scontrol", "update", "partitionname=short", "state=down")
    try:
        job = home.start(THERE)
        home.drive(lambda: len(queue(alpha)) == 2, "two Slurm jobs to be queued")
        jobs = queue(alpha, "%i")
        home.drive(lambda: "(PartitionDown)" in home.explain(job), "the reason to be told")
        folder = home.path / "sites/pool/dask/cluster"
        earlier = (folder / "used").stat().st_mtime - 7_000  # nobody asked for hours
        os.utime(folder / "used", (earlier, earlier))
        alpha.run("scontrol", "hold", jobs[0], check=True)
        until(lambda: "JobHeld" in (folder / "workers.json").read_text(), "the owner to look again")
        alpha.run("scontrol", "release", jobs[0], check=True)
        assert sorted(queue(alpha, "%i")) == sorted(jobs)
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up")
    home.ended(job)


def test_what_waits_in_slurms_queue_for_nothing_is_cancelled(home: DaskHome, alpha: Cluster) -> None:
    """Its job was cancelled: pending Slurm jobs of workers go, while the cluster itself would stay for minutes."""
    home.site(alpha)
    jobqueue = {"cluster": "jobqueue", "on": "alpha", "workers": 4, "idle": "5m", "timeout": "20s"}
    own(home, dask=jobqueue, partition={"hosts": 2, "max_cpus": 1, "max_mem": "600M"})
    alpha.run("scontrol", "update", "partitionname=short", "state=down")
    try:
        job = home.start(THERE)
        home.drive(lambda: len(queue(alpha)) == 2, "two Slurm jobs to be queued")
        assert home.call("cancel", job).code == 0
        home.drive(lambda: queue(alpha) == [], "the queue to be empty")
        assert len(owners(home)) == 1
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up")


def test_a_worker_that_ends_before_it_comes_is_told(home: DaskHome, alpha: Cluster) -> None:
    """Slurm's state, and the last lines of what it said; it is tried again, and the pass says so."""
    home.site(alpha, environment={"setup": ["echo no such module: python/3.99 >&2; exit 3"]})
    jobqueue = {"cluster": "jobqueue", "on": "alpha", "workers": 2, "idle": "5m", "timeout": "20s"}
    own(home, dask=jobqueue, partition={"hosts": 2, "max_cpus": 1, "max_mem": "600M"})
    job = home.start(THERE)
    home.drive(lambda: "no such module: python/3.99" in home.explain(job), "the end of a worker to be told")
    said = home.explain(job)
    assert "FAILED" in said
    assert "tried again" in said
    assert home.call("cancel", job).code == 0
