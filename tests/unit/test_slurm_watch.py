"""What Slurm is believed, and when: seldom asked, never of somebody else's job, and silence is not an end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from nexapod_backends.slurm.cli.commands import Slurm, TimedOutError
from nexapod_backends.slurm.cli.parse import SEPARATOR
from nexapod_backends.slurm.queue.monitor import GRACE_BESIDE_S, GRACE_S, QueueMonitor
from nexapod_backends.slurm.queue.observations import Observation
from nexapod_backends.slurm.queue.submission_records import Group
from nexapod_backends.slurm.transport import Done, LocalTransport

from nexapod_batch.model.site import Limits, Scheduler, Site

if TYPE_CHECKING:
    from pathlib import Path

POLL_S = 10
T0 = 1_000_000.0


@dataclass
class Cluster(LocalTransport):
    """A transport whose commands answer what a test says; `asked` are the calls."""

    answers: dict[str, Done | Exception] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], extra: Mapping[str, str], *, text: str, timeout_s: float) -> Done:  # noqa: ARG002
        """Answer."""
        self.asked.append(list(argv))
        answer = self.answers.get(argv[0], Done(0, "", ""))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def says(self, command: str, *rows: str, code: int = 0, err: str = "") -> None:
        """Let a command print rows."""
        self.answers[command] = Done(code, "".join(f"{row}\n" for row in rows), err)

    def names(self) -> list[str]:
        """Return the commands called."""
        return [argv[0] for argv in self.asked]


def queued(job: int, index: str, state: str, group: str, *, reason: str = "None") -> str:
    """Return a row of squeue."""
    name = f"nexapod-{group}"
    return SEPARATOR.join([str(job), index, state, "1000", "N/A", "a1", reason, name])


def counted(element: str, state: str, group: str) -> str:
    """Return a row of sacct."""
    return SEPARATOR.join([element, state, "0:0", "1000", "1001", "1002", "a1", f"nexapod-{group}"])


def site(accounting: str = "auto", batch: int = 100) -> Site:
    """Return a site."""
    limits = Limits(poll_interval_s=POLL_S, status_batch=batch)
    return Site(name="here", scheduler=Scheduler(type="slurm", accounting=accounting), limits=limits)


def group(number: int = 1, elements: int = 2, native: str = "") -> Group:
    """Return a submitted group."""
    keys = tuple((f"{number:016x}{index:016x}",) for index in range(elements))
    return Group(
        id=f"{number:016x}", node="n", partition="p", elements=keys, replicas=(1,) * elements,
        native=native or str(100 + number), tried=T0, submitted=T0,
    )  # fmt: skip


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster that knows nothing."""
    return Cluster()


@pytest.fixture
def watch(cluster: Cluster, tmp_path: Path) -> QueueMonitor:
    """Return a watch of it."""
    return another(cluster, tmp_path)


def another(cluster: Cluster, folder: Path, at: Site | None = None) -> QueueMonitor:
    """Return a watch as another process has it."""
    chosen = at or site()
    return QueueMonitor(chosen, Slurm(chosen, cluster), folder / "queue.json")


def states(watch: QueueMonitor, one: Group) -> list[str]:
    """Return the state of each element as it was told."""
    told = [watch.last_seen(one, index) for index in range(len(one.elements))]
    return [seen.state if seen else "" for seen in told]


def test_all_processes_together_ask_no_more_often_than_allowed(cluster: Cluster, watch: QueueMonitor, tmp_path: Path) -> None:
    """One squeue for all groups; the second process reads what the first was told."""
    cluster.says("squeue", queued(101, "0", "RUNNING", group().id), queued(101, "1", "PENDING", group().id, reason="Priority"))
    watch.look([group()], T0)
    other = another(cluster, tmp_path)
    other.look([group()], T0 + POLL_S - 1)
    assert cluster.names() == ["squeue"]
    assert states(other, group()) == ["RUNNING", "PENDING"]
    assert other.last_seen(group(), 1) == Observation("PENDING", "Priority", None, "a1", T0)
    other.look([group()], T0 + POLL_S)
    watch.look([group()], T0 + POLL_S + 1)
    assert cluster.names() == ["squeue"] * 2


def test_where_a_reported_group_ran_is_asked_out_of_turn(cluster: Cluster, watch: QueueMonitor) -> None:
    """A few times, later and later, for each group; then it waits for the next look like all else."""
    asked_at = []
    watch.look([group()], T0)
    for tenths in range(1, 10 * POLL_S):
        now, before = T0 + tenths / 10, len(cluster.asked)
        watch.look([group()], now, [group().id])
        if len(cluster.asked) > before:
            asked_at.append(round(now - T0, 1))
    assert asked_at == [1.0, 3.0, 7.0]


