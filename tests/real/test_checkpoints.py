"""States that are saved and gone on from, on real clusters and in real containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster
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
    f'[job]\nscript = {json.dumps(SCRIPT)}\n[resources]\ntime = "20s"\n[quorum]\nagree = 1\n[[outputs]]\npath = "out"\n'
    '[checkpoint]\npath = "state/*"\nsignal = "USR1@16"\n'
)
CHAIN = [("lost", None), ("lost", 1), ("reported", 2)]


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
def test_in_a_container(tmp_path: Path, sif: Path) -> None:
    """The signal reaches the command inside."""
    with ended(Home(tmp_path), "n") as home:
        done = home.submit(f'{JOB}[container]\nimage = "{sif}"\n', "--wait")
        assert done.code == 0, done.err
        assert chain(home) == CHAIN
        assert home.call("verify", 1).code == 0
