"""pyslurm that crashes, hangs, lies or does not fit: the command is asked instead, and it is told once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyslurms
import pytest
from msgspec.structs import replace
from nexapod_backends.slurm.bindings.client import PyslurmClient
from nexapod_backends.slurm.bindings.rows import queued
from nexapod_backends.slurm.cli.commands import Slurm
from nexapod_backends.slurm.cli.parse import SEPARATOR, read_squeue
from nexapod_backends.slurm.queue.monitor import QueueMonitor
from nexapod_backends.slurm.queue.submission_records import Group
from nexapod_backends.slurm.transport import Done, LocalTransport

from nexapod_batch.model.site import Limits, Scheduler, Site
from nexapod_batch.plugins import Mark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T0 = 1_000_000.0
HOUR = 3_600.0
DAY = 24 * HOUR
NAME = f"nexapod-{1:016x}"
RUNNING = {"job_id": 7, "job_state": "RUNNING", "name": NAME, "nodes": "n1", "submit_time": 1_795_484_000}


@dataclass
class Machine(LocalTransport):
    """This machine, where squeue answers what a test says; `asked` are the programs that were called."""

    answer: str = ""
    version: str = ""  # of Slurm's commands; none: the answer holds for them too
    asked: list[str] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, argv: Sequence[str], extra: Mapping[str, str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the child."""
        self.asked.append("child")
        self.children.append(super().start(argv, extra, stderr))
        return self.children[-1]

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:  # noqa: ARG002
        """Answer."""
        self.asked.append(os.path.basename(argv[0]))
        return Done(0, f"slurm {self.version}\n" if self.version and argv[1:] == ["--version"] else self.answer, "")


class Place:
    """A site with the fake pyslurm, a queue and somebody who is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Install the fake for the children that will be started."""
        monkeypatch.delenv("SLURM_CONF", raising=False)
        self.folder, self.known = folder, pyslurms.install(folder, monkeypatch)
        self.machine, self.told = Machine(), list[str]()
        self.site = Site(
            name="here",
            scheduler=Scheduler(type="slurm", accounting="squeue", cmd_timeout_s=30),
            limits=Limits(poll_interval_s=10),
        )
        self.knows(RUNNING)

    def knows(self, *jobs: dict[str, object], version: str = "25.11.2", cluster: str = "25.11.7", **more: object) -> None:
        """Say what the controller answers."""
        self.known.write_text(json.dumps({"version": version, "cluster": cluster, "jobs": jobs, **more}))

    def bindings(self, **scheduler: object) -> PyslurmClient:
        """Return the reader, as another process has it."""
        site = replace(self.site, scheduler=replace(self.site.scheduler, **scheduler))
        return PyslurmClient(site, Slurm(site, self.machine), self.folder / "bindings.json", self.told.append)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a site."""
    return Place(tmp_path, monkeypatch)


def test_it_answers_without_being_loaded(place: Place) -> None:
    """The rows come from the child; our own process never sees pyslurm."""
    found = place.bindings().queue(["7"], T0)
    assert found is not None
    (row,) = found.rows
    assert (row.job, row.indexes, row.state, row.hosts, row.name) == (7, None, "RUNNING", "n1", NAME)
    assert (row.submit_s, row.start_s) == (1_795_484_000, None)
    assert "pyslurm" not in sys.modules
    assert place.machine.asked == ["child"]
    assert place.bindings().finding(T0).mark is Mark.OK
    assert place.told == []


FAULTS = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
    "no configuration": ("sys.stderr.write('python: fatal: no\\x1b[2J configuration\\n'); os._exit(1)", "fatal: no?[2J configuration"),
    "library is gone": ("raise ImportError('libslurmfull.so: cannot open')", "ImportError: libslurmfull.so"),
    "ends by itself": ("sys.exit(9)", "exit code 9"),
}


@pytest.mark.parametrize(("fault", "why"), FAULTS.values(), ids=FAULTS)
def test_broken(place: Place, fault: str, why: str) -> None:
    """However it breaks, the answer is None, told once, and it is left alone for a day by every process."""
    place.knows(RUNNING, fault=fault)
    assert place.bindings().queue(["7"], T0) is None
    (told,) = place.told
    assert told.startswith("site here: pyslurm is not used")
    assert why in told
    assert told.isprintable()
    assert place.bindings().queue(["7"], T0 + DAY - 1) is None
    assert place.machine.asked == ["child"]
    assert place.bindings().queue(["7"], T0 + DAY) is None
    assert place.machine.asked == ["child", "child"]
    assert place.told == [told]
    finding = place.bindings().finding(T0 + DAY)
    assert (finding.mark, why in finding.text) == (Mark.WARN, True)


def test_garbage(place: Place) -> None:
    """An answer that cannot be read in full is none."""
    place.knows({**RUNNING, "job_state": ""})
    assert place.bindings().queue(["7"], T0) is None
    (told,) = place.told
    assert "it answered what cannot be read: 7~|~N/A~|~~|~" in told


def test_chatter_of_a_library(place: Place) -> None:
    """What is printed beside the rows, through Python or past it, does not touch them."""
    place.knows(RUNNING, fault="print('7~|~N/A~|~RUNN', end=''); os.write(1, b'hello')")
    found = place.bindings().queue(["7"], T0)
    assert found is not None
    assert [row.state for row in found.rows] == ["RUNNING"]


def test_hanging(place: Place) -> None:
    """A child that hangs is killed after the site's time for commands."""
    place.knows(RUNNING, fault="import time; time.sleep(600)")
    assert place.bindings(cmd_timeout_s=1).queue(["7"], T0) is None
    assert place.told == ["site here: pyslurm is not used, Slurm's commands are: it did not answer in 1 s"]


