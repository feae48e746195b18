"""Faults of real clusters: whatever dies, is cancelled, requeued or goes away, every task ends right and runs once."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from clusters.confs import Shape
from clusters.slurm import Clusters
from homes import TRUE
from real.slurm_homes import SlurmHome, mark, queue, slurm_jobs, until, waiting

from nexapod_batch.model.reason import Reason
from nexapod_batch.runner.worker.executor_deaths import TOLERATED
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster

#: A cluster that forgets a finished job as soon as it can.
FORGETFUL = Shape(name="gamma", nodes=("g1",), min_job_age=2)


def replaced(home: SlurmHome, job: int, gate: Path) -> None:
    """Check that the only replica of a job is lost, another one runs, and nothing ran twice."""
    home.drive(lambda: len(home.executed()) == 2, "another replica to start")
    gate.touch()
    home.ended(job)
    assert home.replicas(job) == ["lost", "reported"]
    assert home.executed() == {f"{job}_0.1": 1, f"{job}_0.2": 1}


def test_a_job_cancelled_by_hand_is_replaced(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """The runner signs that it was stopped: lost, not an error."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    alpha.run("scancel", *queue(alpha), check=True)
    replaced(home, job, gate)


@pytest.mark.parametrize("setup", ["echo no licence for job $SLURM_JOB_ID >&2; exit 3", "exit 0"])
def test_a_wait_stops_where_nothing_ever_begins(home: SlurmHome, alpha: Cluster, setup: str) -> None:
    """After a few Slurm jobs that end alike, with the cause and the next step; mended, the same wait ends well."""
    home.site(alpha, environment={"setup": [setup]})
    done = home.submit(TRUE, "--wait")
    assert done.code == 78, done.err
    assert "node alpha gets nothing for 10 minutes: 4 launches in a row ended before anything began: " in done.err
    assert done.err.endswith("  -> mend that, then: nexapod-batch wait 1\n")
    assert home.replicas(1) == ["lost"] * 4
    assert "not on alpha: gets nothing for 10 minutes" in home.call("explain", "1").out
    assert home.json("reconcile")["launched"] == 0
    home.site(alpha)
    assert home.call("wait", "1").code == 0