def test_a_group_has_its_own_looks_out_of_turn(cluster: Cluster, watch: QueueMonitor, tmp_path: Path) -> None:
    """What one group used up leaves another one's, and another process counts on."""
    for seconds in (0, 1, 3, 7):
        watch.look([group(), group(2)], T0 + seconds, [group().id])
    asked = len(cluster.asked)
    other = another(cluster, tmp_path)
    other.look([group(), group(2)], T0 + 9, [group().id])
    assert len(cluster.asked) == asked
    other.look([group(), group(2)], T0 + 9, [group().id, group(2).id])
    assert len(cluster.asked) > asked


def test_a_controller_in_trouble_is_not_asked_out_of_turn(cluster: Cluster, watch: QueueMonitor) -> None:
    """However much was reported meanwhile."""
    cluster.says("squeue", code=1, err="Unable to contact slurm controller")
    watch.look([group()], T0)
    for seconds in range(1, POLL_S):
        watch.look([group()], T0 + seconds, [group().id])
    assert cluster.names() == ["squeue"]


def test_accounting_is_asked_only_of_what_the_queue_lost(cluster: Cluster, watch: QueueMonitor) -> None:
    """And what ended is asked about no more."""
    cluster.says("squeue", queued(101, "0", "RUNNING", group().id))
    cluster.says("sacct", counted("101_1", "COMPLETED", group().id))
    watch.look([group(), group(2, native="")], T0)
    assert cluster.names() == ["squeue", "sacct"]
    cluster.says("squeue", queued(101, "0", "COMPLETED", group().id))
    watch.look([group()], T0 + POLL_S)
    assert cluster.names() == ["squeue", "sacct", "squeue"]
    watch.look([group()], T0 + 2 * POLL_S)
    assert len(cluster.asked) == 3
    assert states(watch, group()) == ["COMPLETED", "COMPLETED"]


def test_nothing_submitted_is_nothing_asked(cluster: Cluster, watch: QueueMonitor) -> None:
    """A group without an id is nobody's business yet."""
    fresh = group()
    fresh.native = ""
    watch.look([fresh], T0)
    assert cluster.asked == []


@pytest.mark.parametrize("name", ["0" * 16, "", f"{1:016x}x", "*"])
def test_an_id_that_belongs_to_another_job_is_not_believed(cluster: Cluster, watch: QueueMonitor, name: str) -> None:
    """Ids are given out again: only our name makes it our job, in queue and accounting."""
    cluster.says("squeue", queued(101, "0", "FAILED", name), queued(101, "1", "RUNNING", name))
    cluster.says("sacct", counted("101_0", "FAILED", name))
    watch.look([group()], T0)
    assert states(watch, group()) == ["", ""]


def test_our_name_under_another_id_is_not_believed(cluster: Cluster, watch: QueueMonitor) -> None:
    """A job that was submitted twice by hand is not the one that we know."""
    cluster.says("squeue", queued(999, "0", "FAILED", group().id))
    watch.look([group()], T0)
    assert states(watch, group()) == ["", ""]


def test_two_groups_with_one_id_are_told_apart(cluster: Cluster, watch: QueueMonitor) -> None:
    """After a reset of the cluster's numbers an old group has the number of a new one."""
    old, new = group(1, native="7"), group(2, native="7")
    cluster.says("squeue", queued(7, "0", "RUNNING", new.id), queued(7, "1", "RUNNING", new.id))
    watch.look([old, new], T0)
    assert states(watch, new) == ["RUNNING", "RUNNING"]
    assert states(watch, old) == ["", ""]


def test_an_element_that_we_did_not_submit_is_ignored(cluster: Cluster, watch: QueueMonitor) -> None:
    """Nothing beyond the array, and a job without index is the first element."""
    cluster.says("squeue", queued(101, "0-7", "RUNNING", group().id), queued(101, "900", "FAILED", group().id))
    watch.look([group()], T0)
    assert states(watch, group()) == ["RUNNING", "RUNNING"]
    assert watch.last_seen(group(), 7) is None
    assert watch.last_seen(group(), 900) is None


def test_an_end_is_the_end(cluster: Cluster, watch: QueueMonitor) -> None:
    """What ended does not run again, whatever a later answer says."""
    cluster.says("squeue", queued(101, "0", "TIMEOUT", group().id), queued(101, "1", "RUNNING", group().id))
    watch.look([group()], T0)
    cluster.says("squeue", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], T0 + POLL_S)
    assert states(watch, group()) == ["TIMEOUT", "RUNNING"]


