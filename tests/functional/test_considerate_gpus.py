"""GPUs that their owner uses too: left when a game starts, snoozed one by one, and what they are used for is told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from homes import Home
from nvml import FIRST, SECOND, Driver
from spools import until

from nexapod_batch.hardware.usage import Process, Usage
from nexapod_batch.runner.gpu.foreign_use import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Leaves the GPU that it has and its own process id, and ends when a file says stop.
JOB = """[job]
name = "g"
script = '''#!/bin/sh
echo $CUDA_VISIBLE_DEVICES $$ >> {runs}; while [ ! -e {stop} ]; do sleep 0.02; done; echo 42
'''
[resources]
gpus = {gpus}
[quorum]
agree = 1
"""


@pytest.fixture
def home(tmp_path: Path, driver: Driver) -> Iterator[Home]:
    """Give a home with a node that offers both; what runs in it is ended afterwards."""
    made = Home(tmp_path)
    made.env |= driver.env
    made.call("node", "init", "mine", "--tier", "consumer-gpu")
    made.call("node", "set", "mine", "grace=0s", "nice=0")
    yield made
    (tmp_path / "stop").touch()
    made.end()


def started(home: Home, tmp_path: Path, count: int, gpus: int = 1) -> list[list[str]]:
    """Submit the job, unless it is there, and wait for so many starts; return GPU and process of each."""
    runs = tmp_path / "runs"
    if not home.jobs():
        home.submit(JOB.format(runs=runs, stop=tmp_path / "stop", gpus=gpus))

    def seen() -> list[list[str]]:
        home.call("reconcile")
        found = [line.split() for line in runs.read_text().splitlines()] if runs.exists() else []
        return found if len(found) >= count else []

    return list(until(seen, f"{count} starts"))


def test_a_game_drives_a_replica_to_the_other_gpu(home: Home, driver: Driver, tmp_path: Path) -> None:
    """What its owner's program uses above the threshold is left after the grace, without blame; no new one starts there."""
    ((gpu, pid),) = started(home, tmp_path, 1)
    assert gpu == FIRST
    driver.add(f"process {FIRST} {pid} 700 c 95", f"process {FIRST} {os.getpid()} 100 g 15")  # ours, and a desktop
    one = until(lambda: (found := home.json("node", "status", "mine")["node"])["replicas"] and found, "the notice")
    (replica,) = one["replicas"]
    assert (replica["devices"], replica["gpu_mem_mib"], replica["gpu_busy"]) == ([FIRST], 700, 95)
    driver.drop(f"process {FIRST} {os.getpid()}")
    driver.add(f"process {FIRST} {os.getpid()} 4000 g 80")  # a game
    _, (other, _) = started(home, tmp_path, 2)
    assert other == SECOND
    driver.drop(f"process {FIRST} {pid}")  # it has ended
    closed = "closed:  its owner uses GPU 0 (80 %, more than 20 %)"
    until(lambda: closed in home.call("node", "status").out, "the game to be told")
    until(lambda: "GPU 1" in home.call("node", "status").out, "the other GPU to be told")
    (tmp_path / "stop").touch()
    assert home.call("wait", "last", "--timeout", "90s").code == 0
    told = home.call("show", "last").out
    assert "given up: its owner uses GPU 0 (80 %, more than 20 %)" in told
    assert {node["blame"] for node in home.json("node", "ls")["nodes"]} == {0}


def test_nothing_starts_where_a_game_is(home: Home, driver: Driver, tmp_path: Path) -> None:
    """The first replica goes to the other GPU at once: who uses them is known before it starts."""
    driver.add(f"process {FIRST} {os.getpid()} 4000 g 80")
    ((gpu, _),) = started(home, tmp_path, 1)
    assert gpu == SECOND
    (tmp_path / "stop").touch()
    assert home.call("wait", "last", "--timeout", "90s").code == 0
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


def test_one_gpu_is_snoozed(home: Home, tmp_path: Path) -> None:
    """The other one is used meanwhile; who wants both waits, with the reason; its end lets them start."""
    told = home.json("node", "snooze", "mine", "2h", "--gpu", "0")
    assert (told["gpu"], told["paused"][:40]) == (FIRST, "GPU 0 is snoozed by its owner until "[:40] + told["paused"][36:40])
    ((gpu, _),) = started(home, tmp_path, 1)
    assert gpu == SECOND
    home.submit(JOB.format(runs=tmp_path / "both", stop=tmp_path / "stop", gpus=2))
    said = home.call("explain", "last").out
    assert "not on mine: is not to use all of its GPUs: " in said
    assert "is snoozed by its owner until" in said
    assert home.call("node", "snooze", "mine", "off", "--gpu", FIRST).out == "node mine: the GPU may be used\n"
    (tmp_path / "stop").touch()
    assert home.call("wait", "all", "--timeout", "90s").code == 0
    assert set((tmp_path / "both").read_text().split()[0].split(",")) == {FIRST, SECOND}


@pytest.mark.parametrize("gpu", ["7", "", "GPU-0", "all"])
def test_a_gpu_that_is_not_there_cannot_be_snoozed(home: Home, gpu: str) -> None:
    """What there is, is named."""
    done = home.call("node", "snooze", "mine", "2h", "--gpu", gpu)
    assert done.code == 2
    assert "node mine offers no such GPU" in done.err
    assert "one of: 0 (NVIDIA GeForce RTX 4090), 1 (NVIDIA GeForce RTX 4090)" in done.err


def use(*processes: tuple[int, float | None], busy: float | None = None) -> Usage:
    """Return the usage of a GPU by processes (id, percent)."""
    listed = tuple(Process(pid=pid, memory_mib=1, busy=part) for pid, part in processes)
    return Usage(uuid="g", busy=busy, memory_used_mib=1, memory_mib=2, processes=listed)


@pytest.mark.parametrize(
    ("usage", "percent"),
    [
        (use(), 0.0),
        (use(busy=90.0), 0.0),  # who just ended, or nobody that a driver names
        (use((1, 80.0), busy=80.0), 0.0),
        (use((1, 80.0), (2, 15.0), (3, None), busy=99.0), 15.0),
        (use((2, 70.0), (3, 60.0)), 100.0),
        (use((2, None), busy=55.0), 55.0),
        (use((1, None), (2, None), busy=55.0), 0.0),  # nobody tells whose it is
        (use((2, None)), 0.0),
    ],
)
def test_what_others_use_is_what_the_driver_says_of_them(usage: Usage, percent: float) -> None:
    """Process 1 is ours."""
    assert foreign(usage, lambda pid: pid == 1) == percent