@pytest.mark.parametrize("cluster", ["25.05.7", "26.05.0", "22.05.8", "25.11x", ""])
def test_of_another_version(place: Place, cluster: str) -> None:
    """It must be made for the very release of the cluster that answers; what is no version fits nothing."""
    place.knows(RUNNING, cluster=cluster)
    assert place.bindings().queue(["7"], T0) is None
    (told,) = place.told
    assert cluster in told


@pytest.mark.parametrize(
    ("metadata", "version", "slurm"),
    [
        ("pyslurm-25.11.0.dist-info", "25.11.0", "22.05.8"), ("pyslurm-18.8.1.1.dist-info", "18.8.1.1", "25.11.2"),
        ("pyslurm-22.5.3-py3.11-linux-x86_64.egg-info", "22.5.3", "23.02.7"), ("pyslurm-25.11.0.dist-info", "25.11.0", "25.05.3-1"),
        ("PySlurm-26.5.0rc1.egg-info", "26.5.0rc1", "25.11.2"),
    ],
)  # fmt: skip
def test_installed_for_another_release(place: Place, metadata: str, version: str, slurm: str) -> None:
    """It is not even loaded: told once, with both versions, and left alone until one of them may have changed."""
    (place.known.parent / metadata).mkdir()
    place.machine.version = slurm
    for at in (T0, T0 + 60, T0 + DAY - 1):
        assert place.bindings().queue(["7"], at) is None
    assert place.machine.asked == ["sinfo"]
    (told,) = place.told
    assert f"pyslurm {version} is not made for Slurm {slurm}" in told
    assert "build pyslurm for the Slurm of this cluster" in place.bindings().finding(T0 + 60).hint
    assert "child" not in place.machine.asked


@pytest.mark.parametrize(
    ("metadata", "slurm"),
    [
        ("pyslurm-22.5.3.dist-info", "22.05.8"), ("pyslurm-25.11.0.dist-info", "25.11.2-1"), ("pyslurm-25.11.0.dist-info", ""),
        ("pyslurm-25.11.0.dist-info", "of today"), ("pyslurm_tools-1.0.dist-info", "25.11.2"), ("pyslurm.egg-link", "25.11.2"),
    ],
)  # fmt: skip
def test_installed_for_this_release_or_not_told(place: Place, metadata: str, slurm: str) -> None:
    """It is used; versions are compared once, by all processes together."""
    (place.known.parent / metadata).mkdir()
    place.machine.version = slurm
    for _ in range(3):
        assert place.bindings().queue(["7"], T0) is not None
    assert place.machine.asked.count("child") == 3
    assert place.machine.asked.count("sinfo") == metadata.startswith("pyslurm-")
    assert place.told == []


def test_of_the_same_version(place: Place) -> None:
    """The binding writes 22.5.3 for 22.05, and the last number is its own."""
    place.knows(RUNNING, version="22.5.3", cluster="22.05.8")
    assert place.bindings().queue(["7"], T0) is not None


def test_controller_is_silent(place: Place) -> None:
    """That is not pyslurm's fault: nobody is told, and it is soon tried again."""
    place.knows(silent=True)
    assert place.bindings().queue(["7"], T0) is None
    assert place.told == []
    assert "connect failure" in place.bindings().finding(T0).text
    assert place.bindings().queue(["7"], T0 + 60) is None
    assert place.machine.asked.count("child") == 1
    place.knows(RUNNING)
    assert place.bindings().queue(["7"], T0 + HOUR) is not None


