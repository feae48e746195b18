"""States that are saved and gone on from, on real clusters and in real containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from homes import Home, ended
from real.dask_homes import DaskHome
from real.slurm_homes import FarHome, until

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd
    from real.slurm_homes import SlurmHome

#: Counts its attempts; is stopped by the signal before its time is over, twice.
SCRIPT = """#!/bin/sh
mkdir -p state
trap 'exit 85' USR1
cat /bin/cat > state/program; n=$(($(cat state/n 2>/dev/null || echo 0) + 1)); echo $n > state/n
[ $n -ge 3 ] || { sleep 100 & wait; exit 7; }
echo $n > out
"""
JOB = (
    f'[job]\nscript = {json.dumps(SCRIPT)}\n[resources]\ntime = "40s"\n[quorum]\nagree = 1\n[[outputs]]\npath = "out"\n'
    '[checkpoint]\npath = "state/*"\nsignal = "USR1@30"\n'
)
#: Saves its state and is stopped by nobody but the scheduler; what comes after it ends at once.
LONG = """#!/bin/sh
mkdir -p state
n=$(($(cat state/n 2>/dev/null || echo 0) + 1)); echo $n > state/n.new; mv state/n.new state/n
[ $n -ge 2 ] || { echo > GATE; sleep 600; }
echo $n > out
"""
#: Says after its first attempt that it is not done.
BRIEF = LONG.replace("{ echo > GATE; sleep 600; }", "exit 85")
CHAIN = [("lost", None), ("lost", 1), ("reported", 2)]


def asking(script: str) -> str:
    """Return the text of a descriptor that runs a script once for a vote."""
    return f'[job]\nscript = {json.dumps(script)}\n[quorum]\nagree = 1\n[[outputs]]\npath = "out"\n[checkpoint]\npath = "state/*"\n'


def goes_on(home: Home | SlurmHome) -> None:
    """Check that job 1 went on from its first attempt, and that the second one alone has a vote."""
    assert chain(home) == [("lost", None), ("reported", 1)]
    assert (home.path / "results/1/0/out").read_text() == "2\n"
    assert home.call("verify", 1).code == 0


def chain(home: Home | SlurmHome) -> list[tuple[str, int | None]]:
    """Return what became of each replica of job 1, and from which it went on."""
    (task,) = home.json("show", 1)["tasks"]
    return [(replica["execution"], replica["continues"]) for replica in task["replicas"]]


@pytest.mark.slow
def test_on_a_cluster(home: SlurmHome, alpha: Cluster) -> None:
    """Each attempt is a job of its own; the state is brought from its files and put back."""
    home.site(alpha)
    done = home.submit(JOB, "--wait")
    assert done.code == 0, done.err
    assert chain(home) == CHAIN
    assert (home.path / "results/1/0/out").read_text() == "3\n"
    assert home.call("verify", 1).code == 0


@pytest.mark.slow
def test_over_ssh(tmp_path: Path, alpha: Cluster, sshd: Sshd) -> None:
    """States travel from the cluster to us and back, and nothing of the site is on our disk."""
    home = FarHome(tmp_path)
    home.over_ssh(alpha, sshd)
    try:
        done = home.submit(asking(BRIEF), "--site", "alpha", "--wait")
        assert done.code == 0, done.err
        goes_on(home)
    finally:
        home.end()


@pytest.mark.slow
def test_on_dask_workers(tmp_path: Path) -> None:
    """Nothing is shared: states travel through the scheduler."""
    home = DaskHome(tmp_path)
    with DaskCluster.start(tmp_path / "dask", workers=2) as cluster:
        home.pool(cluster.address)
        try:
            done = home.submit(asking(BRIEF), "--site", "pool", "--wait")
            assert done.code == 0, done.err
            goes_on(home)
        finally:
            home.end()


@pytest.mark.slow
@pytest.mark.parametrize(("partition", "grace_s"), [("scavenge", 0), ("scavenge", 3), ("requeue", 0)])
def test_what_slurm_preempts_goes_on(home: SlurmHome, alpha: Cluster, gate: Path, partition: str, grace_s: int) -> None:
    """A job that ranks higher takes the nodes, at once or after a time: the state comes back, and one attempt votes."""
    alpha.run("scontrol", "update", f"partitionname={partition}", f"gracetime={grace_s}", check=True)
    home.site(alpha, partition={"name": partition})
    try:
        assert home.submit(asking(LONG.replace("GATE", str(gate))), "--site", "alpha").code == 0
        until(lambda: home.call("reconcile").code == 0 and gate.exists(), "the command to save its state")
        alpha.run("sbatch", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true", check=True, cwd=gate.parent)
        done = home.call("wait", 1)
    finally:
        alpha.run("scontrol", "update", f"partitionname={partition}", "gracetime=0", check=True)
    assert done.code == 0, done.err
    goes_on(home)


@pytest.mark.slow
def test_in_a_container(tmp_path: Path, sif: Path) -> None:
    """The signal reaches the command inside."""
    with ended(Home(tmp_path), "n") as home:
        done = home.submit(f'{JOB}[container]\nimage = "{sif}"\n', "--wait")
        assert done.code == 0, done.err
        assert chain(home) == CHAIN
        assert home.call("verify", 1).code == 0
