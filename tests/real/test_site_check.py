"""Registering and checking real clusters, as their admins would: what is found, what is said, and that nothing is left."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from homes import PROGRAM
from real.slurm_homes import SlurmHome, Wrapped, queue, until

from nexapod_batch.config.site.sites import load_site

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster

LATER = {"extra_directives": ["--begin=now+1hour"]}


def findings(home: SlurmHome, *options: str, code: int = 0) -> dict[str, Any]:
    """Check the site alpha; return what was found by probe, and see that nothing is left of the check."""
    found = home.json("site", "check", "alpha", *options, code=code)["findings"]
    assert sorted(one.name for one in home.path.iterdir()) == ["sites.d"]
    return {one["probe"]: one for one in found}


def failed(found: dict[str, Any]) -> list[str]:
    """Return the probes that failed."""
    return [name for name, one in found.items() if one["mark"] == "fail"]


def test_a_cluster_is_registered_and_checked(home: SlurmHome, cluster: Cluster) -> None:
    """From `scontrol` and `sinfo` to a file that holds its partitions, and from that to a verified report."""
    made = home.call("site", "init", "--from-slurm", "--bin", cluster.bin, "--conf", cluster.conf)
    assert made.code == 0, made.err
    site = load_site(home.path / f"sites.d/{cluster.name}.toml")
    assert {one.name for one in site.partitions} >= {"short", "long", "limited"}
    assert (site.scheduler.bin, site.scheduler.conf) == (str(cluster.bin), str(cluster.conf))
    assert site.hostnames == (socket.gethostname(),)
    done = home.call("site", "check", cluster.name)
    assert done.code == 0, done.out
    assert "\nok    compute node " in done.out
    assert "\nok    python " in done.out
    assert "signed report of " in done.out.splitlines()[-1]
    assert "fail" not in done.out
    assert queue(cluster) == []
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


def test_a_name_of_ones_own(home: SlurmHome, alpha: Cluster) -> None:
    """The file and its site are called so; a second one is never written over it."""
    argv = ("site", "init", "--from-slurm", "--bin", alpha.bin, "--name", "mine")
    assert home.call(*argv).code == 0
    assert load_site(home.path / "sites.d/mine.toml").name == "mine"
    again = home.call(*argv)
    assert (again.code, "already" in again.err) == (2, True)
    assert 'name = "mine"' in home.call(*argv, "--to", "-").out


def test_a_shared_folder_of_the_site(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """The work folder is used as jobs would use it, and is empty afterwards."""
    home.site(alpha, filesystem={"work_dir": f"{tmp_path}/shared/{{user}}"})
    found = findings(home)
    assert failed(found) == []
    assert f"{tmp_path}/shared/" in found["work folder"]["text"]
    assert [one for one in tmp_path.glob("shared/*/*")] == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ('sed "s#{work}#/nowhere{work}#g" | "$REAL" "$@"', "the compute node does not see the folder, or cannot write there"),
        ('sed "/^exec/s#{work}#/nowhere{work}#g" | "$REAL" "$@"', "the compute node does not see the folder"),
        ('find {work} -name asked -delete; exec "$REAL" "$@"', "does not see what the login node wrote there"),
        ('case "$*" in *--test-only*) exec "$REAL" "$@";; esac; find {work} -name probe.sh -exec sed -i "s/^here=.*/exit 3/" {{}} +; exec "$REAL" "$@"', "COMPLETED|FAILED with exit code 3"),
    ],
)  # fmt: skip
def test_a_work_folder_that_compute_nodes_do_not_see(home: SlurmHome, alpha: Cluster, tmp_path: Path, break_it: str, words: str) -> None:
    """Said with the folder and what to do, without waiting for the time to run out; no job is tried behind that."""
    work, wrapped = tmp_path / "shared", Wrapped(tmp_path, alpha)
    wrapped.break_("sbatch", break_it.format(work=work))
    home.site(alpha, bin_folder=wrapped.bin, filesystem={"work_dir": str(work)})
    found = findings(home, "--timeout", "90s", code=78)
    assert failed(found) == ["compute node"]
    said = found["compute node"]
    assert any(word in said["text"] for word in words.split("|"))
    assert str(work) in said["text"]
    assert "work_dir in [filesystem]" in said["hint"]
    assert found["test job"]["mark"] == "skip"
    assert queue(alpha) == []
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "words", "remedy"),
    [
        ({"modules": ["gcc/99"]}, "module gcc/99 is not loaded after: module load gcc/99", "correct modules in [environment]"),
        ({"setup": ["source /opt/none.sh || exit 3"]}, "exit code 3: ", "see modules, setup and env in [environment]"),
        ({"setup": ["echo no licence >&2; exit 4"]}, "exit code 4: no licence", "see modules, setup and env in [environment]"),
    ],
)
def test_a_script_that_breaks_off(home: SlurmHome, alpha: Cluster, environment: dict[str, list[str]], words: str, remedy: str) -> None:
    """What it said, and the table of the file that it comes from; the folders have nothing to do with it."""
    home.site(alpha, environment=environment)
    said = findings(home, code=78)["compute node"]
    assert words in said["text"]
    assert remedy in said["hint"]
    assert "work_dir" not in said["text"] + said["hint"]


def test_a_site_that_forbids_mem(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """Found by asking sbatch alone; the way out is named, and is a way out."""
    wrapped = Wrapped(tmp_path, alpha)
    refuse = 'if grep -q -- "--mem" "$0.in"; then echo "sbatch: error: Memory specification can not be satisfied" >&2; exit 1; fi'
    wrapped.break_("sbatch", f'cat > "$0.in"\n{refuse}\nexec "$REAL" "$@" < "$0.in"')
    home.site(alpha, bin_folder=wrapped.bin)
    found = findings(home, code=78)
    assert failed(found) == ["memory alpha"]
    assert "--mem is refused" in found["memory alpha"]["text"]
    assert 'memory = "none"' in found["memory alpha"]["hint"]
    assert found["test job"]["mark"] == "ok"
    home.site(alpha, bin_folder=wrapped.bin, scheduler={"memory": "none"})
    assert failed(findings(home)) == []


def test_an_account_that_is_refused(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """Slurm's own words, and where to name another; where one is required and missing nothing is asked."""
    wrapped = Wrapped(tmp_path, alpha)
    said = "allocation failure: Invalid account or account/partition combination specified"
    wrapped.break_("sbatch", f'[ "$1" = --version ] && exec "$REAL" "$@"; echo "{said}" >&2; exit 1')
    home.site(alpha, bin_folder=wrapped.bin)
    found = findings(home, "--account", "nobody", code=78)
    assert said in found["sbatch alpha"]["text"]
    assert "--account" in found["sbatch alpha"]["hint"]
    assert found["compute node"]["mark"] == found["test job"]["mark"] == "skip"
    home.site(alpha, scheduler={"account_required": True})
    assert "the site requires one" in findings(home, code=78)["sbatch alpha"]["text"]
    assert "charged to science" in findings(home, "--account", "science")["sbatch alpha"]["text"]


