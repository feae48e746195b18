"""Jobs on two real clusters, as a researcher runs them: packing, arrays, limits, cancelling, the words for waiting."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from real.slurm_homes import SlurmHome, Wrapped, mark, queue, slurm_jobs, until, waiting

if TYPE_CHECKING:

    from clusters.slurm import Cluster

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"

ONE = "isolation none: the word of one account"


def elements(cluster: Cluster, after: int) -> list[str]:
    """Return every element of ours that accounting knows after a mark."""
    return [element for mine in slurm_jobs(cluster, after).values() for element in mine]


def test_the_first_example_agrees_over_two_clusters(home: SlurmHome, alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    """One replica from each cluster, two sites in the verdict, and every signature holds."""
    for cluster in (alpha, beta):
        home.site(cluster)
    for name in ("job.toml", "ising.py"):
        shutil.copy(ISING / name, tmp_path / name)
    done = home.call("submit", tmp_path / "job.toml", "--wait")
    assert done.code == 0, done.err
    (task,) = home.json("show", "last")["tasks"]
    assert (task["state"], task["reason"]) == ("accepted", "2 of 2 agree, from 2 sites, all run by one account")
    assert sorted(one["site"] for one in task["replicas"]) == ["alpha", "beta"]
    assert {one["host"] for one in task["replicas"]} <= {"a1", "a2", "b1", "b2"}
    assert home.call("verify", "last").code == 0
    assert home.proof_code("last") == 0
    assert (home.path / "results" / "1").is_dir()


def on_two_hosts(home: SlurmHome) -> dict[str, Any]:
    """Run one task that must agree on two hosts; return it."""
    home.ended(home.start('[job]\ncommand = ["echo", "1"]\n[quorum]\nagree = 2\nmax_replicas = 2\ndistinct = "host"\n'), "any")
    (task,) = home.json("show", "last")["tasks"]
    return dict(task)


def test_hosts_of_one_cluster_agree(home: SlurmHome, alpha: Cluster) -> None:
    """Two replicas, each kept to hosts of its own; the statements and Slurm's list say so, and not a poll interval later."""
    home.site(alpha, limits={"poll_interval": "10m"})
    done = home.submit('[job]\ncommand = ["echo", "1"]\n[quorum]\nmax_replicas = 2\ndistinct = "host"\n', "--wait")
    assert done.code == 0, done.err
    (task,) = home.json("show", "last")["tasks"]
    assert (task["state"], task["reason"]) == ("accepted", f"2 of 2 agree, from 2 machines of one site and owner, all run by one account; {ONE}")
    assert sorted(one["host"] for one in task["replicas"]) == ["a1", "a2"]


def test_an_error_on_two_hosts_is_an_error(home: SlurmHome, alpha: Cluster) -> None:
    """It waits for Slurm's word on hosts as an answer does; before that it is no verdict, and no lack of hosts."""
    home.site(alpha, limits={"poll_interval": "10m"})
    done = home.submit('[job]\ncommand = ["sh", "-c", "echo no input >&2; exit 7"]\n[quorum]\nmax_replicas = 2\ndistinct = "host"\n', "--wait")
    assert done.code == 1
    assert home.proof_code("last") == 0  # with hosts that the scheduler confirmed
    assert "1_0  failed: " in done.out
    assert "exit code 7; last line of stderr: no input" in done.out


def test_a_host_that_slurm_does_not_confirm_has_no_vote(home: SlurmHome, alpha: Cluster) -> None:
    """What runs on a2 says that it ran elsewhere: nobody knows that it did not run on a1."""
    home.site(alpha, environment={"setup": ['if [ "$SLURMD_NODENAME" = a2 ]; then export SLURMD_NODENAME=a9; fi']})
    task = on_two_hosts(home)
    assert task["state"] == "inconclusive"
    assert "1 of 1 answers agree, 2 needed; 1 more without a vote (the scheduler does not confirm its host)" in task["reason"]


def test_a_thousand_tasks_cost_few_slurm_jobs(home: SlurmHome, alpha: Cluster) -> None:
    """Packed: both nodes have work, no more Slurm jobs than a few times the nodes."""
    home.site(alpha)
    before = mark(alpha)
    text = '[job]\nname = "true"\ncommand = ["true"]\n[resources]\ntime = "1m"\n[array]\nids = "1-1000"\n'
    home.ended(home.start(text + '[quorum]\nagree = 1\ndistinct = "run"\n'))
    until(lambda: len(elements(alpha, before)) >= 2, "accounting to know them")
    assert len(elements(alpha, before)) <= 16
    assert queue(alpha) == []
    assert set(home.replicas(1)) == {"reported"}


def test_without_packing_each_task_is_a_slurm_job(home: SlurmHome, alpha: Cluster) -> None:
    """One call of sbatch, forty elements, each replica executed once."""
    home.site(alpha, pack={"tasks": 1})
    before = mark(alpha)
    home.ended(home.start(home.tasks(40)))
    until(lambda: len(elements(alpha, before)) == 40, "accounting to know them")
    assert len(slurm_jobs(alpha, before)) == 1
    assert home.executed() == {f"1_{task}.1": 1 for task in range(40)}
    assert home.claims() == set()
    assert home.groups() == {}


