"""Commands that lie, hang, fail or forget, before a real cluster: nothing is submitted twice, nothing is believed too soon."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM
from real.slurm_homes import SlurmHome, Wrapped, mark, queue, slurm_jobs, until, waiting

if TYPE_CHECKING:

    from clusters.slurm import Cluster

#: What takes the job and then behaves like an sbatch whose answer is lost.
LOST_ANSWERS = {
    "hangs": '"$REAL" "$@" >/dev/null; sleep 600',
    "says nothing": '"$REAL" "$@" >/dev/null',
    "says nonsense": '"$REAL" "$@" >/dev/null; echo "Submitted, I think"; echo 7',
    "fails": '"$REAL" "$@" >/dev/null; echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1',
    "is killed": '"$REAL" "$@" >/dev/null; kill -9 $$',
}


@pytest.fixture
def fake(alpha: Cluster, tmp_path: Path) -> Wrapped:
    """Return the cluster's commands, to be broken."""
    return Wrapped(tmp_path, alpha)


def one_slurm_job(home: SlurmHome, cluster: Cluster, after: int) -> None:
    """Check that the only group was submitted once, and each replica executed once."""
    until(lambda: slurm_jobs(cluster, after), "accounting to know it")
    assert [len({element.partition("_")[0] for element in mine}) for mine in slurm_jobs(cluster, after).values()] == [1]
    assert set(home.executed().values()) == {1}


@pytest.mark.parametrize("how", LOST_ANSWERS)
def test_a_job_that_was_taken_is_adopted(home: SlurmHome, alpha: Cluster, fake: Wrapped, how: str) -> None:
    """Whatever became of the answer: sbatch is called once, the job in the queue is ours."""
    home.site(alpha, bin_folder=fake.bin, scheduler={"cmd_timeout": "2s"}, pack={"tasks": 1})
    fake.break_("sbatch", LOST_ANSWERS[how])
    before = mark(alpha)
    job = home.start(home.tasks(3))
    home.ended(job)
    assert len(fake.calls("sbatch")) == 1
    one_slurm_job(home, alpha, before)
    assert set(home.replicas(job)) == {"reported"}


@pytest.mark.parametrize("how", ["hangs", "says nothing"])
def test_a_job_that_was_taken_unheard_is_cancelled_too(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, how: str) -> None:
    """It was never adopted, but nothing of it stays in the queue."""
    home.site(alpha, bin_folder=fake.bin, scheduler={"cmd_timeout": "2s"}, pack={"tasks": 1})
    fake.break_("sbatch", LOST_ANSWERS[how])
    job = home.start(home.tasks(3, waiting(gate)))
    assert queue(alpha) != []
    assert home.call("cancel", job).code == 0
    until(lambda: queue(alpha) == [], "the queue to be empty")
    home.ended(job, "cancelled")
    assert len(fake.calls("sbatch")) == 1


def test_what_was_not_taken_is_tried_again(home: SlurmHome, alpha: Cluster, fake: Wrapped) -> None:
    """A passing fault: the task waits with Slurm's own words, then runs, once."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    said = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    fake.break_("sbatch", f"echo '{said}' >&2; exit 1")
    before = mark(alpha)
    job = home.start(home.tasks(2))
    assert "Unable to contact slurm controller" in home.reconcile().err + home.explain(job)
    assert home.replicas(job) == ["submitted"] * 2
    fake.mend("sbatch")
    home.ended(job)
    one_slurm_job(home, alpha, before)


def test_what_slurm_refuses_for_good_fails_with_its_words(home: SlurmHome, alpha: Cluster, fake: Wrapped) -> None:
    """A partition that is not there: no more tries than errors are allowed, and the reason is Slurm's."""
    home.site(alpha, bin_folder=fake.bin, partition={"name": "nowhere"})
    done = home.call("submit", home.descriptor(home.tasks(1, quorum="max_errors = 1\n")))
    assert done.code != 0  # at once, as sbatch does
    assert "name a partition that you may use" in done.err
    home.ended(1, "failed")
    assert len(fake.calls("sbatch")) == 2
    assert "invalid partition" in home.explain(1).lower()


@pytest.mark.parametrize("word", ["TIMEOUT", "OUT_OF_MEMORY"])
def test_slurms_word_is_enough_for_an_error_of_the_task(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, word: str) -> None:
    """The runner died before it could sign: what ran alone in its Slurm job was over its own time or memory."""
    home.site(alpha, bin_folder=fake.bin)
    for command in ("squeue", "sacct"):  # no cgroups here that would end a job for its memory
        fake.break_(command, f'"$REAL" "$@" | sed "s/FAILED/{word}/"')
    job = home.start(home.tasks(1, waiting(gate), quorum="max_errors = 0\n"))
    home.ran(1)
    home.kill_runners()
    home.ended(job, "failed")
    assert home.replicas(job) == ["errored"]
    assert word in home.reasons(job)[0]


