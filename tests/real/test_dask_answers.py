"""Dask clusters at which something is wrong: each has an answer in words, and every task ends right."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters.certificates import Authority
from clusters.daemons import free_ports
from clusters.dask import DaskCluster
from nexapod_backends.dask.scheduler.client import Wire
from real.dask_homes import DaskHome, client
from real.slurm_homes import until

from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.sshd import Sshd

QUICK = {"timeout": "3s"}


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Return the authority of the TLS cluster, and another one."""
    folder = tmp_path_factory.mktemp("tls")
    return Authority(folder / "ours"), Authority(folder / "theirs")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler without TLS; tests start the workers that they break."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=0) as made:
        yield made


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authorities: tuple[Authority, Authority]) -> Iterator[DaskCluster]:
    """Yield a cluster with TLS and two workers."""
    with DaskCluster.start(tmp_path_factory.mktemp("dasktls"), workers=2, tls=authorities[0].options("server")) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DaskHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = DaskHome(tmp_path)
    yield made
    made.end()


@contextmanager
def workers(cluster: DaskCluster, *names: str) -> Iterator[None]:
    """Run workers with one thread each; afterwards none is left."""
    try:
        for name in names:
            cluster.start_worker(name, 1)
        yield
    finally:
        for name in list(cluster.workers):
            daemon = cluster.workers.pop(name)
            if (found := daemon.process()) is not None:  # one that was retired is gone
                found.kill()
            daemon.stop()


@contextmanager
def wire(address: str, **names: str) -> Iterator[Wire]:
    """Yield a connection to an address."""
    made = Wire(lambda: (address, names), 2.0, "test")
    yield made
    made._drop()
    made._loop.run_until_complete(asyncio.sleep(0))
    made._loop.close()
    with warnings.catch_warnings():  # distributed leaves the sockets of failed connections to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def refusal(address: str, kind: type[NexapodError] = SchedulerError, **names: str) -> str:
    """Return what is said of an address that cannot be used."""
    with wire(address, **names) as made, pytest.raises(kind) as caught:
        made.workers()
    assert caught.value.hint
    return f"{caught.value} {caught.value.hint}"


def tls(authority: Authority, certificate: Authority | None = None) -> dict[str, Any]:
    """Return the files of a client that trusts an authority, its certificate perhaps signed by another one."""
    theirs = (certificate or authority).words("client")
    return {"tls_ca_file": str(authority.certificate), "tls_client_cert": theirs["tls_cert"], "tls_client_key": theirs["tls_key"]}


def test_where_nothing_listens(home: DaskHome) -> None:
    """`site check` ends with 69, a job is kept and waits, and `explain` says why."""
    home.pool(f"tcp://127.0.0.1:{free_ports(1)[0]}", dask=QUICK)
    found = home.check(code=69)
    assert "nothing listens there (connection refused)" in found["scheduler"]["text"]
    assert "check that the scheduler runs" in found["scheduler"]["hint"]
    assert found["test job"]["mark"] == "skip"
    job = home.start('[job]\ncommand = ["true"]\n[quorum]\nagree = 1\n')
    assert "nothing listens there" in home.explain(f"{job}_0")
    assert home.call("cancel", job).code == 0


def test_hosts_that_do_not_exist_are_named() -> None:
    """A misspelt name is no timeout."""
    assert "no such host: nowhere.invalid" in refusal("tcp://nowhere.invalid:8786")


