"""What the queue says, read by squeue and by pyslurm: one suite of cases, and the same answers from both.

Each case is what a controller knows, as slurm.h has it, with the rows that squeue printed of it (recorded from Slurm
22.05.8 and 25.11.7) and what is to be read. pyslurm's half runs against a fake of it everywhere. The last test asks both
about the same live cluster where the real pyslurm can be imported: two are started for it, or NEXAPOD_TEST_SLURM_CONF
names the slurm.conf of one that is there, whose commands are in PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyslurms
import pytest
from clusters.slurm import Clusters
from msgspec.structs import replace
from nexapod_backends.slurm.bindings.client import PyslurmClient
from nexapod_backends.slurm.cli.commands import Slurm
from nexapod_backends.slurm.cli.parse import JobRow, Listing, by_element
from nexapod_backends.slurm.cli.states import read_state
from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes
from nexapod_backends.slurm.queue.monitor import QueueMonitor
from nexapod_backends.slurm.transport import LocalTransport, environment
from spools import until

from nexapod_batch.model.site import Scheduler, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBMIT = 1_795_489_178
START = 1_795_497_000

Answers = dict[tuple[int, int | None], JobRow]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A queue, in the controller's words, in squeue's, and in ours."""

    name: str
    records: tuple[dict[str, Any], ...]
    squeue: str
    rows: tuple[JobRow, ...]
    ids: tuple[str, ...] = ("7",)


def record(**more: Any) -> dict[str, Any]:
    """Return a record of the controller: a pending job 7."""
    common = {"job_id": 7, "job_state": "PENDING", "state_reason": "Priority", "submit_time": SUBMIT, "name": "nexapod-a"}
    return {**common, **more}


def row(*indexes: int, **more: Any) -> JobRow:
    """Return a row of job 7, without indexes that of a job that is no array."""
    common = {"job": 7, "state": "PENDING", "reason": "Priority", "submit_s": SUBMIT, "name": "nexapod-a"}
    return JobRow(indexes=indexes or None, **{**common, **more})


_RUNS = {"job_state": "RUNNING", "state_reason": "None", "start_time": START}
_RAN = {"state": "RUNNING", "reason": "", "start_s": START}

