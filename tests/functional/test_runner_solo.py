"""The runner as an array element that holds one replica: one process, the quick way in, and the same guarantees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from nexapod_backends.slurm.runner import runner_command
from spools import DEADLINE_S, House, alive, until

from nexapod_batch import interpreter
from nexapod_batch.model.job import Comparator, CompareRule, Input, Job, Output, Resources
from nexapod_batch.plugins import targets
from nexapod_batch.runner.launches.allocation import TIME_OVER
from nexapod_batch.runner.processes import descendants
from nexapod_batch.runner.worker.executor_deaths import TOLERATED
from nexapod_batch.runner.worker.watcher import OVERDUE_S
from nexapod_batch.spool import cancellations
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.plugins import Launch

#: What finds its runner and who watches over that: above it, and above that.
FIND = """
import os, signal, sys, time
def parent(pid):
    return int(open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[1])
runner = os.getppid()
watcher = parent(runner)
"""
GROUP = "0123456789abcdef"


class Element:
    """A node, and its one array element."""

    def __init__(self, home: Path, *, fast: bool = True) -> None:
        """Make the node; `fast` runners start with stand-ins for modules."""
        self.house, self.fast = House(home), fast
        self.spool = self.house.spool
        node = json.loads((self.spool / "node.json").read_text())  # the backend says where runtimes are defined
        (self.spool / "node.json").write_text(json.dumps({**node, "runtimes": targets("runtime")}))

    def put(self, *launches: Launch) -> None:
        """Hand launches over as the elements of a group: all in the first."""
        keys = [self.house.put(one) for one in launches]
        (self.spool / "groups").mkdir(exist_ok=True)
        group = {"schema": 1, "elements": [keys], "cpus": 2, "mem_mib": 4096}
        (self.spool / "groups" / f"{GROUP}.json").write_text(json.dumps(group))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the runner as its Slurm job does, with more options of the interpreter's."""
        start = runner_command._here() if self.fast else interpreter.module("nexapod_batch.runner")
        words = [start[0], *options, *start[1:], str(self.spool), "--group", GROUP]
        env = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "77", "SLURM_JOB_ID": "78", "SLURMD_NODENAME": "n1"}
        with (self.spool / "worker.log").open("ab") as log:
            runner = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stderr=log)
        self.house.workers.append(runner)
        return runner

    def run(self, job: Job, replicas: int = 1) -> list[tuple[Outcome, str]]:
        """Run one launch to its end and return the outcomes."""
        self.put(self.house.launch(job, replicas))
        assert self.start().wait(DEADLINE_S) == 0, self.house.log()
        return self.outcomes()

    def outcomes(self) -> list[tuple[Outcome, str]]:
        """Return outcome and detail of each report."""
        return [(one.statement.outcome, one.statement.detail) for one in self.house.reports()]

    def left(self) -> list[str]:
        """Return what lies in the inbox, among the notes and in the work folder."""
        return [one.name for part in (self.spool / "inbox", self.spool / "cancel", self.house.work) for one in part.iterdir()]


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["stand-ins", "plain"])
def element(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Element]:
    """Give an element; its runners are ended afterwards."""
    made = Element(tmp_path, fast=request.param)
    yield made
    made.house.end()


def begun(tmp_path: Path, more: str = "sleep 60") -> Job:
    """Return a job that says that it runs, and waits."""
    return Job(name="t", script=f"echo >> '{tmp_path}/begun'; {more}")


def python(code: str, **more: object) -> Job:
    """Return a job that knows what runs it."""
    return Job(name="t", command=(sys.executable, "-c", FIND + code), **more)  # type: ignore[arg-type]


