"""One job on a Slurm site, a Dask site and machines that joined over TLS: owners count, whatever runs their commands."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from clusters.dask import DaskCluster
from functional.test_mesh import joined, working
from real.dask_homes import DaskHome
from servers import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster
    from servers import Running

#: Whose each machine is: two of one lab, one of which is a Slurm site and the other one a volunteer's.
OWNERS = {"alpha": "lab a", "pool": "lab b", "desk": "lab a", "attic": "ann"}
JOB = """[job]
name = "mixed"
script = '''#!/bin/sh
cat in.txt
seq "$NEXAPOD_TASK" 40000 > numbers.txt
'''
[resources]
time = "1m"
mem = "100M"
[array]
ids = "1-3"
[[inputs]]
source = "in.txt"
target = "in.txt"
[[outputs]]
path = "numbers.txt"
[quorum]
agree = 3
distinct = "owner"
"""


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler with two workers on two hosts."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=2) as made:
        yield made


@pytest.fixture
def mixed(tmp_path: Path, alpha: Cluster, dask: DaskCluster) -> Iterator[tuple[DaskHome, Running]]:
    """Yield a home with two sites, and its server, for which two machines work that joined."""
    home = DaskHome(tmp_path)
    (tmp_path / "in.txt").write_text("what goes in\n")
    home.site(alpha, site={"owner": OWNERS["alpha"]})
    home.pool(dask.address, site={"name": "pool", "owner": OWNERS["pool"]})
    with ExitStack() as stack:
        stack.callback(home.end)
        server = stack.enter_context(running(home.path))
        for name in ("desk", "attic"):
            joined(server, tmp_path / name, "--name", name, "--owner", OWNERS[name])
            stack.enter_context(working(tmp_path / name))
        yield home, server


def owners_of(task: dict[str, Any]) -> list[str]:
    """Return the owners of the replicas of a task that have a vote, in order."""
    return sorted(OWNERS[one["node"].partition("-")[0]] for one in task["replicas"] if one["validation"] == "valid")


@pytest.mark.slow
def test_a_quorum_of_owners_on_three_kinds_of_nodes(mixed: tuple[DaskHome, Running]) -> None:
    """Four nodes are three owners, each task has one vote of each of them, the verdict says so, and verifies."""
    home, _ = mixed
    refused = home.submit(JOB.replace("agree = 3", "agree = 4"))
    assert (refused.code, "got 3 in reach" in refused.err) == (65, True), refused.err
    done = home.submit(JOB, "--wait=4m")
    assert done.code == 0, done.err + home.describe()
    tasks = home.json("show", "last")["tasks"]
    assert [owners_of(task) for task in tasks] == [["ann", "lab a", "lab b"]] * 3
    assert {task["reason"] for task in tasks} == {"3 of 3 agree, from 3 sites of 3 owners"}
    assert home.call("verify", "last").code == 0
    assert home.call("ledger", "verify").code == 0
    assert home.proof_code("last") == 0
