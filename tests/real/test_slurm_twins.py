"""A copied site file of a real cluster: two names, and one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clusters.slurm import Cluster
    from real.slurm_homes import SlurmHome

pytestmark = pytest.mark.slow

JOB = '[job]\ncommand = ["echo", "1"]\n[quorum]\nagree = 2\ndistinct = "{field}"\n'


def test_a_copied_site_file_makes_no_second_site(home: SlurmHome, alpha: Cluster, beta: Cluster) -> None:
    """With other names and owners: sites, owners and nodes of one cluster are refused; another cluster is one more."""
    home.site(alpha, site={"owner": "first"})
    home.site(alpha, name="mirror", site={"owner": "second", "name": "mirror"})
    for field in ("site", "owner", "node"):
        refused = home.submit(JOB.format(field=field))
        assert refused.code == 65, refused.out
        assert "site mirror is the cluster of site alpha" in refused.err
        assert f"slurm:{alpha.name}@" in refused.err
    home.site(beta)
    done = home.submit(JOB.format(field="site"), "--wait=100s")
    assert done.code == 0, done.err
    (task,) = home.json("show", "last")["tasks"]
    assert "from 2 sites" in task["reason"]
    assert "all run by one account" in task["reason"]
    assert len({one["site"] for one in task["replicas"]} & {"beta"}) == 1
    assert home.call("verify", "last").code == 0


def test_a_node_here_and_a_cluster_have_one_owner(home: SlurmHome, beta: Cluster) -> None:
    """The account that registers both, unless the site's file names another one."""
    assert home.call("node", "init", "--name", "here").code == 0
    home.site(beta)
    refused = home.submit(JOB.format(field="owner"))
    assert refused.code == 65, refused.out
    assert "differ in owner: got 1 in reach" in refused.err
    owners = {one["name"]: one["owner"] for one in home.json("node", "ls")["nodes"]}
    assert owners["here"] == owners["beta"]
    home.site(beta, site={"owner": "institute"})
    assert home.submit(JOB.format(field="owner")).code == 0