def test_one_replica_is_run_and_signed_by_one_process_that_another_watches(element: Element, tmp_path: Path) -> None:
    """Its report says where it ran; nothing is left; no further process of ours was there."""
    os.mkfifo(tmp_path / "gate")
    element.put(element.house.launch(Job(name="t", script=f"echo hello; : > {tmp_path}/begun; read x < {tmp_path}/gate")))
    runner = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    ours = [one for one in psutil.Process(runner.pid).children(recursive=True) if one.cmdline()[:1] == [sys.executable]]
    assert [one.ppid() for one in ours] == [runner.pid]
    (tmp_path / "gate").write_text("\n")
    assert runner.wait(DEADLINE_S) == 0
    (report,) = element.house.reports()
    assert (report.statement.outcome, report.statement.native_id, report.statement.host) == (Outcome.OK, "77_0", "n1")
    assert report.carried is not None
    assert report.carried["stdout"] == b"hello\n"
    assert element.left() == []
    assert len(list((element.spool / "claims").iterdir())) == 1
    assert element.house.log() == ""


def test_inputs_and_outputs(element: Element, tmp_path: Path) -> None:
    """What loads more modules than a plain command: large files, patterns, comparison by value."""
    data = tmp_path / "data"
    data.write_bytes(b"1.00000001 " * 50_000)
    sha256 = subprocess.run(["sha256sum", data], capture_output=True, text=True, check=True).stdout.split()[0]
    job = Job(
        name="t", script="cp in out.txt", inputs=(Input(source=str(data), target="in", sha256=sha256),),
        outputs=(Output(path="*.txt", rule=CompareRule(comparator=Comparator.SIGNIFICANT, digits=4)),),
    )  # fmt: skip
    element.put(element.house.launch(job, paths={sha256: str(data)}))
    assert element.start().wait(DEADLINE_S) == 0
    (report,) = element.house.reports()
    assert [(one.name, one.sha256, one.size) for one in report.statement.subjects] == [("out.txt", sha256, 550_000)]
    assert report.statement.subjects[0].normalized not in {None, sha256}


def test_limits_hold(element: Element) -> None:
    """Time and memory as everywhere."""
    ((outcome, detail),) = element.run(Job(name="t", command=("sleep", "60"), resources=Resources(time_s=1)))
    assert outcome is Outcome.TIME, detail


def test_a_cancelled_replica_is_stopped(element: Element, tmp_path: Path) -> None:
    """A note that comes while it runs is seen; the report says so, the note is taken away."""
    launch = element.house.launch(begun(tmp_path))
    element.put(launch)
    runner = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    (element.spool / "cancel" / launch.key).touch()
    assert runner.wait(DEADLINE_S) == 0
    assert element.outcomes() == [(Outcome.CANCELLED, "cancelled while it ran")]
    assert list((element.spool / "cancel").iterdir()) == []


def test_a_note_that_was_there_before_stops_the_start(element: Element, tmp_path: Path) -> None:
    """Cancelled before it started: reported, never executed."""
    element.put(element.house.launch(begun(tmp_path)))
    (element.spool / "cancel" / "1_0.1").touch()
    assert element.start().wait(DEADLINE_S) == 0
    assert element.outcomes() == [(Outcome.CANCELLED, "cancelled before it started")]
    assert not (tmp_path / "begun").exists()
    assert element.left() == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_runner_reports(element: Element, tmp_path: Path, sign: signal.Signals) -> None:
    """The scheduler's signal ends the command, is reported as the infrastructure's doing, and leaves no process."""
    element.put(element.house.launch(begun(tmp_path)))
    runner = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    below = psutil.Process(runner.pid).children(recursive=True)
    runner.send_signal(sign)
    assert runner.wait(DEADLINE_S) == 0
    assert element.outcomes() == [(Outcome.PREEMPTED, "the runner was stopped while this ran")]
    assert [one for one in below if one.is_running()] == []


def test_a_task_that_has_all_the_time_of_its_job_is_over_its_own(element: Element, tmp_path: Path) -> None:
    """The scheduler's warning at the end of the time is no loss."""
    element.put(element.house.launch(begun(tmp_path)))
    runner = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    runner.send_signal(TIME_OVER)
    assert runner.wait(DEADLINE_S) == 0
    ((outcome, detail),) = element.outcomes()
    assert (outcome, detail.split(":")[0]) == (Outcome.TIME, "over the scheduler's time limit")