def test_the_file_promises_what_is_not_there(home: SlurmHome, alpha: Cluster) -> None:
    """Arrays longer than Slurm's, a partition that is not there, more memory than a host has."""
    home.site(alpha, partition={"name": "shrot", "max_mem": "64GiB"}, limits={"max_array": 5_000})
    found = findings(home, "--no-job", code=78)
    assert "Slurm has none of this name; it has: short, long" in found["partition shrot"]["text"]
    assert "MaxArraySize allows 1001" in found["arrays"]["text"]
    assert "nvalid partition" in found["sbatch alpha"]["text"]
    home.site(alpha, partition={"max_mem": "64GiB"})
    assert findings(home, "--no-job")["partition short"]["mark"] == "warn"


def test_no_python_there(home: SlurmHome, alpha: Cluster) -> None:
    """The interpreter of the file is tried on the compute node."""
    home.site(alpha, runner={"python": "/opt/none/python"})
    found = findings(home, code=78)
    assert failed(found) == ["python"]
    assert "/opt/none/python cannot be run there" in found["python"]["text"]
    home.site(alpha, runner={"python": "/usr/bin/python3"})
    assert "nexapod-batch cannot be imported there" in findings(home, code=78)["python"]["text"]


@pytest.mark.parametrize(
    ("launcher", "mark", "words"),
    [
        (["srun"], "ok", "srun starts two, and tells them nothing of each other"),
        (["srun", "--mpi=pmi2"], "ok", "srun --mpi=pmi2 starts two, by pmi"),
        (["srun", "--mpi=nosuch"], "warn", "started 0 of two: "),
        (["srun", "--nodelist=nowhere"], "warn", "started 0 of two: "),
        (["mpiexec"], "", ""),
    ],
)
def test_the_launcher_is_tried_with_two_ranks(home: SlurmHome, alpha: Cluster, launcher: list[str], mark: str, words: str) -> None:
    """In the room of one, so that the test job gets no larger; what it says where it fails is told."""
    home.site(alpha, scheduler={"launcher": launcher})
    said = findings(home).get("ranks", {"mark": "", "text": ""})
    assert said["mark"] == mark
    assert words in said["text"]