def test_other_servers_are_recognised(sshd: Sshd, cluster: DaskCluster) -> None:
    """The sshd, the scheduler's own web pages, one of its workers, and a server that never says a word."""
    assert "an SSH server" in refusal(f"tcp://{sshd.host}:{sshd.port}")
    with wire(cluster.address) as made:
        made.workers()
        assert "a web server" in refusal(f"tcp://127.0.0.1:{made.services['dashboard']}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "takes the connection and says nothing" in refusal(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
    with workers(cluster, "w1"), wire(cluster.address) as made:
        (worker,) = made.workers()
        assert "is no scheduler: got a Worker" in refusal(worker)


def test_tls_that_does_not_fit(cluster: DaskCluster, encrypted: DaskCluster, authorities: tuple[Authority, Authority]) -> None:
    """Plain to TLS, TLS to plain, an authority that did not sign, a certificate of a stranger, files that are not there."""
    ours, theirs = authorities
    assert "wants TLS" in refusal(encrypted.address.replace("tls:", "tcp:"))
    assert "does not use TLS" in refusal(cluster.address.replace("tcp:", "tls:"), **tls(ours))
    for files in (tls(theirs), tls(theirs, ours)):
        said = refusal(encrypted.address, **files)
        assert f"the scheduler's certificate was issued by CN=authority of ours, which is not in dask.tls_ca ({files['tls_ca_file']})" in said
    files = tls(ours, theirs)
    said = refusal(encrypted.address, **files)
    assert f"dask.tls_cert ({files['tls_client_cert']}) was issued by CN=authority of theirs, which is not in dask.tls_ca" in said
    swapped = {**tls(ours), "tls_client_key": ours.words("another")["tls_key"]}
    assert "is not the key of dask.tls_cert" in refusal(encrypted.address, **swapped)
    missing = {**tls(ours), "tls_client_key": "/nonexistent/key"}
    assert "dask.tls_key names no certificate or key: got there is no file" in refusal(encrypted.address, **missing)


def test_a_tls_key_that_others_can_read_is_refused(encrypted: DaskCluster, authorities: tuple[Authority, Authority]) -> None:
    """With the command that mends it."""
    files = tls(authorities[0])
    Path(files["tls_client_key"]).chmod(0o644)
    said = refusal(encrypted.address, ConfigError, **files)
    assert "can be read or changed by others: got mode 0644, wanted 0600" in said
    assert f"chmod 600 {files['tls_client_key']}" in said


def test_a_job_over_tls(home: DaskHome, encrypted: DaskCluster, authorities: tuple[Authority, Authority]) -> None:
    """With the right certificates everything works, and `site check` says that it is encrypted."""
    home.pool(encrypted.address, dask=authorities[0].words("researcher"), partition={"hosts": 2})
    found = home.check()
    assert found["encryption"]["text"] == "TLS, in both directions"
    assert {one["mark"] for one in found.values()} == {"ok"}
    done = home.submit('[job]\ncommand = ["echo", "a"]\n[quorum]\nagree = 2\ndistinct = "host"\n', "--wait")
    assert done.code == 0, done.err


def test_versions_that_differ_are_named_with_the_fix(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """Ours, the scheduler's and the workers' are compared; who differs is named, and what to install."""
    old = tmp_path / "old_versions.py"
    old.write_text(
        "import distributed.versions as v\n"
        'v.get_package_info = lambda pkgs, real=v.get_package_info: {**real(pkgs), "distributed": "2024.1.0"}\n'
    )
    with workers(cluster, "w1"):
        cluster.start_worker("w2", more=["--preload", str(old)])
        home.pool(cluster.address, partition={"hosts": 2})
        found = home.check("--no-job")["versions"]
    assert found["mark"] == "warn"
    assert "worker tcp://127.0.0.3:" in found["text"]
    assert "has distributed 2024.1.0" in found["text"]
    assert "pip install dask==" in found["hint"]


def test_priority_and_binding_are_passed_on(home: DaskHome, cluster: DaskCluster) -> None:
    """The scheduler holds the task under our key, for one worker and no other, with our priority and without retries."""
    with workers(cluster, "w1"):
        home.pool(cluster.address, partition={"hosts": 1})
        gate = home.folder / "gate"
        job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done", more="[schedule]\npriority = 7\n"))
        home.ran(1)
        code = "lambda dask_scheduler: [(k, t.annotations, t.retries, sorted(t.worker_restrictions or ())) for k, t in dask_scheduler.tasks.items()]"
        ((key, annotations, retries, restricted),) = client(cluster, f"client.run_on_scheduler({code})")
        gate.touch()
        home.ended(job)
    assert key.startswith("nexapod-")
    assert annotations["priority"] == 7
    assert retries == 0
    assert [one.partition(":")[2].rpartition(":")[0] for one in restricted] == ["//127.0.0.2"]


@pytest.mark.parametrize("how", ["killed", "retired"])
def test_a_worker_that_leaves_is_replaced(home: DaskHome, cluster: DaskCluster, how: str) -> None:
    """Killed: what it ran is lost, in words, and repeated as another replica. Retired: it may finish what it runs."""
    with workers(cluster, "w1", "w2"):
        home.pool(cluster.address, partition={"hosts": 2})
        gate = home.folder / "gate"
        job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
        home.ran(1)
        (host,) = [one for one in ("127.0.0.2", "127.0.0.3") if f"//{one}:" in "".join(client(cluster, "[w for w, t in client.processing().items() if t]"))]
        name = {"127.0.0.2": "w1", "127.0.0.3": "w2"}[host]
        if how == "killed":
            home.kill_runners()
            cluster.kill(name)
        else:
            client(cluster, f"client.retire_workers(names=['{name}'])")
        gate.touch()
        home.ended(job)
    kinds = home.replicas(job)
    assert kinds[-1] == "reported"
    assert set(home.executed().values()) == {1}
    assert how == "retired" or kinds == ["lost", "reported"]


def test_a_scheduler_that_hangs_is_waited_for(home: DaskHome, cluster: DaskCluster) -> None:
    """It takes connections and answers none: said so, nothing is lost, and when it goes on so does the job."""
    with workers(cluster, "w1"):
        home.pool(cluster.address, partition={"hosts": 1}, dask=QUICK)
        gate = home.folder / "gate"
        job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
        home.ran(1)
        cluster.signal(signal.SIGSTOP)
        try:
            assert "takes the connection and says nothing" in home.explain(f"{job}_0")
            gate.touch()
        finally:
            cluster.signal(signal.SIGCONT)
        home.ended(job)
    assert home.replicas(job) == ["reported"]


def test_a_scheduler_that_starts_again(home: DaskHome, tmp_path: Path) -> None:
    """Its workers went with it: what was not reported is lost and replaced on the new ones; nothing runs twice."""
    with DaskCluster.start(tmp_path / "own", workers=1) as own:
        home.pool(own.address, partition={"hosts": 1})
        gate = home.folder / "gate"
        job = home.start(home.tasks(1, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
        home.ran(1)
        own.kill()
        own.kill("w1")
        until(lambda: not home.runners(), "the runner to end with its worker")
        own.start_scheduler()
        own.start_worker("w2", 1)
        home.drive(lambda: len(home.executed()) == 2, "another replica to start")
        gate.touch()
        home.ended(job)
    assert home.replicas(job) == ["lost", "reported"]
    assert set(home.executed().values()) == {1}
