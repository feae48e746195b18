"""Compute nodes that fetch inputs by themselves: on clusters that share our files, behind SSH, and on workers of Dask."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from clusters.certificates import Authority
from clusters.dask import DaskCluster
from connect_proxy import connect_proxy
from real.dask_homes import DaskHome
from real.slurm_homes import FarHome
from web_server import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

DATA = b"1,2\n" * 100_000
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = (
    '[job]\ncommand = ["sh", "-c", "wc -l < in > out; echo {task} >> out"]\n[array]\nids = "1-3"\n[quorum]\ndistinct = "run"\n'
    f'[[inputs]]\nsource = "%s"\ntarget = "in"\nsha256 = "{DIGEST}"\n[[outputs]]\npath = "out"\n'
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FarHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = FarHome(tmp_path)
    made.env["NEXAPOD_SOURCES_PRIVATE_HOSTS"] = "localhost"
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("reached", ["shared", "ssh"])
def test_a_cluster_fetches_once(home: FarHome, alpha: Cluster, sshd: Sshd, tmp_path: Path, reached: str) -> None:
    """Three tasks with two replicas each cost one request; nothing is fetched here, nor brought from here."""
    authority = Authority(tmp_path / "ca")
    tables = {"site": {"name": "alpha", "fetch": "node"}, "environment.env": {"SSL_CERT_FILE": str(authority.certificate)}}
    if reached == "ssh":
        home.over_ssh(alpha, sshd, **tables)
    else:
        home.site(alpha, **tables)
    with web_server(*authority.issue("server", "localhost")) as web:
        web.files["data.csv"] = DATA
        done = home.submit(JOB % f"{web.url}/data.csv", "--site", "alpha", "--wait")
    assert done.code == 0, done.err
    assert (home.path / "results/1/2/out").read_text() == "100000\n2\n"
    assert [name for name, _, _ in web.asked] == ["data.csv"]
    assert not (home.path / "inputs" / DIGEST).exists()
    assert home.call("verify", 1).code == 0


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler with two workers."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=2) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_dask_workers_fetch_once(pool: DaskCluster, tmp_path: Path, shared: bool) -> None:
    """Workers of one storage ask once for all, through the proxy of their site; nothing is brought from here."""
    authority = Authority(tmp_path / "ca")
    with ExitStack() as stack:
        home = DaskHome(tmp_path)
        stack.callback(home.end)
        web = stack.enter_context(web_server(*authority.issue("far", "data.example")))
        proxy = stack.enter_context(connect_proxy())
        web.files["data.csv"] = DATA
        proxy.hosts["data.example:443"] = "127.0.0.1", int(web.url.rpartition(":")[2])
        tables: dict[str, Any] = {
            "site": {"name": "pool", "fetch": "proxy", "fetch_proxy": proxy.url},
            "environment.env": {"SSL_CERT_FILE": str(authority.certificate)},
        }
        home.pool(pool.address, shared=shared, **tables)
        done = home.submit(JOB % "https://data.example/data.csv", "--site", "pool", "--wait")
        assert done.code == 0, done.err + home.describe()
    assert (home.path / "results/1/2/out").read_text() == "100000\n2\n"
    assert [name for name, _, _ in web.asked] == ["data.csv"]
    assert not (home.path / "inputs" / DIGEST).exists()
    assert home.call("verify", 1).code == 0
