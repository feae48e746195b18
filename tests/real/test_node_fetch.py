"""Compute nodes that fetch inputs by themselves: on a cluster that shares our files, and on one behind SSH."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from real.slurm_homes import FarHome
from web_server import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

DATA = b"1,2\n" * 100_000
DIGEST = hashlib.sha256(DATA).hexdigest()


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
        done = home.submit(
            '[job]\ncommand = ["sh", "-c", "wc -l < in > out; echo {task} >> out"]\n[array]\nids = "1-3"\n[quorum]\ndistinct = "run"\n'
            f'[[inputs]]\nsource = "{web.url}/data.csv"\ntarget = "in"\nsha256 = "{DIGEST}"\n[[outputs]]\npath = "out"\n',
            "--site", "alpha", "--wait",
        )
    assert done.code == 0, done.err
    assert (home.path / "results/1/2/out").read_text() == "100000\n2\n"
    assert [name for name, _, _ in web.asked] == ["data.csv"]
    assert not (home.path / "inputs" / DIGEST).exists()
    assert home.call("verify", 1).code == 0
