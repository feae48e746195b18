"""Limits of a QOS on a real cluster: packing never breaks what each replica keeps, and what a user's own request breaks is said."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Cluster, Clusters
from real.slurm_homes import SlurmHome, queue

if TYPE_CHECKING:
    from collections.abc import Iterator

#: name -> what sacctmgr sets; with DenyOnLimit sbatch refuses, without it the job waits in the queue for ever.
QOS = {
    "cpus-deny": "MaxTRESPerJob=cpu=1 Flags=DenyOnLimit", "cpus": "MaxTRESPerJob=cpu=1", "mem-deny": "MaxTRESPerJob=mem=150 Flags=DenyOnLimit",
    "wall-deny": "MaxWall=00:01:00 Flags=DenyOnLimit", "wall": "MaxWall=00:01:00", "user-deny": "MaxTRESPerUser=cpu=2 Flags=DenyOnLimit",
    "user": "MaxTRESPerUser=cpu=2", "group": "GrpTRES=cpu=2", "group-deny": "GrpTRES=cpu=2 Flags=DenyOnLimit", "group-mem": "GrpTRES=mem=250",
    "account": "MaxTRESPerAccount=cpu=2",
}  # fmt: skip


@pytest.fixture(scope="module")
def limited() -> Iterator[Cluster]:
    """Yield a cluster that enforces limits, with a QOS for each kind of them."""
    shape = Shape(name="delta", nodes=("d1",), extra={"AccountingStorageEnforce": "limits,qos"})
    with Clusters.start(shapes=(shape,)) as clusters:
        cluster = clusters.each["delta"]
        for name, limits in QOS.items():
            cluster.run("sacctmgr", "--immediate", "add", "qos", name, "set", *limits.split(), check=True)
        mine = pwd.getpwuid(os.geteuid()).pw_name
        argv = ("modify", "user", mine, "set", f"qos+={','.join(QOS)}", "where", "cluster=delta")
        cluster.run("sacctmgr", "--immediate", *argv, check=True)
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("qos", QOS)
def test_packing_breaks_no_limit_that_a_replica_keeps(home: SlurmHome, limited: Cluster, qos: str) -> None:
    """What is refused, or would wait for ever, is placed anew in smaller jobs: no error, no loss, nothing twice."""
    home.site(limited, scheduler={"qos": qos}, partition={"hosts": 1})
    job = home.start(home.tasks(6, time_s=60, quorum="max_lost = 0\nmax_errors = 0\n", more='mem = "100MiB"\n'))
    home.ended(job)
    assert home.executed().total() == 6
    assert {"reported"} == {row[0] for row in home.replicas(job, "execution, validation") if row[1] != "unneeded"}
    assert queue(limited) == []


def test_what_the_users_own_request_breaks_is_said_at_once(home: SlurmHome, limited: Cluster) -> None:
    """As sbatch does: exit code, Slurm's word, and the step that helps; a retry is proposed for afterwards only."""
    home.site(limited, scheduler={"qos": "cpus-deny"}, partition={"hosts": 1})
    done = home.call("submit", home.descriptor(home.tasks(1, more="cpus_per_task = 2\n")))
    assert done.code != 0
    assert "QOSMaxCpuPerJobLimit" in done.err
    assert "ask for less in [resources]" in done.err
    assert "when that is mended, to try again" in home.explain()