def test_a_controller_that_does_not_answer(home: SlurmHome, alpha: Cluster) -> None:
    """69: nothing is wrong with the file, as far as anybody can tell."""
    home.site(alpha)
    alpha.stop_controller()
    try:
        found = findings(home, code=69)
    finally:
        alpha.start_controller()
    assert failed(found) == ["controller"]
    assert found["test job"]["mark"] == "skip"


def test_accounting_that_does_not_answer(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """A failure, behind which the rest is tried all the same."""
    wrapped = Wrapped(tmp_path, alpha)
    wrapped.break_("sacct", '[ "$1" = --version ] && exec "$REAL" "$@"; echo "sacct: error: no database" >&2; exit 1')
    home.site(alpha, bin_folder=wrapped.bin)
    found = findings(home, code=78)
    assert failed(found) == ["accounting"]
    assert "no database" in found["accounting"]["text"]
    assert found["test job"]["mark"] == "ok"


def test_a_test_job_that_does_not_start(home: SlurmHome, alpha: Cluster) -> None:
    """Why it waits is said while it does; it is cancelled when the time is over."""
    home.site(alpha, scheduler=LATER)
    done = home.call("site", "check", "alpha", "--timeout", "4s")
    assert done.code == 78
    assert "is PENDING: its earliest start time has not come; start estimated for " in done.err
    assert "fail  compute node " in done.out
    assert "within 4 s" in done.out
    assert "--timeout" in done.out
    assert queue(alpha) == []
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


def test_a_job_of_ours_that_does_not_start(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """The same for the last job, which goes the way of all jobs."""
    wrapped = Wrapped(tmp_path, alpha)
    later = 'if grep -q -- "--array" "$0.in"; then set -- "$@" --begin=now+1hour; fi'
    wrapped.break_("sbatch", f'cat > "$0.in"\n{later}\nexec "$REAL" "$@" < "$0.in"')
    home.site(alpha, bin_folder=wrapped.bin)
    found = findings(home, "--timeout", "6s", code=78)
    assert failed(found) == ["test job"]
    assert "not ended within 6 s" in found["test job"]["text"]
    assert "its earliest start time has not come" in found["test job"]["text"]
    assert queue(alpha) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_nothing(home: SlurmHome, alpha: Cluster, how: signal.Signals) -> None:
    """Neither a job in the queue nor a file."""
    home.site(alpha, scheduler=LATER)
    argv = ["env", "--default-signal=INT", PROGRAM, "site", "check", "alpha"]
    with subprocess.Popen(argv, env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: queue(alpha), "the test job to be queued")
        process.send_signal(how)
        assert process.wait(60) == 130
    assert queue(alpha) == []
    assert [one.name for one in home.path.iterdir()] == ["sites.d"]


def test_what_slurm_says_of_a_script(home: SlurmHome, alpha: Cluster) -> None:
    """`--dry-run=slurm` asks for each site and submits nothing."""
    home.site(alpha)
    home.ended(home.start(home.tasks(1)))
    text = '[job]\nname = "t"\ncommand = ["true"]\n[quorum]\nagree = 1\n'
    done = home.submit(text, "--dry-run=slurm")
    assert done.code == 0, done.err
    assert "\n# sbatch: Job " in done.out
    assert "in partition short" in done.out
    refused = home.submit(text + '[site.alpha.resources]\nreservation = "nosuch"\n', "--dry-run=slurm")
    assert "reservation" in refused.out.splitlines()[-1].lower()
    assert queue(alpha) == []
    assert len(home.jobs()) == 1


def test_explain_says_why_a_launch_waits(home: SlurmHome, alpha: Cluster) -> None:
    """In plain words with the estimated start; it is kept, and written only when it changes."""
    home.site(alpha, scheduler=LATER)
    job = home.start(home.tasks(1))
    words = "its earliest start time has not come; start estimated for "
    kept = "SELECT reason FROM launch WHERE reason LIKE '%start time has not come; start estimated%'"
    home.drive(lambda: home.rows(kept), "the reason to be kept")
    assert words in home.explain(job)
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("CREATE TABLE noted (n)")
        connection.execute("CREATE TRIGGER note AFTER UPDATE ON launch BEGIN INSERT INTO noted VALUES (1); END")
    for _ in range(3):
        home.reconcile()
    assert home.rows("SELECT * FROM noted") == []
    (home.path / "sites.d/alpha.toml").rename(home.path / "alpha.toml")
    assert f"it said last: {words}" in home.explain(job)
    (home.path / "alpha.toml").rename(home.path / "sites.d/alpha.toml")
    assert home.call("cancel", job).code == 0
    until(lambda: queue(alpha) == [], "the queue to be empty")