CASES = (
    Case(
        name="a job that is no array",
        records=(record(start_time=START),),
        squeue=f"7~|~N/A~|~PENDING~|~{SUBMIT}~|~{START}~|~~|~Priority~|~nexapod-a\n",
        rows=(row(start_s=START),),
    ),
    Case(
        name="an array of which nothing has started",
        records=(record(array_job_id=7, array_task_str="0-40%20", state_reason="Resources"),),
        squeue=f"7~|~0-40%20~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Resources~|~nexapod-a\n",
        rows=(row(*range(41), reason="Resources"),),
    ),
    Case(
        name="the first element has started and is the number 0",
        records=(
            record(array_job_id=7, array_task_str="1-3"),
            record(job_id=8, array_job_id=7, array_task_id=0, nodes="n1", **_RUNS),
        ),
        squeue=(
            f"7~|~1-3~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Priority~|~nexapod-a\n"
            f"7~|~0~|~RUNNING~|~{SUBMIT}~|~{START}~|~n1~|~None~|~nexapod-a\n"
        ),
        rows=(row(1, 2, 3), row(0, hosts="n1", **_RAN)),
    ),
    Case(
        name="the last element to start has the array's own id",
        records=(
            record(job_id=8, array_job_id=7, array_task_id=1, nodes="n[1-2]", **_RUNS),
            record(array_job_id=7, array_task_id=0, nodes="n3", **_RUNS),
        ),
        squeue=(
            f"7~|~1~|~RUNNING~|~{SUBMIT}~|~{START}~|~n[1-2]~|~None~|~nexapod-a\n"
            f"7~|~0~|~RUNNING~|~{SUBMIT}~|~{START}~|~n3~|~None~|~nexapod-a\n"
        ),
        rows=(row(1, hosts="n[1-2]", **_RAN), row(0, hosts="n3", **_RAN)),
    ),
    Case(
        name="elements that were held on their own stand in the row of the others",
        records=(
            record(job_id=23, array_job_id=7, array_task_id=3, state_reason="None"),
            record(job_id=24, array_job_id=7, array_task_id=6, state_reason="JobHeldAdmin"),
            record(job_id=25, array_job_id=7, array_task_id=9, state_reason="JobHeldUser", start_time=START),
            record(array_job_id=7, array_task_str="0", state_reason="JobHeldUser"),
        ),
        squeue=f"7~|~0,3,6,9~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~JobHeldUser,None,JobHeldAdmin~|~nexapod-a\n",
        rows=(row(0, 3, 6, 9, reason="JobHeldUser,None,JobHeldAdmin"),),
    ),
    Case(
        name="held elements without such a row stay alone",
        records=(
            record(job_id=32, array_job_id=7, array_task_id=6, state_reason="JobHeldAdmin"),
            record(array_job_id=7, array_task_id=0, state_reason="JobHeldUser"),
        ),
        squeue=(
            f"7~|~0~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~JobHeldUser~|~nexapod-a\n"
            f"7~|~6~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~JobHeldAdmin~|~nexapod-a\n"
        ),
        rows=(row(0, reason="JobHeldUser"), row(6, reason="JobHeldAdmin")),
    ),
    Case(
        name="an element that was moved to another partition stays alone",
        records=(
            record(array_job_id=7, array_task_str="1-2"),
            record(job_id=8, array_job_id=7, array_task_id=0, partition="long", state_reason="Resources"),
        ),
        squeue=(
            f"7~|~1-2~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Priority~|~nexapod-a\n"
            f"7~|~0~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Resources~|~nexapod-a\n"
        ),
        rows=(row(1, 2), row(0, reason="Resources")),
    ),
    Case(
        name="steps and ends of every kind",
        records=(
            record(job_id=8, array_job_id=7, array_task_id=2, **{**_RUNS, "job_state": "COMPLETING"}, nodes="n1"),
            record(job_id=9, array_job_id=7, array_task_id=4, **{**_RUNS, "job_state": "FAILED"}, nodes="n1"),
            record(array_job_id=7, array_task_str="0-100:10", state_reason="Dependency"),
        ),
        squeue=(
            f"7~|~0-100:10~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Dependency~|~nexapod-a\n"
            f"7~|~2~|~COMPLETING~|~{SUBMIT}~|~{START}~|~n1~|~None~|~nexapod-a\n"
            f"7~|~4~|~FAILED~|~{SUBMIT}~|~{START}~|~n1~|~None~|~nexapod-a\n"
        ),
        rows=(
            row(*range(0, 101, 10), reason="Dependency"),
            row(2, hosts="n1", **{**_RAN, "state": "COMPLETING"}),
            row(4, hosts="n1", **{**_RAN, "state": "FAILED"}),
        ),
    ),
    Case(
        name="words with blanks, commas and our own separator",
        records=(record(state_reason="ReqNodeNotAvail, May be reserved for other job", name="a ~|~ b  #c é"),),
        squeue=(
            f"7~|~N/A~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~ReqNodeNotAvail, May be reserved for other job~|~a ~|~ b  #c é\n"
        ),
        rows=(row(reason="ReqNodeNotAvail, May be reserved for other job", name="a ~|~ b  #c é"),),
    ),
    Case(
        name="only what was asked for",
        records=(record(job_id=6), record(), record(job_id=9, array_job_id=8, array_task_id=7), record(job_id=70)),
        squeue=f"7~|~N/A~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Priority~|~nexapod-a\n",
        rows=(row(),),
    ),
    Case(
        name="several jobs",
        records=(record(), record(job_id=8, name="nexapod-b")),
        squeue=(
            f"7~|~N/A~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Priority~|~nexapod-a\n"
            f"8~|~N/A~|~PENDING~|~{SUBMIT}~|~N/A~|~~|~Priority~|~nexapod-b\n"
        ),
        rows=(row(), replace(row(), job=8, name="nexapod-b")),
        ids=("7", "8"),
    ),
)