def test_a_list_of_cancellations_is_read(element: Element, tmp_path: Path) -> None:
    """One file stops everything of a job."""
    launch = element.house.launch(begun(tmp_path))
    element.put(launch)
    runner = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    name, content = cancellations.listing({launch.key: None, "f" * 32: None})
    (element.spool / name).write_bytes(content)
    (element.spool / name).rename(element.spool / "cancel" / name)
    assert runner.wait(DEADLINE_S) == 0
    assert element.outcomes() == [(Outcome.CANCELLED, "cancelled while it ran")]


def test_a_job_that_is_started_again_executes_nothing(element: Element, tmp_path: Path) -> None:
    """The claim holds, whoever made it: a requeued job ends at once."""
    element.put(element.house.launch(begun(tmp_path)))
    killed = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    below = psutil.Process(killed.pid).children(recursive=True)
    for one in (*below, psutil.Process(killed.pid)):  # as the scheduler does at the end of a job
        one.suspend()
    for one in (*below, psutil.Process(killed.pid)):
        one.kill()
    killed.wait()
    assert element.start().wait(DEADLINE_S) == 0
    assert (tmp_path / "begun").read_text() == "\n"
    assert element.outcomes() == []


def test_several_replicas_get_a_worker(element: Element) -> None:
    """A launch of two is run by executors, as ever."""
    assert element.run(Job(name="t", command=("true",)), 2) == [(Outcome.OK, "")] * 2


def test_a_launch_that_may_not_run_is_refused_with_the_reason(element: Element) -> None:
    """The worker says so."""
    launch = element.house.launch(Job(name="t", command=("true",), resources=Resources(cpus_per_task=99)))
    element.put(launch)
    assert element.start().wait(DEADLINE_S) == 0
    assert "more CPUs" in (element.spool / "refused" / f"{launch.key}.reason").read_text()
    assert element.outcomes() == []


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(runner, signal.SIGSTOP); time.sleep(600)",
        "while True: os.kill(runner, signal.SIGSTOP)",
        "if os.fork() == 0: os.setsid()\nwhile True: os.kill(runner, signal.SIGTSTP); time.sleep(0.01)",
        "os.kill(watcher, signal.SIGSTOP); time.sleep(600)",
        "os.kill(watcher, signal.SIGSTOP); os.kill(runner, signal.SIGSTOP); time.sleep(600)",
    ],
    ids=["once", "always", "descendants", "watcher", "both"],
)
def test_time_is_a_limit_for_who_stops_its_runner(element: Element, code: str) -> None:
    """Whoever watches lets the runner go on, or ends what it cannot end any more and has that reported; none is left."""
    ((outcome, detail),) = element.run(python(code, resources=Resources(time_s=2)))
    assert (outcome, "over its time limit of 2 s" in detail) == (Outcome.TIME, True)
    assert _below(element) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hold a runner up like that")
def test_a_runner_that_cannot_go_on_is_ended_by_who_watches(element: Element) -> None:
    """Held by a debugger it hears nothing: it is killed once its command is well over the time, and that is signed."""
    code = "import ctypes\nassert ctypes.CDLL(None).ptrace(16, runner, 0, 0) == 0\ntime.sleep(600)"  # PTRACE_ATTACH
    element.put(element.house.launch(python(code, resources=Resources(time_s=1))))
    assert element.start().wait(2 * OVERDUE_S) == 0, element.house.log()
    ((outcome, detail),) = element.outcomes()
    assert (outcome, "its runner was kept from ending it" in detail) == (Outcome.TIME, True)
    assert _below(element) == []


def test_who_stops_who_watches_delays_nothing(element: Element) -> None:
    """The kernel has that go on, and both end."""
    assert element.run(python("os.kill(watcher, signal.SIGSTOP)")) == [(Outcome.OK, "")]


@pytest.mark.parametrize("whom", ["runner", "watcher"])
def test_who_kills_what_runs_it_again_and_again_has_an_error(element: Element, whom: str) -> None:
    """Two deaths may be bad luck; the third is the task's own error, signed there and by whoever is to run it next."""
    job = python(f"os.kill({whom}, signal.SIGKILL); time.sleep(600)")
    for number in range(TOLERATED + 2):
        element.put(element.house.launch(job, job_id=number + 1))
        element.start().wait(DEADLINE_S)
        until(lambda: _below(element) == [], "the end of everything")
    said = {one.statement.replica.job: one.statement for one in element.house.reports()}
    own = {number: one.outcome for number, one in said.items() if one.outcome is not Outcome.PREEMPTED}
    assert own == {TOLERATED + 1: Outcome.FAILED, TOLERATED + 2: Outcome.FAILED}
    assert f"was killed {TOLERATED + 1} times" in said[TOLERATED + 1].detail