def test_a_job_that_it_does_not_know(place: Place) -> None:
    """It may look at another cluster than the commands: then they are asked, now and every time."""
    for _ in range(2):
        assert place.bindings().queue(["7", "8"], T0) is None
    assert place.machine.asked == ["child", "child"]
    assert place.told == []


@pytest.mark.parametrize(
    "scheduler",
    [{"transport": "ssh"}, {"cluster": "polar"}, {"bin": "/opt/slurm/bin"}, {"conf": "/nowhere/slurm.conf"}],
    ids=["ssh", "clusters", "bin", "conf"],
)
def test_where_it_is_never_asked(place: Place, scheduler: dict[str, str]) -> None:
    """Over SSH, for another cluster than the configured one, where the commands may know another one, without any."""
    assert place.bindings(**scheduler).queue(["7"], T0) is None
    assert place.machine.asked == []
    assert place.bindings(**scheduler).finding(T0).mark is Mark.SKIP


def test_commands_of_a_folder_with_a_configuration(place: Place) -> None:
    """With both named it is clear which cluster is meant."""
    assert place.bindings(bin="/opt/slurm/bin", conf=str(place.known)).queue(["7"], T0) is not None


def test_not_installed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, nothing is told."""
    monkeypatch.setattr(sys, "path", [])
    assert place.bindings().queue(["7"], T0) is None
    assert (place.machine.asked, place.told) == ([], [])
    assert "not installed" in place.bindings().finding(T0).text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"which": 1}', b'{"which": null, "why": 1, "at": "x", "pause_s": 0}'])
def test_a_memory_that_is_broken(place: Place, content: bytes) -> None:
    """It is only a memory: pyslurm is asked."""
    (place.folder / "bindings.json").write_bytes(content)
    assert place.bindings().queue(["7"], T0) is not None


def test_a_memory_that_cannot_be_kept(place: Place) -> None:
    """It costs another try, and nothing else."""
    (place.folder / "bindings.json").mkdir()
    place.knows(fault="sys.exit(9)")
    for _ in range(2):
        assert place.bindings().queue(["7"], T0) is None
    assert place.machine.asked == ["child", "child"]


def test_another_configuration_is_another_try(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed without a configuration is tried at once with one."""
    place.knows(RUNNING, fault="os._exit(1) if 'SLURM_CONF' not in os.environ else None")
    assert place.bindings().queue(["7"], T0) is None
    monkeypatch.setenv("SLURM_CONF", str(place.known))
    assert place.bindings().queue(["7"], T0 + 1) is not None


def test_a_clock_that_was_set_back(place: Place) -> None:
    """A failure of the future counts no more."""
    place.knows(RUNNING, fault="sys.exit(9)")
    assert place.bindings().queue(["7"], T0) is None
    place.knows(RUNNING)
    assert place.bindings().queue(["7"], T0 - HOUR) is not None