def test_arrays_are_no_longer_than_the_site_allows(home: SlurmHome, alpha: Cluster) -> None:
    """Ten elements, at most three in an array: four calls."""
    home.site(alpha, pack={"tasks": 1}, limits={"max_array": 3})
    before = mark(alpha)
    home.ended(home.start(home.tasks(10)))
    until(lambda: len(elements(alpha, before)) == 10, "accounting to know them")
    assert sorted(len(mine) for mine in slurm_jobs(alpha, before).values()) == [1, 3, 3, 3]


def test_no_more_slurm_jobs_than_the_site_allows(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """The rest waits with a reason, and follows when there is room."""
    home.site(alpha, pack={"tasks": 1}, limits={"max_array": 2, "max_jobs": 4})
    job = home.start(home.tasks(10, waiting(gate)))
    home.ran(4)
    for _ in range(3):
        home.reconcile()
        assert len(queue(alpha)) == 4
    assert "NEW, waits: 4 Slurm jobs are queued, max_jobs = 4" in home.explain(f"{job}_9")
    gate.touch()
    home.ended(job)
    assert home.executed() == {f"1_{task}.1": 1 for task in range(10)}


def test_a_task_of_a_packed_job_is_cancelled_alone(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Its neighbours in the same Slurm job finish; their Slurm job is not touched."""
    home.site(alpha, partition={"hosts": 1})
    before = mark(alpha)
    job = home.start(home.tasks(4, waiting(gate)))
    home.ran(4)
    (element,) = queue(alpha)
    assert home.call("cancel", f"{job}_2").code == 0
    until(lambda: home.reconcile() and home.rows("SELECT 1 FROM report"), "the report of the cancelled replica")
    assert queue(alpha) == [element]
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.replicas(job) == ["reported", "reported", "cancelled", "reported"]
    assert (home.job(job)["n_accepted"], home.job(job)["n_cancelled"]) == (3, 1)
    until(lambda: slurm_jobs(alpha, before), "accounting to know it")
    until(lambda: set(*map(dict.values, slurm_jobs(alpha, before).values())) == {"COMPLETED"}, "its Slurm job to complete")


@pytest.mark.parametrize("pack", [2_000, 1])
def test_a_cancelled_job_leaves_nothing_in_the_queue(home: SlurmHome, alpha: Cluster, gate: Path, pack: int) -> None:
    """Running and pending elements alike; every task is cancelled, and the launches are dropped."""
    home.site(alpha, pack={"tasks": pack})
    job = home.start(home.tasks(40, waiting(gate)))
    home.ran(16)
    if pack == 1:
        assert len(queue(alpha)) == 40
    assert home.call("cancel", job).code == 0
    until(lambda: queue(alpha) == [], "the queue to be empty", log=home.describe)
    home.ended(job, "cancelled")
    assert set(home.replicas(job)) == {"cancelled"}
    assert set(home.executed().values()) == {1}
    assert [one for folder in ("inbox", "claims", "cancel", "groups", "logs") for one in home.spool("alpha").glob(f"{folder}/*")] == []


def test_cancelling_is_one_act(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """One file stops all that is left: while it is put there, nothing more can start."""
    home.site(alpha, partition={"hosts": 1}, pack={"cpus": 1})
    job = home.start(home.tasks(30, waiting(gate), time_s=10))
    home.ran(1)
    home.drive(lambda: home.replicas(job)[0] == "running", "the first to be seen running")
    assert home.explain(f"{job}_0").endswith("runs on a1\n")
    assert "; waits its turn there, behind 2 others" in home.explain(f"{job}_2")
    for one in home.runners():  # until Slurm lets them go on and stops them
        one.suspend()
    assert home.call("cancel", job).code == 0
    assert [path.suffix for path in (home.spool("alpha") / "cancel").iterdir()] == [".list"]
    until(lambda: queue(alpha) == [], "the queue to be empty")
    home.ended(job, "cancelled")
    assert home.executed() == {f"{job}_0.1": 1}
    assert list((home.spool("alpha") / "cancel").iterdir()) == []


def test_cancelling_one_task_of_its_own_slurm_job_frees_the_node(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """Not packed: the element is cancelled, the others of the array go on."""
    home.site(alpha, pack={"tasks": 1})
    job = home.start(home.tasks(3, waiting(gate)))
    home.ran(3)
    assert home.call("cancel", f"{job}_1").code == 0
    until(lambda: len(queue(alpha)) == 2, "its element to go")
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.replicas(job) == ["reported", "cancelled", "reported"]


def test_a_task_over_its_own_time_is_its_own_error(home: SlurmHome, alpha: Cluster) -> None:
    """The runner stops it, signs TIME, and goes on with its neighbours."""
    home.site(alpha)
    job = home.start(home.tasks(2, '[ "$NEXAPOD_TASK" = 0 ] || sleep 600', time_s=2, quorum="max_errors = 0\n"))
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.replicas(job) == ["reported", "errored"]
    (_, reason) = home.reasons(job)
    assert "over its time limit of 2 s" in reason
    assert home.job(job)["n_failed"] == 1


def test_held_and_partly_pending_arrays_are_explained(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """A held element says so in plain words; what runs is active, what has no room waits for resources."""
    home.site(alpha, pack={"tasks": 1})
    job = home.start(home.tasks(20, waiting(gate)))
    home.ran(16)
    until(lambda: "ACTIVE" in home.explain(f"{job}_0"), "task 0 to be active")
    until(lambda: "QUEUED, waits for free resources" in home.explain(f"{job}_19"), "the reason to be told", log=home.describe)
    home.call("reconcile")
    (pending,) = home.json("show", f"{job}_19")["tasks"][0]["replicas"]
    assert (pending["native"]["state"], pending["native"]["reason"]) == ("PENDING", "Resources")
    (asked,) = home.json("explain", f"{job}_19")["tasks"][0]["replicas"]
    assert asked["backend"]["native"] == pending["native"]
    assert pending["why"] == {"code": "slurm.waits", "parameters": {"text": pending["reason"]}}
    held = queue(alpha)[0].partition("_")[0] + "_19"
    alpha.run("scontrol", "hold", held, check=True)
    until(lambda: "held by an administrator" in home.explain(f"{job}_19"), "the hold to be seen", log=home.describe)
    assert "ACTIVE" in home.explain(f"{job}_1")
    gate.touch()
    home.drive(lambda: sum(one == "reported" for one in home.replicas(job)) == 19, "the others to end")
    alpha.run("scontrol", "release", held, check=True)
    home.ended(job)


@pytest.mark.slow
def test_slurm_is_asked_seldom(home: SlurmHome, alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    """A hundred tasks over half a minute at `poll_interval = 2s`: at most two commands per poll and cluster, and two to begin."""
    wrapped = []
    for cluster in (alpha, beta):
        wrapped.append(Wrapped(tmp_path, cluster))
        home.site(cluster, bin_folder=wrapped[-1].bin, limits={"poll_interval": "2s"})
    began = time.monotonic()
    job = home.start(home.tasks(100, "sleep 4", quorum="replicas = 2\n"))
    home.call("wait", job, "--timeout", "90s")
    home.ended(job)
    polls = (time.monotonic() - began) / 2 + 1
    for one in wrapped:
        assert 0 < len(one.calls("sbatch")) <= 4
        assert 1 < len(one.calls("squeue")) <= polls
        assert len(one.calls()) - len(one.calls("sbatch")) <= 2 * polls
    print(f"{polls:.1f} polls, calls: {[len(one.calls()) for one in wrapped]}")


def ranks(launcher: str = "") -> str:
    """Return a job of two ranks of 100 MiB each, which use some CPU time."""
    code = "x = bytearray(100 << 20); x[::4096] = bytes(len(x[::4096])); sum(range(5_000_000)); print(1)"
    return (
        f'[job]\nname = "ranks"\ncommand = ["python3", "-c", "{code}"]\n[resources]\nntasks = 2\nmem = "400MiB"\ntime = "2m"\n'
        f'[quorum]\nagree = 1\ndistinct = "run"\n{launcher}'
    )


def test_what_ranks_used_is_what_the_accounting_says(home: SlurmHome, alpha: Cluster) -> None:
    """Srun starts them beside the runner, which asks for the steps; memory that was hardly looked at is not a figure."""
    home.site(alpha, runner={"path": f"{alpha.bin}:/usr/local/bin:/usr/bin:/bin"})
    job = home.start(ranks())
    home.ended(job)
    found = home.json("report", job)
    assert not [note for note in found["notes"] if "not measured" in note]
    assert found["cpu_s"] > 0.1
    assert found["cpu_efficiency"] > 0
    assert found["peak_mem_mib"] is None
    assert not [note for note in found["notes"] if "resources.mem" in note]


def test_what_ranks_used_is_not_made_up(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """Where the accounting cannot be asked nothing is measured, nothing advised, and it is said where the figures are."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (broken / "sacct").chmod(0o755)
    home.site(alpha, runner={"path": f"{broken}:{alpha.bin}:/usr/local/bin:/usr/bin:/bin"})
    job = home.start(ranks())
    home.ended(job)
    found = home.json("report", job)
    assert (found["cpu_s"], found["cpu_efficiency"], found["peak_mem_mib"], found["mem_efficiency"]) == (None, None, None, None)
    native = home.rows("SELECT native_id FROM launch")[0][0]
    (note,) = found["notes"]
    assert f"sacct --jobs={native} " in note
    assert home.call("report", job).out.count("nobody could tell") == 2
