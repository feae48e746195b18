"""Which worker a launch goes to: one that is there long enough, is not full of others' tasks, and is another machine."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from nexapod_backends.dask.launch_records import Record
from nexapod_backends.dask.placement import Rules, Worker, choose, free, tasks_of_others
from nexapod_backends.dask.scheduler.agent_protocol import ended_by

NOW = 1_800_000_000.0


def record(**changes: Any) -> Record:
    """Return a launch of one replica that may take ten minutes."""
    values: dict[str, Any] = {
        "key": "k", "job": "j", "tasks": [0], "replicas": ["1_0.1"], "cpus": 1, "mem_mib": 0, "gpus": 0, "time_s": 600,
        "priority": 0, "partition": "all", "host_set": None, "apart": True, "inputs": [], "envelope": "", **changes,
    }  # fmt: skip
    return Record(**values)


def worker(name: str, **changes: Any) -> Worker:
    """Return a worker with two threads."""
    values: dict[str, Any] = {
        "address": f"tcp://10.0.0.{name}:1", "name": name, "host": f"10.0.0.{name}", "threads": 2, "mem_mib": None,
        "resources": {}, "status": "running", "id": name, **changes,
    }  # fmt: skip
    return Worker(**values)


def chosen(one: Record, workers: list[Worker], **rules: Any) -> str:
    """Return the name of the worker, or the words."""
    found = choose(one, workers, Rules(now=NOW, **rules))
    return found if isinstance(found, str) else found.name


@pytest.mark.parametrize(
    ("left_s", "launch", "busy_s", "fits"),
    [
        (None, record(), 0, True),
        (616, record(), 0, True),
        (600, record(), 0, False),
        (1_000, record(replicas=["a", "b", "c", "d"]), 0, False),  # two at once: twice as long
        (1_300, record(replicas=["a", "b", "c", "d"]), 0, True),
        (700, record(), 400, False),  # behind others of ours
        (900, record(), 400, True),
        (90, record(time_s=0), 0, True),
        (60, record(time_s=0), 0, False),
        (-5, record(time_s=0), 0, False),
    ],
)
def test_only_a_worker_that_is_there_long_enough(left_s: float | None, launch: Record, busy_s: float, fits: bool) -> None:
    """Its end is known, and everything that it has to do first is counted as long as it may take."""
    one = worker("1", ends=None if left_s is None else NOW + left_s)
    found = chosen(launch, [one], busy_s={"1": busy_s})
    assert (found == "1") is fits
    if not fits:
        assert found.startswith("no worker is there long enough: 1 ends in ")


def test_the_one_that_stays_is_taken_though_it_has_more_to_do() -> None:
    """Time comes before load."""
    assert chosen(record(), [worker("1", ends=NOW + 60), worker("2")], load={"2": 3}) == "2"


def test_free_workers_come_before_those_full_of_others() -> None:
    """Whose tasks they are does not matter: a launch goes where it begins at once."""
    busy = {"tcp://10.0.0.1:1": ["sleep-1", "sleep-2"]}
    assert chosen(record(), [worker("1"), worker("2")], others=busy) == "2"
    assert chosen(record(), [worker("1"), worker("2")], others=busy, load={"2": 1}) == "2"
    assert chosen(record(), [worker("1")], others=busy) == "1"  # better than nowhere
    rules = Rules(now=NOW, others=busy)
    assert [free(one, record(), rules) for one in (worker("1"), worker("2"))] == [False, True]


def test_one_machine_with_two_addresses_is_one_host() -> None:
    """Hosts are told apart by their machine; the reason names the addresses."""
    two = [worker("1", machine="a" * 32), worker("2", machine="a" * 32)]
    other = worker("3", machine="b" * 32)
    hosts = ["a" * 32, "b" * 32]
    second = record(host_set=[1, 2])
    assert chosen(second, two, hosts=hosts) == (
        "no worker is on the hosts that are left for this replica; 10.0.0.1 and 10.0.0.2 are one machine"
    )
    assert chosen(second, [*two, other], hosts=hosts) == "3"
    assert chosen(replace(second, host_set=[0, 2]), [*two, other], hosts=hosts) in {"1", "2"}


RETIRED = (1.0, {"action": "retired", "stimulus_id": "x"})
CLOSING = (2.0, {"action": "closing-worker", "reason": "worker-lifetime-reached"})
KILLED = (3.0, {"worker": "tcp://10.0.0.1:1", "pid": 1, "rss": 1})


@pytest.mark.parametrize(
    ("events", "killed", "words"),
    [
        ([RETIRED], [], "it was retired"),
        ([CLOSING, RETIRED], [], "its lifetime was over"),  # which retires itself
        ([RETIRED], [KILLED], "its nanny ended it for its memory"),
        ([(1.0, {"action": "remove-worker", "expected": False})], [(3.0, {"worker": "tcp://10.0.0.2:1"})], ""),
        ([], [], ""),
        (None, "junk", ""),
        ([1, (1,), (1, 2), [1.0, ["a"]]], {"a": 1}, ""),
    ],
)
def test_who_ended_a_worker(events: object, killed: object, words: str) -> None:
    """What the scheduler noted, whatever it is."""
    assert ended_by("tcp://10.0.0.1:1", events, killed) == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sleep-1", "sleep-2", "train-3"], "3 tasks of others (2 sleep, train)"),
        (["('sum-abc', 0)"], "1 task of others (sum)"),
        (["nexapod-0123"], "1 task of others (nexapod)"),  # of another coordinator
        (["", "\x1b[31m-1"], "2 tasks of others (?, [31m)"),
    ],
)
def test_whose_tasks_they_are(names: list[str], words: str) -> None:
    """By what they are called, whatever that is."""
    assert tasks_of_others(names) == words
