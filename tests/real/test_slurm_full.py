"""An account that may have few jobs in the queue: what fits is submitted, the rest follows, and every task runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Clusters
from real.slurm_homes import SlurmHome, mark, queue, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster

#: The account whose limit the tests set; the other one has none.
LIMITED = {"account": "science"}


@pytest.fixture(scope="module")
def strict() -> Iterator[Cluster]:
    """Yield a cluster that enforces the limits of accounts."""
    shape = Shape(name="gamma", nodes=("g1", "g2"), min_job_age=60, extra={"AccountingStorageEnforce": "associations,limits,qos"})
    with Clusters.start(shapes=(shape,)) as clusters:
        yield clusters.each["gamma"]


def allow(cluster: Cluster, jobs: int, who: str = "user") -> None:
    """Set how many jobs the account may have in the queue; -1 for as many as it likes."""
    limit = {"user": "MaxSubmitJobs", "account": "GrpSubmitJobs"}[who]
    where = ["name=science"] if who == "account" else [f"name={cluster.run('id', '-un').stdout.strip()}", "account=science"]
    cluster.run("sacctmgr", "--immediate", "modify", who, "where", *where, "set", f"{limit}={jobs}", check=True)


def test_what_fits_is_submitted_and_the_rest_follows(home: SlurmHome, strict: Cluster, gate: Path) -> None:
    """Never more in the queue than allowed, never much less; explain names the limit; every task runs once."""
    allow(strict, 10)
    home.site(strict, scheduler=LIMITED, pack={"tasks": 1})
    before = mark(strict)
    job = home.start(home.tasks(40, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
    home.drive(lambda: 5 <= len(queue(strict)) <= 10, "what fits to be queued")
    words = "NEW, waits: site gamma: Slurm takes no more jobs of this account now (AssocMaxSubmitJobLimit; "
    assert words in home.explain(f"{job}_39")
    assert home.call("reconcile").err == ""
    gate.touch()
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, len(queue(strict)))
        return bool(home.job(job)["finished_at"])

    home.drive(ended, "the job to end")
    home.ended(job)
    assert most <= 10
    assert home.executed() == {f"{job}_{task}.1": 1 for task in range(40)}
    until(lambda: sum(map(len, slurm_jobs(strict, before).values())) == 40, "accounting to know all 40")
    assert len(slurm_jobs(strict, before)) < 20  # arrays, not single jobs
    assert home.groups() == {}
    assert list(home.spool("gamma").glob("groups/*")) == list(home.spool("gamma").glob("logs/*")) == []


def test_jobs_of_somebody_else_leave_no_room(home: SlurmHome, strict: Cluster) -> None:
    """The whole account is full without us: the job waits, with how to see the limit, and runs when there is room."""
    allow(strict, -1)
    allow(strict, 2, "account")
    try:
        argv = ["sbatch", "--parsable", "--account=science", "--hold", "--array=0-1", "--output=/dev/null", "--wrap=true"]
        other = strict.run(*argv, check=True, cwd=strict.conf.parent).stdout.strip()
        home.site(strict, scheduler=LIMITED, pack={"tasks": 1})
        job = home.start(home.tasks(4))
        for _ in range(2):
            home.reconcile()
        said = home.explain(job)
        assert said.count("(AssocGrpSubmitJobsLimit; sacctmgr show assoc, or show qos, tells the limit)") == 4, said
        strict.run("scancel", other, check=True)
        home.ended(job)
        assert set(home.executed().values()) == {1}
    finally:
        allow(strict, -1, "account")


def test_another_account_is_not_held_up(home: SlurmHome, strict: Cluster) -> None:
    """What waits for one account's limit does not keep back what is charged to another."""
    allow(strict, 0)
    try:
        home.site(strict, scheduler=LIMITED, pack={"tasks": 1})
        first = home.start(home.tasks(2))
        second = home.start(home.tasks(2) + '[site.gamma.resources]\naccount = "root"\n')
        home.drive(lambda: home.job(second)["finished_at"], "the other job to end")
        assert home.job(first)["finished_at"] is None
    finally:
        allow(strict, -1)
    home.ended(first)


def test_a_waiting_part_is_cancelled(home: SlurmHome, strict: Cluster, gate: Path) -> None:
    """What was queued and what was not: all of it ends, nothing is submitted afterwards."""
    allow(strict, 4)
    home.site(strict, scheduler=LIMITED, pack={"tasks": 1})
    job = home.start(home.tasks(12, f"while [ ! -e '{gate}' ]; do sleep 0.1; done"))
    home.drive(lambda: queue(strict), "some to be queued")
    assert home.call("cancel", job).code == 0
    home.ended(job, "cancelled")
    assert queue(strict) == []
    assert home.groups() == {}
