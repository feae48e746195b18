"""How many workers a cluster of ours has, and what becomes of those that never come."""

from __future__ import annotations

import itertools

import pytest
from nexapod_backends.dask.demand import workers_wanted
from nexapod_backends.dask.launch_records import Record
from nexapod_backends.dask.managed.crew import ENDED, GIVE_UP, ROUND_S, SURPLUS_S, Crew, State

FAILED = State(kind=ENDED, words="Slurm job 7 is FAILED (NonZeroExitCode); it said: no such module")
PENDING = State(kind="waiting", words="PENDING (Priority)")


def started(crew: Crew, now: float, wanted: int) -> list[str]:
    """Start what is missing; return the names."""
    names = [crew.next_name() for _ in range(crew.missing(now, wanted))]
    for name in names:
        crew.add(now, name, name[8:])
    return names


def test_what_waits_in_a_queue_is_kept_and_not_started_again() -> None:
    """However long it takes, there is one round; more work later is another one, some seconds apart."""
    crew = Crew()
    assert started(crew, 0, 2) == ["nexapod-1", "nexapod-2"]
    for now in range(1, 100_000, 997):
        assert crew.see(now, [], dict.fromkeys(crew.workers, PENDING)) == []
        assert crew.missing(now, 2) == 0
    assert crew.coming
    later = 100_000.0
    assert started(crew, later, 3) == ["nexapod-3"]
    assert crew.missing(later + ROUND_S / 2, 5) == 0
    assert crew.missing(later + ROUND_S, 5) == 2


@pytest.mark.parametrize(
    ("met", "wanted", "gone"),
    [
        ([], 0, ["nexapod-4", "nexapod-3", "nexapod-2", "nexapod-1"]),
        ([], 1, ["nexapod-4", "nexapod-3", "nexapod-2"]),
        (["nexapod-1"], 1, ["nexapod-4", "nexapod-3", "nexapod-2"]),
        (["nexapod-4", "nexapod-2"], 0, ["nexapod-3", "nexapod-1"]),  # what has come goes when the cluster is idle
        (["nexapod-4", "nexapod-2"], 3, ["nexapod-3"]),
        ([], 4, []), ([], 9, []),
        (["nexapod-1", "nexapod-2", "nexapod-3", "nexapod-4"], 0, []),
    ],
)  # fmt: skip
def test_those_on_their_way_that_nobody_needs_any_more_are_called_off(met: list[str], wanted: int, gone: list[str]) -> None:
    """Not at once, since more work may come; the last that were asked for go first, and no failure is counted."""
    crew = Crew()
    started(crew, 0, 4)
    crew.see(1, met, {})
    assert crew.surplus(10, wanted) == []
    assert crew.surplus(10 + SURPLUS_S - 1, wanted) == []
    assert [one.name for one in crew.surplus(10 + SURPLUS_S, wanted)] == gone
    assert set(crew.workers) == {f"nexapod-{number}" for number in range(1, 5)} - set(gone)
    assert crew.failures == 0


def test_work_that_comes_meanwhile_keeps_them() -> None:
    """The time begins anew."""
    crew = Crew()
    started(crew, 0, 2)
    assert crew.surplus(10, 0) == []
    assert crew.surplus(20, 2) == []
    assert crew.surplus(10 + SURPLUS_S, 0) == []
    assert len(crew.surplus(10 + 2 * SURPLUS_S, 0)) == 2


def test_one_that_ends_before_it_comes_is_told_and_replaced_with_longer_pauses() -> None:
    """One at a time while it fails; after a few nothing is started for long, then one again."""
    crew, now, rounds = Crew(), 0.0, []
    started(crew, now, 4)
    while not crew.given_up:
        now += 1
        assert now < 10_000
        crew.see(now, [], dict.fromkeys(crew.workers, FAILED))
        assert crew.trouble == FAILED.words
        if names := started(crew, now, 4):
            rounds.append(now)
            assert len(names) == 1
    assert crew.failures >= GIVE_UP
    assert crew.missing(now + 900, 4) == 0
    assert crew.missing(now + 1_801, 4) == 1


def test_pauses_grow() -> None:
    """The time between two attempts doubles."""
    crew, now, at = Crew(), 0.0, []
    while not crew.given_up:
        now += 1
        if started(crew, now, 1):
            at.append(now)
        crew.see(now + 0.5, [], dict.fromkeys(crew.workers, FAILED))
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


def test_success_forgets_failures() -> None:
    """A worker that came shows that they can."""
    crew = Crew()
    started(crew, 0, 1)
    crew.see(1, [], {"nexapod-1": FAILED})
    started(crew, 20, 1)
    crew.see(21, ["nexapod-2"], {})
    assert (crew.failures, crew.trouble, crew.coming) == (0, "", False)
    assert crew.missing(30, 3) == 2


def test_one_that_ends_after_it_came_is_replaced_without_blame_and_its_end_is_known() -> None:
    """Its wall time was over, say: another one is started, and whose work was lost hears why."""
    crew = Crew()
    started(crew, 0, 1)
    crew.see(1, ["nexapod-1"], {})
    over = State(kind=ENDED, words="Slurm job 1 is TIMEOUT (TimeLimit)")
    assert crew.see(60, [], {"nexapod-1": over}) == []
    assert crew.left == {"nexapod-1": "Slurm job 1 is TIMEOUT (TimeLimit)"}
    assert (crew.failures, crew.missing(60, 1)) == (0, 1)


def test_silence_of_slurm_changes_nothing() -> None:
    """No answer, or an unknown state, is neither an end nor a failure."""
    crew = Crew()
    started(crew, 0, 2)
    for now in range(1, 50):
        crew.see(now, [], {} if now % 2 else dict.fromkeys(crew.workers, State(kind="unknown")))
    assert (len(crew.workers), crew.failures) == (2, 0)


def record(key: str, tasks: list[int], *, cpus: int = 1, worker: str = "", apart: bool = True) -> Record:
    """Return a launch with a replica of each task."""
    return Record(
        key=key, job="j", tasks=tasks, replicas=[f"r{key}{task}" for task in tasks], cpus=cpus, mem_mib=0, gpus=0, priority=0,
        partition="p", host_set=None, apart=apart, inputs=[], envelope="", worker=worker,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("records", "threads", "used", "wanted"),
    [
        ([], 1, set(), 0),
        ([record("a", [0])], 4, set(), 1),
        ([record("a", [0]), record("b", [0])], 4, set(), 2),  # two replicas of one task
        ([record("a", [0], apart=False), record("b", [0], apart=False)], 4, set(), 1),
        ([record(str(n), [n]) for n in range(8)], 4, set(), 2),  # side by side
        ([record("a", list(range(8)))], 4, set(), 2),
        ([record("a", [0], cpus=4), record("b", [1], cpus=4)], 4, set(), 2),
        ([record("a", [0])], 4, {"w1"}, 2),  # its first worker had one: another is needed
        ([record("a", [0])], 4, {"gone"}, 1),
        ([record("a", [0], worker="w1"), record("b", [0])], 4, {"w1"}, 2),
        ([record("a", [0], worker="w1"), record("b", [0], worker="w2")], 4, {"w1", "w2"}, 1),  # bound: they have theirs
    ],
)
def test_no_more_workers_than_there_is_work(records: list[Record], threads: int, used: set[str], wanted: int) -> None:
    """As many as run everything side by side, and as replicas of one task need."""
    assert workers_wanted(records, threads, lambda _: used, {"w1", "w2"}) == wanted