def test_the_environment_of_slurm_stays_outside(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child gets what the commands get: no words of a shell or a job around us, and our formats."""
    monkeypatch.setenv("SLURM_BITSTR_LEN", "5")
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    fault = "os._exit(9) if 'SLURM_CLUSTERS' in os.environ or os.environ['SLURM_BITSTR_LEN'] != '0' else None"
    place.knows(RUNNING, fault=fault)
    assert place.bindings().queue(["7"], T0) is not None


def test_a_file_of_that_name_in_the_current_folder(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which a user happens to stand is no place to load from."""
    (tmp_path / "parse.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    assert place.bindings().queue(["7"], T0) is not None


# ---- the watch


def _group() -> Group:
    return Group(
        id=NAME.removeprefix("nexapod-"), node="n", partition="p", elements=(("k",),), replicas=(1,), native="7",
        tried=T0, submitted=T0,
    )  # fmt: skip


def _watch(place: Place) -> QueueMonitor:
    site = place.site
    return QueueMonitor(site, Slurm(site, place.machine), place.folder / "queue.json", place.bindings())


def test_the_watch_needs_no_command(place: Place) -> None:
    """One look is one child."""
    watch = _watch(place)
    watch.look([_group()], T0)
    assert place.machine.asked == ["child"]
    seen = watch.last_seen(_group(), 0)
    assert seen is not None
    assert (seen.state, seen.hosts, seen.at) == ("RUNNING", "n1", T0)


def test_the_watch_asks_the_command_instead(place: Place) -> None:
    """In the same look; the next one does not try pyslurm again."""
    place.knows(fault="sys.exit(9)")
    place.machine.answer = SEPARATOR.join(["7", "N/A", "PENDING", "1", "N/A", "", "Priority", NAME]) + "\n"
    watch = _watch(place)
    watch.look([_group()], T0)
    watch.look([_group()], T0 + 10)
    assert place.machine.asked == ["child", "squeue", "squeue"]
    seen = watch.last_seen(_group(), 0)
    assert seen is not None
    assert (seen.state, watch.trouble) == ("PENDING", "")
    assert len(place.told) == 1


def test_silence_of_pyslurm_is_no_end(place: Place) -> None:
    """What it does not know, squeue decides."""
    place.knows()
    place.machine.answer = SEPARATOR.join(["7", "N/A", "RUNNING", "1", "1", "n1", "None", NAME]) + "\n"
    watch = _watch(place)
    watch.look([_group()], T0)
    seen = watch.last_seen(_group(), 0)
    assert seen is not None
    assert seen.state == "RUNNING"
    assert not watch.gone(_group(), 0, T0 + DAY)


# ---- the child's words


@dataclass
class Record:
    """A job as pyslurm shows it."""

    id: int = 7
    array_id: int | None = None
    array_task_id: int | None = None
    array_tasks_waiting: str | None = None
    state: str | None = "PENDING"
    state_reason: str | None = "Priority"
    submit_time: int | None = None
    start_time: int | None = None
    allocated_nodes: str | None = None
    name: str | None = NAME
    partition: str | None = "short"


class Stranger:
    """Somebody else's job, of which more than the ids cannot even be read."""

    id = 99
    array_id = None


def test_other_peoples_jobs_are_not_looked_at() -> None:
    """A name that is no text, in whatever job, must not cost us ours."""
    (line,) = queued([Stranger(), Record()], frozenset({7}))
    assert line == SEPARATOR.join(["7", "N/A", "PENDING", "N/A", "N/A", "", "Priority", NAME])


@pytest.mark.parametrize("word", ["a\nb", "a~|~b", "\x00", "\udcff", "é", ""])
def test_a_strange_word_is_one_line(word: str) -> None:
    """Whatever a reason or a name holds, it is one row for the reader."""
    (line,) = queued([Record(name=word)], frozenset({7}))
    found = read_squeue(line)
    assert (len(found.rows), found.unreadable) == (1, 0)


def test_nothing_is_set() -> None:
    """A record without anything is a row, or counted; never an error."""
    bare = Record(state=None, state_reason=None, name=None, partition=None)
    (line,) = queued([bare], frozenset({7}))
    assert read_squeue(line).unreadable == 1


def test_a_release_that_cannot_even_talk_is_told_once(place: Place) -> None:
    """Every answer is "Zero Bytes": by the release of Slurm's own commands it is known that it never will be another."""
    place.machine.answer = "slurm-wlm 22.05.8\n"
    place.knows(RUNNING, silent=True)
    assert place.bindings().queue(["7"], T0) is None
    assert place.told == ["site here: pyslurm is not used, Slurm's commands are: pyslurm 25.11.2 is not made for Slurm 22.05.8"]
    assert place.bindings().queue(["7"], T0 + HOUR) is None
    assert place.machine.asked.count("child") == 1


@pytest.mark.parametrize(("more", "mark", "words"), [({}, Mark.OK, "it answers"), ({"fault": "sys.exit(9)"}, Mark.WARN, "it broke"), ({"silent": True}, Mark.WARN, "connect failure")])
def test_a_check_asks_it_once(place: Place, more: dict[str, Any], mark: Mark, words: str) -> None:
    """A home that was never used before knows of no failure: what comes is reported."""
    place.knows(RUNNING, **more)
    found = place.bindings().finding(T0)
    assert (found.mark, words in found.text) == (mark, True)
    assert place.machine.asked[0] == "child"


def test_a_configuration_that_changed_is_another_try(place: Place, tmp_path: Path) -> None:
    """The file may have been what was wrong."""
    conf = tmp_path / "slurm.conf"
    conf.write_text("a")
    place.knows(RUNNING, fault="sys.exit(9)")
    assert place.bindings(conf=str(conf)).queue(["7"], T0) is None
    place.knows(RUNNING)
    assert place.bindings(conf=str(conf)).queue(["7"], T0 + 1) is None
    os.utime(conf, ns=(1, 1))
    assert place.bindings(conf=str(conf)).queue(["7"], T0 + 2) is not None
