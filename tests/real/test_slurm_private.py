"""A real cluster that shows people no more than they need (PrivateData): what an ordinary account sees, and is told."""

from __future__ import annotations

import os
import pwd
import shlex
from typing import TYPE_CHECKING

import pytest
from apptainer.accounts import AccountHome, Accounts, do_as, opened, two_accounts
from clusters.confs import Shape
from clusters.slurm import Cluster, Clusters
from homes import open_folder
from nexapod_backends.slurm.cli.parse import (
    ENVIRONMENT,
    SACCT,
    SCONTROL_PARTITIONS,
    SINFO,
    SQUEUE,
    read_partitions,
    read_sacct,
    read_sinfo,
    read_squeue,
)
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes
from real.slurm_homes import site_text, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts")]

HIDDEN = "accounts,events,jobs,nodes,partitions,reservations,usage,users"


@pytest.fixture(scope="module")
def private() -> Iterator[Cluster]:
    """Yield a cluster that hides all it can."""
    shape = Shape(name="zeta", nodes=("z1", "z2"), extra={"PrivateData": HIDDEN}, before=opened())
    with Clusters.start(shapes=(shape,)) as clusters:
        yield clusters.each["zeta"]


@pytest.fixture(scope="module")
def accounts(private: Cluster) -> Iterator[Accounts]:
    """Yield two accounts that may submit jobs, and have no other right in Slurm."""
    with two_accounts() as both:
        for name in both:
            private.run("sacctmgr", "--immediate", "add", "user", name, "account=root", check=True)
        yield both


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that both can reach."""
    with open_folder() as made:
        yield made


def say(cluster: Cluster, who: str, folder: Path, *argv: str) -> str:
    """Return what a command of Slurm prints to an account."""
    names = " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items())
    done = do_as(who, f"{names} exec {cluster.bin}/{shlex.join(argv)}", folder)
    return done.stdout


def test_everybody_sees_the_own_jobs_and_nobody_elses(private: Cluster, accounts: Accounts, folder: Path) -> None:
    """In the queue and in the accounting alike: what is hidden is not there, and no error says that it is."""
    job = say(private, accounts.alice, folder, "sbatch", "--parsable", "--chdir=/", "--output=/dev/null", "--job-name=nexapod-ab", "--wrap=sleep 300").strip()
    assert job.isdigit()
    until(lambda: read_squeue(say(private, accounts.alice, folder, *SQUEUE, f"--jobs={job}")).rows[0].state == "RUNNING", "the job to run")
    until(lambda: "nexapod-ab" in say(private, accounts.alice, folder, *SACCT, f"--jobs={job}"), "the accounting to know its name")
    for argv, read in ((SQUEUE, read_squeue), (SACCT, read_sacct)):
        seen = {who: read(say(private, who, folder, *argv, f"--jobs={job}")) for who in accounts}
        assert [row.name for row in seen[accounts.alice].rows] == ["nexapod-ab"]
        assert (seen[accounts.mallory].rows, seen[accounts.mallory].unreadable) == ((), 0)
    say(private, accounts.alice, folder, "scancel", job)


def test_partitions_and_hosts_are_hidden_without_an_error(private: Cluster, accounts: Accounts, folder: Path) -> None:
    """So an empty answer is no sign that there are none: who reads it must know what is hidden."""
    assert read_partitions(say(private, accounts.alice, folder, *SCONTROL_PARTITIONS)).rows == ()
    assert read_sinfo(say(private, accounts.alice, folder, *SINFO)).rows == ()
    assert read_nodes(say(private, accounts.alice, folder, *SCONTROL_NODES)) == {}
    assert {row.name for row in read_partitions(private.run(*SCONTROL_PARTITIONS).stdout).rows} >= {"short", "long"}


def home_of(who: str, cluster: Cluster, folder: Path) -> AccountHome:
    """Return a home of an account that knows the cluster."""
    home = AccountHome(folder, who)
    sites = home.path / "sites.d"
    sites.mkdir(mode=0o700, parents=True)
    (sites / "zeta.toml").write_text(site_text(cluster))
    for path in (home.path, sites, sites / "zeta.toml"):
        os.chown(path, pwd.getpwnam(who).pw_uid, -1)
    return home


JOB = """schema = 1
[job]
name = "private"
command = ["sh", "-c", "id -un > who.txt"]
[resources]
time = "60s"
[array]
ids = "0-3"
[quorum]
agree = 2
distinct = "run"
[[outputs]]
path = "who.txt"
"""


def test_a_job_of_an_ordinary_account_is_accepted(private: Cluster, accounts: Accounts, folder: Path) -> None:
    """It runs as that account; what is hidden from it is in nobody's way."""
    home = home_of(accounts.alice, private, folder)
    descriptor = folder / "job.toml"
    descriptor.write_text(JOB)
    descriptor.chmod(0o644)
    done = home.call("submit", descriptor, "--wait=60s")
    assert done.code == 0, done.out + done.err
    results = [path.read_text().strip() for path in sorted(home.path.glob("results/1/*/who.txt"))]
    assert results == [accounts.alice] * 4
    owners = say(private, accounts.alice, folder, "sacct", "--noheader", "--parsable2", "--allocations", "--format=User,JobName")
    assert any(line.startswith(f"{accounts.alice}|nexapod-") for line in owners.splitlines())
    home.end()


def test_a_check_says_what_is_hidden(private: Cluster, accounts: Accounts, folder: Path) -> None:
    """No sentence says that the partition is missing, or that the file promises too much; a job would be taken."""
    home = home_of(accounts.alice, private, folder)
    made = home.call("site", "init", "--from-slurm", "--bin", private.bin, "--conf", private.conf, "--name", "draft")
    assert (made.code, "Slurm hides partitions from who may not use them" in made.err) == (69, True)
    done = home.call("site", "check", "zeta", "--no-job")
    assert done.code == 0, done.out + done.err
    assert "Slurm does not show it to you (PrivateData=partitions)" in done.out
    assert "\nfail" not in f"\n{done.out}"
    assert "has none of this name" not in done.out
    home.end()
