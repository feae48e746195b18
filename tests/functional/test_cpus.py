"""`cpus_per_task` limits and tells on a node of one's own: processors, and how many threads to start."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import Home
from spools import House

from nexapod_batch.files.machine_locks import locks_folder
from nexapod_batch.model.job import Array, Job, Resources

if TYPE_CHECKING:
    from collections.abc import Iterator

MINE = sorted(os.sched_getaffinity(0))
SAY = """
import json, os, sys, time
print(json.dumps([sorted(os.sched_getaffinity(0)), {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}]))
sys.stdout.flush()
open(sys.argv[1] + "/" + sys.argv[2], "w").close()
while len(os.listdir(sys.argv[1])) < int(sys.argv[3]): time.sleep(0.01)
"""
pytestmark = pytest.mark.skipif(len(MINE) < 2, reason="one processor cannot be divided")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node that offers two processors."""
    made = House(tmp_path, cpus=2)
    yield made
    made.end()


def told(house: House, tmp_path: Path, tasks: int, together: int, **more: object) -> list[tuple[list[int], dict[str, str]]]:
    """Run so many tasks, so many at once at least; return the processors and variables that each one saw."""
    there = Path(tempfile.mkdtemp(dir=tmp_path))
    command = (sys.executable, "-c", SAY, str(there), "{task}", str(together))
    job = Job(name="t", command=command, array=Array(ranges=((0, tasks - 1, 1),)), **more)  # type: ignore[arg-type]
    found = []
    for report in house.run(job, tasks):
        assert report.carried is not None
        cpus, variables = json.loads(report.carried["stdout"])
        found.append((cpus, variables))
    return found


def test_replicas_side_by_side_have_no_processor_in_common(house: House, tmp_path: Path) -> None:
    """Each has one, of those that the worker may use, and what reads the descriptor's word is told one thread."""
    seen = told(house, tmp_path, 2, 2, resources=Resources(cpus_per_task=1))
    assert sorted(cpu for cpus, _ in seen for cpu in cpus) == sorted({cpu for cpus, _ in seen for cpu in cpus})
    assert [len(cpus) for cpus, _ in seen] == [1, 1]
    assert {cpu for cpus, _ in seen for cpu in cpus} <= set(MINE)
    assert {value for _, variables in seen for value in variables.values()} == {"1"}


def test_one_after_the_other_has_as_many_as_it_asked_for(house: House, tmp_path: Path) -> None:
    """Processors come back; two are two, and two threads."""
    seen = told(house, tmp_path, 4, 1, resources=Resources(cpus_per_task=2))
    assert [len(cpus) for cpus, _ in seen] == [2] * 4
    names = {"OMP", "OPENBLAS", "GOTO", "MKL", "BLIS", "NUMEXPR", "JULIA"}
    assert [variables for _, variables in seen] == [{f"{name}_NUM_THREADS": "2" for name in names}] * 4


def test_the_descriptors_own_word_counts_more(house: House, tmp_path: Path) -> None:
    """Who sets a number of threads gets it, and the others as they are."""
    (one,) = told(house, tmp_path, 1, 1, resources=Resources(cpus_per_task=2), env=(("OMP_NUM_THREADS", "7"),))
    assert (one[1]["OMP_NUM_THREADS"], one[1]["MKL_NUM_THREADS"]) == ("7", "2")


def test_without_a_word_no_number_of_threads_is_told(house: House, tmp_path: Path) -> None:
    """The one processor that is given limits all the same."""
    (one,) = told(house, tmp_path, 1, 1)
    assert (len(one[0]), one[1]) == (1, {})


def test_a_processor_of_another_node_is_taken_last(house: House, tmp_path: Path) -> None:
    """Two nodes of one machine do not crowd on its first processor while the next one idles."""
    with open(f"{locks_folder()}/cpu.{MINE[0]}", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        given = (told_when_free(house, tmp_path, MINE[1]) for _ in range(10))  # somebody may be faster
        assert any(MINE[0] not in cpus for cpus in given)


def told_when_free(house: House, tmp_path: Path, cpu: int) -> list[int]:
    """Run a task when no node beside these tests holds a processor; return those that it was given."""
    with open(f"{locks_folder()}/cpu.{cpu}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    return told(house, tmp_path, 1, 1)[0][0]


def test_a_node_that_promises_too_much_binds_nothing(tmp_path: Path) -> None:
    """Forty replicas on two processors: the kernel shares them out."""
    house = House(tmp_path, cpus=40)
    seen = told(house, tmp_path, 3, 3)
    assert [cpus for cpus, _ in seen] == [MINE] * 3


def test_nodes_of_one_machine_that_promise_more_than_it_has_are_told(tmp_path: Path) -> None:
    """At the second `node init`, and by `doctor`; one node, or two halves, are nothing to speak of."""
    home = Home(tmp_path)
    try:
        first = home.call("node", "init", "a", "--cpus", "1", "--mem", "300MiB")
        half = home.call("node", "init", "b", "--cpus", "1", "--mem", "300MiB")
        whole = home.call("node", "init", "c", "--cpus", str(len(MINE)))
        words = "together promise"
        assert [words in one.err for one in (first, half, whole)] == [False, len(MINE) < 2, True]
        assert [row for row in home.json("doctor")["checks"] if words in row["text"]] != []
    finally:
        home.end()