def test_unknown_to_both_is_not_known_yet(cluster: Cluster, watch: QueueMonitor) -> None:
    """Only after two answers that lie further apart than the grace is an element gone."""
    for passed in (0.0, GRACE_S / 2, GRACE_S):
        watch.look([group()], T0 + passed)
        assert not watch.gone(group(), 0, T0 + passed)
    watch.look([group()], T0 + GRACE_S + POLL_S)
    assert watch.gone(group(), 0, T0 + GRACE_S + POLL_S)


def test_one_silent_answer_after_a_long_pause_is_no_end(cluster: Cluster, watch: QueueMonitor) -> None:
    """A coordinator that comes back after a day asks twice."""
    cluster.says("squeue", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], T0)
    cluster.says("squeue", code=1, err="slurm_load_jobs error: Invalid job id specified")
    day = T0 + 86_400
    watch.look([group()], day)
    assert not watch.gone(group(), 0, day)
    watch.look([group()], day + GRACE_S + 1)
    assert watch.gone(group(), 0, day + GRACE_S + 1)


def test_an_answer_in_between_starts_the_grace_anew(cluster: Cluster, watch: QueueMonitor) -> None:
    """As when the queue was empty for a moment."""
    watch.look([group()], T0)
    cluster.says("squeue", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], T0 + GRACE_S)
    cluster.says("squeue")
    watch.look([group()], T0 + GRACE_S + POLL_S)
    assert not watch.gone(group(), 0, T0 + GRACE_S + POLL_S)


@pytest.mark.parametrize("word", ["PENDING", "RUNNING", "REQUEUED"])
def test_what_only_accounting_calls_alive_is_not_alive(cluster: Cluster, watch: QueueMonitor, word: str) -> None:
    """A controller that crashed forgot it; it is gone after the grace, not waited for for ever."""
    cluster.says("sacct", counted("101_[0-1]", word, group().id))
    for passed in (0.0, GRACE_S / 2, GRACE_S + 1):
        watch.look([group()], T0 + passed)
    assert states(watch, group()) == ["", ""]
    assert watch.gone(group(), 0, T0 + GRACE_S + 1)


def test_what_was_not_asked_about_is_not_missed(cluster: Cluster, tmp_path: Path) -> None:
    """More groups than one call may name: each has its turn, and none is gone because others were asked about."""
    at = site(batch=1)
    watch = another(cluster, tmp_path, at)
    both = [group(1, elements=1), group(2, elements=1)]
    cluster.says("squeue", queued(101, "0", "RUNNING", both[0].id), queued(102, "0", "RUNNING", both[1].id))
    for turn in range(4):
        watch.look(both, T0 + turn * GRACE_S)
        assert not any(watch.gone(one, 0, T0 + turn * GRACE_S) for one in both)
    assert {argv[-1] for argv in cluster.asked if argv[0] == "squeue"} == {"--jobs=101", "--jobs=102"}


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("squeue", Done(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")),
        ("squeue", Done(0, "\x00garbage\nof {some} kind\n", "")),
        ("squeue", Done(127, "", "squeue: not found")),
        ("squeue", TimeoutError()),
        ("squeue", FileNotFoundError()),
        ("squeue", PermissionError(13, "Permission denied")),
        ("sacct", Done(1, "", "sacct: error: Problem talking to the database: Connection refused")),
        ("sacct", TimeoutError()),
        ("sacct", FileNotFoundError()),
    ],
)
def test_no_answer_ends_nothing(cluster: Cluster, watch: QueueMonitor, command: str, answer: Done | Exception) -> None:
    """However long it lasts; it is said, asked again later and later, and over with the first good answer."""
    cluster.says("squeue", queued(101, "0", "RUNNING", group().id))
    cluster.answers[command] = answer
    now = T0
    for _ in range(30):
        watch.look([group()], now)
        assert not watch.gone(group(), 1, now)
        now += 1_000
    assert "here" in watch.trouble
    asked = len(cluster.asked)
    watch.look([group()], now - 1_000 + POLL_S)
    assert len(cluster.asked) == asked
    cluster.says("squeue", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], now)
    assert (watch.trouble, states(watch, group())) == ("", ["RUNNING", "RUNNING"])


def test_garbage_beside_an_answer_hides_no_answer(cluster: Cluster, watch: QueueMonitor) -> None:
    """A banner that a site prints before every answer is passed over."""
    cluster.says("squeue", "Welcome to the cluster!", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], T0)
    assert (watch.trouble, states(watch, group())) == ("", ["RUNNING", "RUNNING"])