def test_a_stop_is_never_the_tasks_error(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Slurm's TERM reaches commands and runners in any order: whoever died of it first was stopped, and did not fail."""
    home.site(alpha, pack={"tasks": 1})
    job = home.start(home.tasks(16, waiting(gate), quorum="max_lost = 0\n"))
    home.ran(16)
    alpha.run("scancel", *{element.partition("_")[0] for element in queue(alpha)}, check=True)
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.replicas(job) == ["lost"] * 16


@pytest.mark.parametrize("time_s", [None, 3600])
def test_a_task_that_reaches_the_end_of_its_slurm_job_is_at_fault(home: SlurmHome, alpha: Cluster, gate: Path, time_s: int | None) -> None:
    """Slurm's own warning comes: it had all the time that the partition gives, and would have it again."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate), time_s=time_s, quorum="max_errors = 0\n"))
    home.ran(1)
    alpha.run("scancel", "--batch", "--signal=USR2", *queue(alpha), check=True)
    home.ended(job, "failed")
    assert home.replicas(job) == ["errored"]
    assert "over the scheduler's time limit" in home.reasons(job)[0]


def test_a_task_whose_turn_came_late_is_not(home: SlurmHome, alpha: Cluster, gate: Path, tmp_path: Path) -> None:
    """Another one had most of the time of their Slurm job."""
    home.site(alpha, partition={"hosts": 1}, pack={"cpus": 1})
    job = home.start(home.tasks(2, f"while [ ! -e '{tmp_path}/'$NEXAPOD_TASK ]; do sleep 0.1; done"))
    home.ran(1)
    (tmp_path / "0").touch()
    home.ran(2)
    alpha.run("scancel", "--batch", "--signal=USR2", *queue(alpha), check=True)
    home.drive(lambda: home.replicas(job)[1] == "lost", "the second to be lost")
    assert "the scheduler's time was over" in home.reasons(job)[1]
    (tmp_path / "1").touch()
    home.ended(job)
    assert home.replicas(job) == ["reported", "lost", "reported"]


def test_killed_runners_are_replaced(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Nobody signs anything any more: Slurm's word on the job tells."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    assert home.kill_runners() >= 1
    replaced(home, job, gate)
    assert "FAILED" in home.reasons(job)[0]


def test_who_kills_its_runner_again_and_again_has_an_error(home: SlurmHome, alpha: Cluster) -> None:
    """Two deaths may be bad luck, and each is a loss; the third is signed as the task's own error, in the same Slurm job."""
    home.site(alpha)
    job = home.start(home.tasks(1, "kill -9 $PPID; sleep 600", quorum="max_errors = 0\n"))
    home.ended(job, "failed")
    assert home.replicas(job) == ["lost"] * TOLERATED + ["errored"]
    assert f"was killed {TOLERATED + 1} times" in home.reasons(job)[-1]


#: Replicas of one Slurm job wait for one another; then task 2 kills its runner, and with it whoever is there.
CULPRIT = """
here='{folder}'/$SLURM_JOB_ID; mkdir -p "$here"; touch "$here/$NEXAPOD_TASK"
until [ $(ls "$here" | wc -l) -ge ${{SLURM_CPUS_PER_TASK:-1}} ]; do sleep 0.1; done
if [ "$NEXAPOD_TASK" = 2 ]; then
  above=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status)
  grep -q nexapod_batch /proc/$above/cmdline && kill -9 $above
  kill -9 $PPID
fi
[ ! -e "$here/2" ] || sleep 600
"""


@pytest.mark.slow
def test_who_kills_the_runner_of_many_is_alone_in_the_end(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """Each Slurm job that dies is followed by ones half as large: the others lose little, and only the culprit fails."""
    home.site(alpha, partition={"hosts": 1}, environment={"pass": ["SLURM_JOB_ID", "SLURM_CPUS_PER_TASK"]})
    before = mark(alpha)
    job = home.start(home.tasks(6, CULPRIT.format(folder=tmp_path / "jobs"), quorum="max_lost = 4\n"))
    home.ended(job, "any")
    assert [row["state"] for row in home.rows("SELECT state FROM task ORDER BY idx")] == ["accepted"] * 2 + ["failed"] + ["accepted"] * 3
    lost = home.rows("SELECT task, count(*) AS n FROM replica WHERE execution = 'lost' GROUP BY task")
    assert {row["task"]: row["n"] for row in lost}[2] == 5
    assert max(row["n"] for row in lost if row["task"] != 2) <= 2  # in one of six, and in one of three
    assert sum(map(len, slurm_jobs(alpha, before).values())) <= 10


def test_a_requeued_job_executes_nothing_again(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Slurm starts the same job a second time: what it had claimed stays claimed."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    (element,) = queue(alpha)
    alpha.run("scontrol", "update", f"jobid={element}", "requeue=1", check=True)
    alpha.run("scontrol", "requeue", element, check=True)
    replaced(home, job, gate)


def test_a_preempted_job_is_replaced(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """A partition whose jobs give way; ours is never requeued by Slurm."""
    home.site(alpha, partition={"name": "requeue"})
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    alpha.run("sbatch", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1", check=True, cwd=gate.parent)
    replaced(home, job, gate)


@pytest.mark.slow
def test_a_node_that_dies_is_survived(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Power cut: what ran there is lost and runs elsewhere."""
    home.site(alpha, pack={"tasks": 1})
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    (node,) = queue(alpha, "%N")
    alpha.lose_node(node)
    try:
        replaced(home, job, gate)
        assert "NODE_FAIL" in home.reasons(job)[0]
    finally:
        alpha.start_node(node)


def test_a_runner_that_cannot_start_says_why_and_gives_up(home: SlurmHome, alpha: Cluster) -> None:
    """The last line of the job's log is the reason; the losses have their limit."""
    home.site(alpha, runner={"python": "/nonexistent/python"})
    before = mark(alpha)
    job = home.start(home.tasks(1, quorum="max_lost = 2\n"))
    home.ended(job, "failed")
    assert home.replicas(job) == ["lost"] * 3
    assert all("/nonexistent/python" in reason for reason in home.reasons(job))
    assert "infrastructure" in home.explain(job)
    assert len(slurm_jobs(alpha, before)) <= 3
    assert home.executed() == {}


@pytest.mark.slow
def test_a_controller_that_goes_and_comes_back(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Meanwhile reports are taken in, nothing is lost; what was submitted meanwhile runs afterwards."""
    home.site(alpha, scheduler={"cmd_timeout": "2s"})
    before = mark(alpha)
    job = home.start(home.tasks(4, waiting(gate)))
    home.ran(4)
    alpha.stop_controller()
    try:
        later = home.start(home.tasks(2))
        gate.touch()
        home.drive(lambda: home.job(job)["finished_at"], "the first job to end")
        assert home.replicas(later) == ["submitted"] * 2
    finally:
        alpha.start_controller()
    home.ended(later)
    until(lambda: len(slurm_jobs(alpha, before)) >= 2, "accounting to know them")
    assert all(len({element.partition("_")[0] for element in mine}) == 1 for mine in slurm_jobs(alpha, before).values())
    assert home.replicas(job) + home.replicas(later) == ["reported"] * 6


@pytest.mark.slow
def test_accounting_that_goes_and_comes_back(home: SlurmHome, slurm: Clusters, alpha: Cluster, gate: Path) -> None:
    """The queue is enough meanwhile."""
    home.site(alpha, scheduler={"cmd_timeout": "2s"})
    job = home.start(home.tasks(2, waiting(gate)))
    home.ran(2)
    slurm.stop_dbd()
    try:
        for _ in range(3):
            home.reconcile()
        gate.touch()
        home.ended(job)
        home.ended(home.start(home.tasks(2)))
    finally:
        slurm.start_dbd()
    assert home.replicas(job) == ["reported"] * 2


@pytest.mark.slow
def test_a_cluster_that_forgets_at_once(home: SlurmHome, gate: Path) -> None:
    """The runner died and the queue knows no such id any more: accounting tells; without it nothing is rushed."""
    with Clusters.start(shapes=(FORGETFUL,)) as clusters:
        gamma = clusters.each["gamma"]
        home.site(gamma, partition={"hosts": 1}, scheduler={"accounting": "squeue"})
        job = home.start(home.tasks(1, waiting(gate)))
        home.ran(1)
        home.kill_runners()
        native = str(home.rows("SELECT native_id FROM launch")[0][0])
        purged = ["squeue", f"--jobs={native.partition('_')[0]}"]
        until(lambda: "Invalid job id" in gamma.run(*purged).stderr, "the id to be purged")
        for _ in range(3):
            home.reconcile()
        assert home.replicas(job)[0] in {"submitted", "queued", "running"}
        home.site(gamma, partition={"hosts": 1})
        replaced(home, job, gate)


def test_a_segment_cut_in_the_middle_of_a_line(home: SlurmHome, alpha: Cluster) -> None:
    """What came whole counts; the replica whose report was cut is lost, and another one placed."""
    home.site(alpha, partition={"hosts": 1})
    job = home.start(home.tasks(3))
    inbox = home.spool("alpha") / "inbox"
    until(lambda: not list(inbox.iterdir()), "the runner to report")
    until(lambda: queue(alpha) == [], "the runner to end")
    segments = [one for one in (home.spool("alpha") / "reports").iterdir() if b'"payload"' in one.read_bytes()]
    content = segments[0].read_bytes()
    line = next(one for one in reversed(content.split(b"\n")) if b'"payload"' in one)
    os.truncate(segments[0], content.rindex(line) + len(line) // 2)
    home.ended(job)
    assert Counter(home.replicas(job)) == {"reported": 3, "lost": 1}
    assert set(home.executed().values()) == {1}
    assert home.call("verify", job).code == 0


def test_a_report_after_the_deadline_still_counts(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """The replica was called lost and another one placed; its report is taken in when it comes."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate), quorum='deadline = "3s"\n'))
    home.ran(1)
    home.drive(lambda: "lost" in home.replicas(job), "the deadline to pass")
    assert home.reasons(job)[0] == "deadline passed"
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.job(job)["n_accepted"] == 1
    assert home.replicas(job)[0] == "reported"
    assert set(home.executed().values()) == {1}


def test_what_ran_in_another_slurm_job_is_no_vote(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """The same script, submitted by hand beside ours, reports first: that is refused and told, and blames nobody."""
    home.site(alpha, partition={"hosts": 1})
    alpha.run("scontrol", "update", "partitionname=short", "state=down", check=True)
    try:
        job = home.start(home.tasks(1, quorum="max_lost = 3\n"))
        (group,) = (home.spool("alpha") / "groups").glob("*.json")
        script = json.loads(group.read_text())["script"].replace("--partition=short", "--partition=long")
        native = alpha.run("sbatch", "--parsable", text_in=script, check=True).stdout.strip()
        until(home.executed, "the other one to run", log=home.describe)
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up", check=True)
    home.ended(job)
    assert home.replicas(job) == ["lost", "reported"]
    (row,) = home.rows("SELECT reason FROM quarantine")
    assert f"ran in {native}_0" in sentence(Reason.parse(row["reason"]))
    assert home.rows("SELECT blame FROM node")[0]["blame"] == 0