def test_a_killed_runner_is_told_as_that(element: Element) -> None:
    """The scheduler hears by which signal its job ended; what the command started ends with it, and nothing is signed."""
    element.put(element.house.launch(python("os.kill(runner, signal.SIGKILL); time.sleep(600)")))
    assert element.start().wait(DEADLINE_S) == -signal.SIGKILL
    assert _below(element) == []
    assert element.outcomes() == []


def test_accidents_of_other_tasks_are_nobodys_error(element: Element) -> None:
    """Each time another task ran: nothing is held against the next one."""
    job = python("os.kill(runner, signal.SIGKILL); time.sleep(600)")
    for number in range(TOLERATED + 2):
        element.put(element.house.launch(job, job_id=number + 1, job_uuid=f"0190-{number}"))
        assert element.start().wait(DEADLINE_S) == -signal.SIGKILL
    assert element.outcomes() == []


def test_what_a_scheduler_ends_is_nobodys_error(element: Element, tmp_path: Path) -> None:
    """A runner that is killed after its job was told to end is no death of the task's."""
    element.put(element.house.launch(Job(name="t", script=f"trap '' TERM; echo > '{tmp_path}/begun'; while :; do sleep 60; done")))
    job = element.start()
    until((tmp_path / "begun").exists, "the command to start")
    (runner,) = psutil.Process(job.pid).children()
    job.terminate()
    runner.kill()
    job.wait(DEADLINE_S)
    assert not (element.spool / "deaths.json").exists()


def test_several_launches_in_one_job_are_judged_alike(element: Element) -> None:
    """A worker of a scheduler's job keeps what it knows for those that come after it."""
    job = python("os.kill(runner, signal.SIGKILL); time.sleep(600)")
    for number in range(TOLERATED + 1):
        element.put(*(element.house.launch(job, job_id=10 * number + one, job_uuid=f"0190-{one}") for one in (1, 2)))
        assert element.start().wait(DEADLINE_S) == 0
    assert [outcome for outcome, _ in element.outcomes()] == [Outcome.FAILED, Outcome.FAILED]


def _below(element: Element) -> list[int]:
    """Return what still runs in the work folders of the node."""
    return [pid for pid in descendants.find_strays(str(element.house.work)) if alive(pid)]


def test_jobs_that_an_older_version_queued_find_the_fast_start_where_it_was() -> None:
    """Their scripts name `runner/quick.py`; both places are the same program."""
    now = list(runner_command._here())
    before = [word.replace("runner/startup/fast_start.py", "runner/quick.py") for word in now]
    assert before != now
    answers = [subprocess.run(words, capture_output=True, text=True, check=False) for words in (now, before)]
    assert [one.returncode for one in answers] == [2, 2]
    assert answers[0].stderr == answers[1].stderr
    assert answers[0].stderr.startswith("usage: ")


#: What costs a small task more than it is worth: each took some ms.
HEAVY = {
    "bz2", "dataclasses", "datetime", "email.message", "importlib.metadata", "inspect", "ipaddress", "json", "lzma",
    "msgspec", "re", "shutil", "socket", "subprocess", "tempfile", "typing", "urllib.parse", "uuid", "_hashlib",
}  # fmt: skip


def test_a_small_task_loads_nothing_heavy(tmp_path: Path) -> None:
    """From the first line of a runner to its last, for a command that succeeds and leaves nothing."""
    element = Element(tmp_path)
    element.put(element.house.launch(Job(name="t", command=("true",))))
    assert element.start("-X", "importtime").wait(DEADLINE_S) == 0
    loaded = {line.rpartition("|")[2].strip() for line in element.house.log().splitlines() if "import time:" in line}
    assert [outcome for outcome, _ in element.outcomes()] == [Outcome.OK]
    assert "pathlib" in loaded
    assert loaded & HEAVY == set()