@pytest.mark.parametrize(("accounting", "calls"), [("squeue", ["squeue"]), ("auto", ["squeue", "sacct"])])
def test_without_accounting_the_queue_alone_counts(cluster: Cluster, tmp_path: Path, accounting: str, calls: list[str]) -> None:
    """Switched off here it is not asked; switched off there that is no trouble."""
    cluster.says("sacct", code=1, err="Slurm accounting storage is disabled")
    watch = another(cluster, tmp_path, site(accounting))
    watch.look([group()], T0)
    watch.look([group()], T0 + GRACE_S + 1)
    assert cluster.names() == calls * 2
    assert watch.trouble == ""
    assert watch.gone(group(), 0, T0 + GRACE_S + 1)


def test_a_clock_that_was_set_back_stops_nothing(cluster: Cluster, watch: QueueMonitor) -> None:
    """Slurm is asked at once; nothing is gone for it."""
    watch.look([group()], T0)
    watch.look([group()], T0 - 86_400)
    assert cluster.names() == ["squeue", "sacct"] * 2
    assert not watch.gone(group(), 0, T0 - 86_400)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"at": 1}', b'{"at": "x", "failures": 0, "trouble": "", "seen": {}, "silent": {}}',
        b'{"at": 1, "failures": 0, "trouble": "", "seen": {"a": {"0": []}}, "silent": {}}',
        b'{"at": 1, "failures": 0, "trouble": "", "seen": [], "silent": {}}',
        b'{"at": 1, "failures": 0, "trouble": "", "seen": {}, "silent": {"a": [1]}}', b"\xff\x00",
    ],
)  # fmt: skip
def test_a_broken_memory_is_no_memory(cluster: Cluster, watch: QueueMonitor, tmp_path: Path, content: bytes) -> None:
    """Slurm is asked again, and the file is good afterwards."""
    (tmp_path / "queue.json").write_bytes(content)
    cluster.says("squeue", queued(101, "0-1", "RUNNING", group().id))
    watch.look([group()], T0)
    assert states(watch, group()) == ["RUNNING", "RUNNING"]
    assert json.loads((tmp_path / "queue.json").read_bytes())["at"] == T0


def test_what_is_forgotten_is_not_kept(cluster: Cluster, watch: QueueMonitor, tmp_path: Path) -> None:
    """The memory is as large as what is open."""
    cluster.says("squeue", queued(101, "0", "RUNNING", group().id))
    watch.look([group()], T0)
    watch.look([], T0 + POLL_S)
    document = json.loads((tmp_path / "queue.json").read_bytes())
    assert (document["seen"], document["silent"]) == ({}, {})


@pytest.mark.parametrize("answer", ["", "\n", "Submitted batch job 7", "banner\n7", "7x", "-7", "\u0667"])
def test_an_answer_without_an_id_may_have_been_a_submission(cluster: Cluster, answer: str) -> None:
    """It is neither believed nor forgotten: the job is looked for by its name."""
    cluster.says("sbatch", answer)
    with pytest.raises(TimedOutError, match="without a job id"):
        Slurm(site(), cluster).submit("#!/bin/sh\n")


def test_an_id_with_its_cluster_is_an_id(cluster: Cluster) -> None:
    """As `--parsable` prints it with several clusters."""
    cluster.says("sbatch", "17;alpha")
    assert Slurm(site(), cluster).submit("#!/bin/sh\n") == "17"


def test_what_vanished_from_an_array_is_gone_sooner(cluster: Cluster, watch: QueueMonitor) -> None:
    """Slurm forgets an element that it cancels while it is pending, and goes on telling of the others."""
    cluster.says("squeue", queued(101, "0-1", "PENDING", group().id))
    watch.look([group()], T0)
    cluster.says("squeue", queued(101, "0", "PENDING", group().id))
    for passed in (1.0, GRACE_BESIDE_S):
        watch.look([group()], T0 + POLL_S + passed)
        assert not watch.gone(group(), 1, T0 + POLL_S + passed)
    watch.look([group()], T0 + 2 * POLL_S + GRACE_BESIDE_S + 1)
    assert watch.gone(group(), 1, T0 + 2 * POLL_S + GRACE_BESIDE_S + 1)
    assert not watch.gone(group(), 0, T0 + 2 * POLL_S + GRACE_BESIDE_S + 1)


def test_an_unknown_state_is_told_of_once(cluster: Cluster, tmp_path: Path) -> None:
    """By all processes together; the job is taken as running."""
    heard: list[str] = []
    at, one = site(), group()
    cluster.says("squeue", *(queued(101, index, "HIBERNATED", one.id) for index in "01"))
    for look in range(3):
        watch = QueueMonitor(at, Slurm(at, cluster), tmp_path / "queue.json", tell=heard.append)
        watch.look([one], T0 + look * POLL_S)
        assert states(watch, one) == ["HIBERNATED"] * 2
        assert not watch.gone(one, 0, T0 + look * POLL_S)
    assert len(heard) == 1
    assert "Slurm says HIBERNATED of job 101" in heard[0]