def answers(listing: Listing[JobRow]) -> Answers:
    """Return what is said of each element, whichever rows it came in."""
    assert listing.unreadable == 0
    return {key: replace(one, indexes=None) for key, one in by_element(listing.rows).items()}


class ReaderConformance:
    """The suite. A subclass says who reads."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder of a cluster's commands and configuration."""
        (tmp_path / "slurm.conf").touch()
        return tmp_path

    def reader(self, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> QueueMonitor:
        """Return what reads this queue."""
        raise NotImplementedError

    @pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
    def test_queue(self, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each element has the state, reason, times, hosts and name that the controller knows."""
        found = self.reader(case, folder, monkeypatch)._queue(case.ids, 0.0)
        assert answers(Listing(rows=case.rows)) == answers(found)


class TestCommands(ReaderConformance):
    """squeue's text."""

    def reader(self, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> QueueMonitor:  # noqa: ARG002
        """Put a squeue in place that prints the recorded rows."""
        (folder / "rows").write_text(case.squeue)
        command(folder, f"cat {folder}/rows")
        return watch(folder)


class TestBindings(ReaderConformance):
    """pyslurm's objects; squeue would be an error."""

    def reader(self, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> QueueMonitor:
        """Put the fake in place, which knows the records."""
        command(folder, "exit 1")
        known = pyslurms.install(folder, monkeypatch)
        known.write_text(json.dumps({"version": "25.11.2", "cluster": "25.11.7", "jobs": case.records}))
        return watch(folder, bindings=True)


def command(folder: Path, line: str) -> None:
    """Write a squeue."""
    (folder / "squeue").write_text(f"#!/bin/sh\n{line}\n")
    (folder / "squeue").chmod(0o755)


def watch(folder: Path, *, bindings: bool = False) -> QueueMonitor:
    """Return a watch with or without pyslurm; a failure of it is an error."""
    site = Site(name="here", scheduler=Scheduler(type="slurm", bin=str(folder), conf=str(folder / "slurm.conf")))
    slurm = Slurm(site, LocalTransport())
    told = PyslurmClient(site, slurm, folder / "bindings.json", pytest.fail) if bindings else None
    return QueueMonitor(site, slurm, folder / "queue.json", told)


# ---- the real ones


class Live:
    """A real cluster, and both ways to read its queue."""

    def __init__(self, conf: Path, folder: Path) -> None:
        """Remember whom to ask."""
        self.conf, self.folder, self.told = conf, folder, list[str]()
        site = Site(name="live", scheduler=Scheduler(type="slurm", conf=str(conf)))
        slurm = Slurm(site, LocalTransport())
        self.bindings = PyslurmClient(site, slurm, folder / "bindings.json", self.told.append)
        self.text = QueueMonitor(site, slurm, folder / "queue.json")
        self.jobs: list[str] = []

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program with this cluster's configuration."""
        env = {**environment(os.environ), "SLURM_CONF": str(self.conf)}
        return subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120)

    def control(self, *argv: str) -> str:
        """Run a command of Slurm and return what it prints."""
        done = self.run(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *options: str, run: str = "sleep 300") -> str:
        """Submit a job and return its id."""
        job = self.control("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={run}")
        self.jobs.append(job)
        return job

    def squeue(self) -> Answers:
        """Return what the command says of all jobs."""
        return answers(self.text._queue(self.jobs, 0.0))

    def pyslurm(self) -> Answers | None:
        """Return what pyslurm says of them."""
        found = self.bindings.queue(self.jobs, 0.0)
        return None if found is None else answers(found)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Yield a cluster on which pyslurm can be imported; its jobs are cancelled afterwards."""
    if find_spec("pyslurm") is None:
        pytest.skip("pyslurm is not installed")
    with ExitStack() as stack:
        given = os.environ.get("NEXAPOD_TEST_SLURM_CONF")
        cluster = Live(Path(given) if given else stack.enter_context(Clusters.start()).alpha.conf, tmp_path)
        done = cluster.run(sys.executable, "-P", "-c", "import pyslurm")
        if done.returncode:
            pytest.skip(f"pyslurm cannot be imported: {(done.stderr.strip() or str(done.returncode)).splitlines()[-1]}")
        stack.callback(lambda: cluster.run("scancel", *cluster.jobs))
        yield cluster


def test_same_answers(live: Live) -> None:
    """Of running, ended, pending, held, waiting, partly started and partly released jobs; a wrong version says nothing."""
    live.submit("--job-name=nexapod-a", "--array=0-30%4", run="test $SLURM_ARRAY_TASK_ID -lt 6 || sleep 300")
    single = live.submit("--job-name=a ~|~ b  #c é")
    live.submit("--job-name=code", run="exit 3")
    live.submit("--job-name=later", "--begin=now+1hour", "--array=1-3")
    live.submit("--job-name=after", f"--dependency=afterok:{single}")
    live.submit("--job-name=whole", "--hold", "--array=0-100:10")
    live.submit("--job-name=zero", "--array=0")
    held = live.submit("--job-name=held", "--hold", "--array=0-12:3")
    live.control("scontrol", "update", f"job={held}_3", "starttime=now+1hour")
    live.control("scontrol", "release", f"{held}_3")
    live.control("scontrol", "hold", f"{held}_6")
    live.control("scancel", f"{held}_12")

    def mixed() -> bool:
        states = {one.state for one in live.squeue().values()}
        return {"RUNNING", "PENDING", "COMPLETED", "FAILED"} <= states

    until(mixed, "a queue of every kind")
    if not fits(live):
        assert live.pyslurm() is None
        return

    def unchanged() -> tuple[Answers, Answers | None] | None:
        """Return what both say while the queue stands still."""
        before, found = live.squeue(), live.pyslurm()
        return (before, found) if before == live.squeue() else None

    expected, found = until(unchanged, "a queue that stands still")
    assert found == expected
    assert {key[1] for key in expected} >= {None, 0, 5, 30}
    assert live.told == []


def fits(live: Live) -> bool:
    """Say whether the pyslurm that is installed is of the release of the cluster."""
    version = live.control("scontrol", "show", "config").partition("SLURM_VERSION")[2].split()[1]
    made = metadata.version("pyslurm").split(".")
    return [int(part) for part in made[:2]] == [int(part) for part in version.split(".")[:2]]


def test_same_ends(live: Live) -> None:
    """Of jobs that ended well, with a code, by a signal, cancelled while they ran and while they waited, in arrays and alone."""
    if not fits(live):
        pytest.skip("pyslurm is of another release")
    live.submit("--job-name=well", "--array=0-3", run="test $SLURM_ARRAY_TASK_ID != 2")
    live.submit("--job-name=code", run="exit 7")
    live.submit("--job-name=signal", run="kill -9 $$")
    running = live.submit("--job-name=run", "--array=0", run="sleep 300")
    waiting = live.submit("--job-name=later", "--begin=now+1hour", "--array=1-3,8")
    until(lambda: "RUNNING" in live.control("squeue", "--noheader", "--format=%T", f"--jobs={running}"), "a job that runs")
    live.control("scancel", running, waiting)
    since = int(time.time()) - 86_400

    def ends() -> Answers:
        rows = live.text._ask_sacct(live.jobs, since, needed=True)
        return answers(rows)

    def over() -> bool:
        found = ends().values()
        return len(found) >= 8 and all(read_state(one.state).ended for one in found)

    until(over, "the accounting to know all ends")
    listing = live.bindings.ended(live.jobs, since, 0.0)
    assert listing is not None, (live.told, (live.folder / "bindings.json").read_text())
    assert answers(listing) == ends()
    assert {(one.exit_code, one.exit_signal) for one in ends().values()} >= {(0, 0), (1, 0), (7, 0), (0, 9)}
    assert live.told == []


def test_same_hosts(live: Live) -> None:
    """What each host has for jobs, its features and its partitions."""
    if not fits(live):
        pytest.skip("pyslurm is of another release")
    live.control("scontrol", "update", "nodename=a1", "features=fast,new")
    text = live.bindings.hosts(0.0)
    assert text is not None
    assert read_nodes(text) == read_nodes(live.control(*SCONTROL_NODES))
    assert read_nodes(text)["a1"].features == ("fast", "new")
    assert live.told == []