def test_too_many_jobs_for_now_is_no_error(home: SlurmHome, alpha: Cluster, fake: Wrapped) -> None:
    """A limit of the account on jobs in the queue: wait, do not fail."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    words = "sbatch: error: QOSMaxSubmitJobPerUserLimit\\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    fake.break_("sbatch", f"printf '{words}\\n' >&2; exit 1")
    job = home.start(home.tasks(2))
    home.reconcile()
    assert home.replicas(job) == ["submitted"] * 2
    said = home.explain(job)
    words = "NEW, waits: site alpha: Slurm takes no more jobs of this account now (QOSMaxSubmitJobPerUserLimit; sacctmgr"
    assert said.count(words) == 2
    fake.mend("sbatch")
    home.ended(job)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_coordinator_killed_at_sbatch_adopts_or_submits(home: SlurmHome, alpha: Cluster, fake: Wrapped, when: str) -> None:
    """Kill -9 right before or right after Slurm took the job: one Slurm job in the end."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    kill = "kill -9 $PPID"
    fake.break_("sbatch", f"{kill}; exit 1" if when == "before" else f'"$REAL" "$@" >/dev/null; {kill}; exit 1')
    before = mark(alpha)
    died = subprocess.run([PROGRAM, "submit", home.descriptor(home.tasks(3))], env=home.env, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL
    fake.mend("sbatch")
    home.ended(1)
    assert len(fake.calls("sbatch")) == (2 if when == "before" else 1)
    one_slurm_job(home, alpha, before)


@pytest.mark.parametrize(
    "lines",
    [
        "head -c 2000 /dev/urandom",
        "echo '~|~~|~~|~~|~~|~~|~~|~'; echo '{\"jobs\": []}'",
        "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
        "exit 0",
        "sleep 600",
        "yes '~|~'",
    ],
    ids=["noise", "another form", "fails", "says nothing", "hangs", "says it without end"],
)
def test_a_queue_that_cannot_be_read_ends_nothing(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, lines: str) -> None:
    """Neither is anything called lost, nor submitted again; reports come through files all the same."""
    home.site(alpha, bin_folder=fake.bin, scheduler={"cmd_timeout": "1s"}, pack={"tasks": 1})
    before = mark(alpha)
    job = home.start(home.tasks(2, waiting(gate)))
    home.ran(2)
    for command in ("squeue", "sacct"):
        fake.break_(command, lines)
    for _ in range(6):
        home.reconcile()
    assert set(home.replicas(job)) <= {"submitted", "queued", "running"}
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    for command in ("squeue", "sacct"):
        fake.mend(command)
    home.ended(job)
    assert len(fake.calls("sbatch")) == 1
    one_slurm_job(home, alpha, before)


@pytest.mark.parametrize("lines", ["head -c 2000 /dev/urandom", "exit 1"], ids=["noise", "fails"])
def test_nothing_is_submitted_again_while_the_queue_cannot_be_read(
    home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, lines: str
) -> None:
    """The answer of sbatch was lost and squeue says nothing useful: wait, for the job may be there."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    fake.break_("sbatch", LOST_ANSWERS["says nothing"])
    fake.break_("squeue", lines)
    before = mark(alpha)
    job = home.start(home.tasks(2, waiting(gate)))
    home.drive(lambda: len(fake.calls("squeue")) >= 2, "it to be looked for twice")
    fake.mend("squeue")
    gate.touch()
    home.ended(job)
    assert len(fake.calls("sbatch")) == 1
    one_slurm_job(home, alpha, before)


def test_an_id_of_somebody_else_is_not_believed(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path) -> None:
    """Both squeue and sacct show our id with another name and a bad end: the task goes on."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    job = home.start(home.tasks(2, waiting(gate)))
    home.ran(2)
    for command in ("squeue", "sacct"):
        fake.break_(command, '"$REAL" "$@" | sed "s/nexapod-/somebodys-/; s/RUNNING/FAILED/"')
    asked = len(fake.calls("squeue"))
    home.drive(lambda: len(fake.calls("squeue")) > asked + 2, "the queue to be looked at")
    assert set(home.replicas(job)) <= {"submitted", "queued", "running"}
    gate.touch()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    for command in ("squeue", "sacct"):
        fake.mend(command)
    home.ended(job)


@pytest.mark.parametrize("accounting", ["squeue", "auto"])
def test_without_accounting_jobs_end_all_the_same(home: SlurmHome, alpha: Cluster, fake: Wrapped, accounting: str) -> None:
    """Switched off in the site file sacct is never called; switched off in Slurm it says so."""
    home.site(alpha, bin_folder=fake.bin, scheduler={"accounting": accounting}, pack={"tasks": 1})
    fake.break_("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    fake.break_("sbatch", LOST_ANSWERS["says nothing"])
    job = home.start(home.tasks(4))
    home.ended(job)
    assert accounting == "auto" or fake.calls("sacct") == []
    assert set(home.executed().values()) == {1}


def test_an_end_is_learnt_without_accounting(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path) -> None:
    """Cancelled by hand: squeue still knows, the replica is lost and another one placed."""
    home.site(alpha, bin_folder=fake.bin, scheduler={"accounting": "squeue"}, pack={"tasks": 1})
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    alpha.run("scancel", *queue(alpha), check=True)
    home.drive(lambda: len(home.executed()) == 2, "another replica to start")
    gate.touch()
    home.ended(job)
    assert home.replicas(job) == ["lost", "reported"]


@pytest.mark.parametrize("word", ["TIMEOUT", "OUT_OF_MEMORY"])
def test_slurms_word_on_a_single_task_is_the_tasks_error(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, word: str) -> None:
    """The runner could not say so any more: then Slurm's word counts, against `max_errors` and not `max_lost`."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    for command in ("squeue", "sacct"):
        fake.break_(command, f'"$REAL" "$@" | sed "s/FAILED/{word}/"')
    job = home.start(home.tasks(1, waiting(gate), quorum="max_errors = 0\n"))
    home.ran(1)
    home.kill_runners()
    home.drive(lambda: home.job(job)["finished_at"], "the job to end")
    assert home.replicas(job) == ["errored"]
    assert word in home.explain(job)


def test_slurms_word_on_a_packed_job_is_nobodys_error(home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path) -> None:
    """Which of several tasks was too long it does not say: all that were not reported are lost, and run again."""
    home.site(alpha, bin_folder=fake.bin, partition={"hosts": 1})
    for command in ("squeue", "sacct"):
        fake.break_(command, '"$REAL" "$@" | sed "s/FAILED/TIMEOUT/"')
    job = home.start(home.tasks(2, waiting(gate), quorum="max_errors = 0\n"))
    home.ran(2)
    home.kill_runners()
    home.drive(lambda: home.replicas(job).count("lost") == 2, "both to be lost")
    gate.touch()
    home.ended(job)
    assert home.replicas(job) == ["lost", "reported"] * 2


def test_a_missing_command_is_named(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """Not a traceback, and not a lost task: the site's folder is named."""
    home.site(alpha, bin_folder=tmp_path / "nothing")
    job = home.start(home.tasks(1))
    assert "there is no s" in home.reconcile().err + home.explain(job)
    assert home.replicas(job) == ["submitted"]
    home.site(alpha)
    home.ended(job)


@pytest.mark.parametrize("packed", [True, False])
def test_a_cancellation_that_slurm_did_not_hear_is_told_and_owed(
    home: SlurmHome, alpha: Cluster, fake: Wrapped, gate: Path, packed: bool
) -> None:
    """The person hears it; every pass tells it again, and in the end nothing is left in the queue."""
    home.site(alpha, bin_folder=fake.bin, pack={} if packed else {"tasks": 1})
    alpha.run("scontrol", "update", "partitionname=short", "state=down", check=True)  # so that it is pending
    try:
        job = home.start(home.tasks(3, waiting(gate)))
        words = "scancel: error: Kill job error on job id 1: Unable to contact slurm controller (connect failure)"
        fake.break_("scancel", f"echo '{words}' >&2; exit 8")
        done = home.call("cancel", job)
        assert done.code == 0
        assert "its site has not heard it yet, and every pass tells it again" in done.err
        assert "Unable to contact slurm controller" in done.err
        home.reconcile()
        assert queue(alpha) != []
        assert home.call("doctor").out.count("scancel failed") <= 1
        fake.mend("scancel")
        home.reconcile()
        assert queue(alpha) == []
        assert home.rows("SELECT 1 FROM stop_owed") == []
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up", check=True)


def test_a_partition_that_is_closed_for_now_is_waited_for(home: SlurmHome, alpha: Cluster) -> None:
    """Inactive or drained: sbatch refuses, and will not for ever."""
    home.site(alpha)
    alpha.run("scontrol", "update", "partitionname=short", "state=inactive", check=True)
    try:
        job = home.start(home.tasks(1, quorum="max_errors = 0\nmax_lost = 0\n"))
        home.reconcile()
        assert set(home.replicas(job)) <= {"submitted", "queued"}
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up", check=True)
    home.ended(job)


@pytest.mark.parametrize("said", ["You are over your quota: delete files first", ""])
def test_a_plug_in_of_the_site_that_says_no_is_heard_at_once(home: SlurmHome, alpha: Cluster, fake: Wrapped, said: str) -> None:
    """Its words reach the person, and nobody asks it for ever."""
    home.site(alpha, bin_folder=fake.bin, pack={"tasks": 1})
    lines = [f"sbatch: error: {said}"] * bool(said) + ["sbatch: error: Batch job submission failed: Unspecified error"]
    fake.break_("sbatch", "".join(f"echo '{line}' >&2\n" for line in lines) + "exit 1")
    done = home.call("submit", home.descriptor(home.tasks(1)))
    assert done.code != 0
    assert (said or "Unspecified error") in done.err
    assert "a retry alone would not help" in done.err
    assert home.job(1)["n_failed"] == 1
    assert len(fake.calls("sbatch")) <= 5


def test_a_banner_before_the_id_is_no_trouble(home: SlurmHome, alpha: Cluster, fake: Wrapped) -> None:
    """A wrapper of the site prints it: the job is found by its name within the same call."""
    home.site(alpha, bin_folder=fake.bin)
    fake.break_("sbatch", 'echo "Charged to project 42"; echo 99; exec "$REAL" "$@"')
    before = mark(alpha)
    done = home.call("submit", home.descriptor(home.tasks(2)))
    assert (done.code, done.err) == (0, "")
    home.ended(1)
    one_slurm_job(home, alpha, before)


def test_a_bundle_that_vanishes_while_its_job_waits_is_put_back(home: SlurmHome, alpha: Cluster) -> None:
    """A clean-up of the site took it: the runner finds it all the same, and nothing is lost."""
    home.site(alpha)
    alpha.run("scontrol", "update", "partitionname=short", "state=down", check=True)
    try:
        job = home.start(home.tasks(1, quorum="max_lost = 0\n"))
        files = list((home.spool("alpha") / "inbox").iterdir())
        for file in files:
            file.unlink()
        home.drive(lambda: all(file.exists() for file in files), "the bundle and its key to be there again")
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up", check=True)
    home.ended(job)
    assert home.executed() == {f"{job}_0.1": 1}


@pytest.mark.parametrize("name", ["a b", "\u00fcm\u00e4", "quote'd", 'quot"ed', "100%j#$(id)"])
def test_homes_with_any_name_can_submit(tmp_path: Path, alpha: Cluster, name: str) -> None:
    """Blanks, umlauts, quotes and what Slurm fills in: the log is where it should be."""
    (tmp_path / name).mkdir()
    home = SlurmHome(tmp_path / name)
    home.site(alpha)
    text = '[job]\nname = "odd"\ncommand = ["true"]\n[resources]\ntime = 1\n[quorum]\nagree = 1\ndistinct = "run"\n'
    done = home.call("submit", home.descriptor(text), "--wait=90s")
    assert done.code == 0, done.err
    (logs,) = (home.path / "spool").glob("*/logs")
    assert "accepted" in done.out
    assert [log.name.endswith(".0") for log in logs.iterdir()] in ([True], [])
    home.end()


def test_a_wait_that_nobody_watches_says_what_it_waits_for(home: SlurmHome, alpha: Cluster) -> None:
    """In a file there is no bar: Slurm's reason stands there, and once."""
    home.site(alpha)
    alpha.run("scontrol", "update", "partitionname=short", "state=down", check=True)
    try:
        done = home.call("submit", home.descriptor(home.tasks(2)), "--wait=12s")
    finally:
        alpha.run("scontrol", "update", "partitionname=short", "state=up", check=True)
    assert done.err.count("job 1 waits: the partition is down") == 1


def test_a_job_that_slurm_suspends_is_called_suspended(home: SlurmHome, alpha: Cluster, gate: Path) -> None:
    """It has its hosts and does not go on: that is no running."""
    home.site(alpha)
    job = home.start(home.tasks(1, waiting(gate)))
    home.ran(1)
    (element,) = queue(alpha)
    alpha.run("scontrol", "suspend", element, check=True)
    try:
        home.drive(lambda: "is suspended by Slurm" in home.explain(job), "the suspension to be told")
    finally:
        alpha.run("scontrol", "resume", element, check=True)
    gate.touch()
    home.ended(job)
