"""Trails of logs on clusters: Slurm with shared folders, Slurm over SSH, and Dask with files that travel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from real.dask_homes import DaskHome
from real.slurm_homes import SlurmHome, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

#: It writes, and waits until it may end.
JOB = """[job]
name = "talks"
command = ["sh", "-c", "echo begun; while [ ! -e {folder}/end ]; do sleep 0.1; done; echo ended"]
[resources]
time = "5m"
[quorum]
distinct = "run"
"""
FIRST = '[job]\ncommand = ["true"]\n[resources]\ntime = "1m"\n[quorum]\ndistinct = "run"\n'


def hurry(home: SlurmHome) -> None:
    """Let the notes of every node begin at once: a job makes the settings first."""
    done = home.submit(FIRST, "--wait")
    assert done.code == 0, done.err
    files = [file for file in Path(home.folder).rglob("node.json") if "spool" in file.parts or "nexapod-" in str(file)]
    assert files
    for file in files:
        file.write_text(json.dumps({**json.loads(file.read_text()), "trail_s": 0.3}))


def noted(home: SlurmHome) -> bool:
    """Take in what there is; say whether both replicas have a note, and hold."""
    home.call("reconcile")
    document = home.json("logs", 2, "--verify") if home.call("logs", 2, "--verify").code == 0 else {"replicas": []}
    return len([one for one in document["replicas"] if one["notes"]]) == 2


def followed(home: SlurmHome) -> None:
    """Run the job; its logs are verified before its end, and after, and the statements have the heads of both trails."""
    hurry(home)
    try:
        assert home.submit(JOB.replace("{folder}", str(home.folder))).code == 0
        until(lambda: noted(home), "a note of each replica")
    finally:
        (home.folder / "end").touch()
    assert home.call("wait", 2, "--timeout", "90s").code == 0
    found = home.json("logs", 2, "--verify")
    assert [(one["ok"], one["signed"]) for one in found["replicas"]] == [(True, True)] * 2
    assert home.call("verify", 2).code == 0


def over_ssh(home: SlurmHome, cluster: Cluster, sshd: Sshd) -> None:
    """Write a site file that reaches a cluster through sshd."""
    reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts), "connect_timeout": "10s"}
    home.site(cluster, scheduler={"transport": "ssh"}, ssh=reached, filesystem={"work_dir": str(home.folder / "far")})


@pytest.mark.slow
@pytest.mark.parametrize("way", ["shared", "ssh"])
def test_on_slurm(tmp_path: Path, alpha: Cluster, sshd: Sshd, way: str) -> None:
    """Compute nodes write the notes; over SSH they are brought with the reports."""
    home = SlurmHome(tmp_path)
    begin: Callable[[], None] = (lambda: home.site(alpha)) if way == "shared" else (lambda: over_ssh(home, alpha, sshd))
    begin()
    try:
        followed(home)
    finally:
        home.end()


@pytest.mark.slow
def test_on_dask(tmp_path: Path) -> None:
    """Segments come through Dask while the replica runs."""
    home = DaskHome(tmp_path)
    with DaskCluster.start(tmp_path / "dask", workers=2) as cluster:
        home.pool(cluster.address)
        try:
            followed(home)
        finally:
            home.end()
