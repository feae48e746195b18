"""A command of the same account stops or kills what watches over it: its limits hold, and it is its own error."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.local import LocalBackend
from spools import House, alive, until

from nexapod_batch.model.job import Job, Resources
from nexapod_batch.plugins import BackendState
from nexapod_batch.runner.worker.executor_deaths import TOLERATED
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What finds its executor and its worker: above it, and above that.
FIND = """
import os, signal, subprocess, sys, time
def parent(pid):
    return int(open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[1])
executor = os.getppid()
worker = parent(executor)
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node with two CPUs."""
    made = House(tmp_path)
    yield made
    made.end()


def python(code: str, **more: object) -> Job:
    """Return a job that knows who watches over it."""
    return Job(name="t", command=(sys.executable, "-c", FIND + code), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(executor, signal.SIGSTOP); time.sleep(600)",
        "os.kill(executor, signal.SIGTSTP); os.kill(executor, signal.SIGSTOP); time.sleep(600)",
        "while True: os.kill(executor, signal.SIGSTOP)",
        "os.setsid() if os.fork() == 0 else None\nwhile True: os.kill(executor, signal.SIGSTOP); time.sleep(0.01)",
    ],
    ids=["once", "both", "always", "descendants"],
)
def test_time_is_a_limit_for_who_stops_its_executor(house: House, code: str) -> None:
    """Whoever watches over the executor lets it go on, or ends what it cannot end any more; nothing is left."""
    (report,) = house.run(python(code, resources=Resources(time_s=2)))
    assert (report.statement.outcome, "over its time limit of 2 s" in report.statement.detail) == (Outcome.TIME, True)
    assert not [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _runs_in(pid, house.work)]


def test_who_kills_its_executor_again_and_again_has_an_error(house: House) -> None:
    """A death or two may be bad luck, and cost an execution each; then the next executor reports the task's own error."""
    job = python("os.kill(executor, signal.SIGKILL); time.sleep(600)")
    for number in range(TOLERATED + 2):
        house.put(house.launch(job, job_id=number + 1))
        assert house.start().wait(60) == 0
    found = sorted((report.statement for report in house.reports()), key=lambda one: str(one.replica))
    assert [(str(one.replica), one.outcome) for one in found] == [
        (f"{number}_0.1", Outcome.FAILED) for number in (TOLERATED + 1, TOLERATED + 2)
    ]
    assert [f"its executor was killed {TOLERATED + 1} times" in one.detail for one in found] == [True, True]


def test_who_kills_its_worker_again_and_again_has_an_error(house: House) -> None:
    """The same for the whole runner: the next worker knows what ran alone when the last one was killed."""
    go = house.home / "go"
    code = """
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
os.kill(worker, signal.SIGSTOP)
os.kill(executor, signal.SIGKILL)
os.kill(worker, signal.SIGKILL)
time.sleep(600)
"""
    job = Job(name="t", command=(sys.executable, "-c", FIND + code, str(go)))
    for number in range(TOLERATED + 1):
        go.unlink(missing_ok=True)
        house.put(house.launch(job, job_id=number + 1))
        worker = house.start()
        until(lambda at=number + 1: f'"{at}_0.1"' in _text(house.spool / "running.json"), "a notice of what runs")
        go.touch()
        assert worker.wait(60) == -signal.SIGKILL
    house.put(house.launch(job, job_id=TOLERATED + 2))
    assert house.start().wait(60) == 0
    (report,) = house.reports()
    assert (str(report.statement.replica), report.statement.outcome) == (f"{TOLERATED + 2}_0.1", Outcome.FAILED)
    assert not [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _runs_in(pid, house.work)]


def test_accidents_of_other_tasks_are_nobodys_error(house: House, tmp_path: Path) -> None:
    """Executors are killed from outside, each time while another task runs: nothing is held against the next one."""
    for number in range(TOLERATED + 2):
        job = python(f"open('{tmp_path}/{number}', 'w').write(str(executor)); time.sleep(600)")
        house.put(house.launch(job, job_id=number + 1, job_uuid=f"0190-{number}"))
        worker = house.start()
        os.kill(int(until(lambda at=number: _text(tmp_path / str(at)), "a command that runs")), signal.SIGKILL)
        assert worker.wait(60) == 0
    assert house.reports() == []


def test_a_pass_lets_a_stopped_worker_go_on(house: House, tmp_path: Path) -> None:
    """Everything of the account is stopped: whoever asks for the launch sets the worker going, and that the executor."""
    there = tmp_path / "there"
    code = f"open('{there}', 'w').close()\nfor one in (worker, executor): os.kill(one, signal.SIGSTOP)\ntime.sleep(600)"
    key = house.put(house.launch(python(code, resources=Resources(time_s=3))))
    worker = house.start()
    until(there.exists, "the command")
    until(lambda: _state(worker.pid) == "T", "a worker that is stopped")
    status = LocalBackend().status(house.context(), [key])
    assert status[key].state is BackendState.ACTIVE
    assert worker.wait(60) == 0
    (report,) = house.reports()
    assert report.statement.outcome is Outcome.TIME


def _runs_in(pid: int, work: Path) -> bool:
    try:
        return str(work).encode() in Path(f"/proc/{pid}/environ").read_bytes() and alive(pid)
    except OSError:
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
