"""Work that waits on a machine whose owner wants quiet goes to another one; nothing runs twice, nobody is blamed."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from homes import Home
from spools import alive, until

from nexapod_batch.runner.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Eight tasks, a launch each, that leave a line each time they run and end when a file says stop.
JOB = """[job]
name = "long"
script = '''#!/bin/sh
echo $NEXAPOD_TASK >> {runs}; while [ ! -e {stop} ]; do sleep 0.02; done
'''
[array]
ids = "0-7"
[quorum]
agree = 1
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Give a home with a node of one CPU; what runs in it is ended afterwards."""
    made = Home(tmp_path)
    made.call("node", "init", "mine", "--cpus", 1)
    yield made
    made.end()


def begun(home: Home, tmp_path: Path) -> Path:
    """Submit the job and wait until its first task runs; return the file of runs."""
    runs = tmp_path / "runs"
    home.submit(JOB.format(runs=runs, stop=tmp_path / "stop"))
    until(lambda: runs.exists() and runs.read_text(), "the first task")
    return runs


def unclaimed(home: Home) -> set[str]:
    """Return the launches that wait for the worker of the first node."""
    spool = home.spool("mine")
    return {one.stem for one in (spool / "inbox").iterdir()} - {one.name for one in (spool / "claims").iterdir()}


def replicas(home: Home) -> list[tuple[str, str, str]]:
    """Return node, execution and validation of every replica."""
    tasks = home.json("show", "last")["tasks"]
    return [(one["node"], one["execution"], one["validation"]) for task in tasks for one in task["replicas"]]


def test_what_nobody_began_goes_to_another_node(home: Home, tmp_path: Path) -> None:
    """Launches that wait behind a snooze are placed elsewhere as soon as somebody can take them, and run once."""
    runs = begun(home, tmp_path)
    told = home.json("node", "snooze", "mine", "2h")["paused"]
    waiting = until(lambda: unclaimed(home), "launches that wait")
    home.call("reconcile")
    assert [one for one in replicas(home) if one[1] == "lost"] == [], "nobody else can take them"
    home.call("node", "init", "other", "--cpus", 1)
    assert home.json("reconcile")["moved"] == len(waiting)
    found = replicas(home)
    assert found.count(("mine", "lost", "unneeded")) == len(waiting)
    assert len([one for one in found if one[0] == "other"]) == len(waiting)
    assert f"taken back before it began: mine {told}" in home.call("show", "last").out
    (tmp_path / "stop").touch()
    home.call("node", "snooze", "mine", "off")
    assert home.call("wait", "all", "--timeout", "90s").code == 0
    assert sorted(runs.read_text().split()) == [str(task) for task in range(8)]
    assert {one["blame"] for one in home.json("node", "ls")["nodes"]} == {0}


def test_nodes_that_may_not_start_it_either_are_no_help(home: Home, tmp_path: Path) -> None:
    """Nobody moves work to a node that is drained, or whose owner does not let it work at this hour."""
    begun(home, tmp_path)
    home.call("node", "snooze", "mine", "2h")
    until(lambda: unclaimed(home), "launches that wait")
    home.call("node", "init", "other", "--cpus", 1)
    home.call("node", "drain", "other")
    home.call("node", "init", "third", "--cpus", 1)
    home.call("node", "set", "third", f"hours={later()}")
    assert home.json("reconcile")["moved"] == 0
    home.call("node", "resume", "other")
    assert home.json("reconcile")["moved"] > 0


def later() -> str:
    """Return hours that are not now."""
    hour = (time.localtime().tm_hour + 2) % 24
    return f"{hour}:00-{hour}:59"


def test_what_is_given_up_is_replaced_and_nobody_is_blamed(home: Home, tmp_path: Path) -> None:
    """A running replica that needs more than its owner gives now is lost, by a signed word, and runs elsewhere."""
    home.call("node", "init", "large", "--cpus", 2)
    runs, stop = tmp_path / "runs", tmp_path / "stop"
    text = JOB.format(runs=runs, stop=stop).replace('[array]\nids = "0-7"', "[resources]\ncpus_per_task = 2")
    home.submit(text)
    until(lambda: runs.exists() and runs.read_text(), "the first run")
    home.call("node", "init", "other", "--cpus", 2)
    home.call("node", "set", "large", "max_cpus=1", "grace=0s")
    until(lambda: home.call("reconcile") and runs.read_text().count("\n") == 2, "the second run")
    stop.touch()
    assert home.call("wait", "last", "--timeout", "90s").code == 0
    assert replicas(home) == [("large", "lost", "unneeded"), ("other", "reported", "valid")]
    assert "given up: its owner gives 1 CPU, this needs 2" in home.call("show", "last").out
    assert {one["blame"] for one in home.json("node", "ls")["nodes"]} == {0}


@pytest.mark.parametrize("rounds", [2])
def test_kill_9_while_suspended_loses_nothing_and_repeats_nothing(home: Home, tmp_path: Path, rounds: int) -> None:
    """The next pass ends what stayed stopped, also during the snooze; the replica is lost, and another one takes its place."""
    runs, stop = tmp_path / "runs", tmp_path / "stop"
    text = JOB.format(runs=runs, stop=stop).replace('[array]\nids = "0-7"', "").replace("$NEXAPOD_TASK", "$$")
    home.submit(text.replace("sleep 0.02", ":"))  # without a child that may be stopped before the shell goes on
    for number in range(1, rounds + 1):
        until(lambda: home.call("reconcile") and runs.exists() and runs.read_text().count("\n") == number, "a run")  # noqa: B023
        pid = int(runs.read_text().split()[-1])
        home.call("node", "snooze", "mine", "2h")
        until(lambda: descendants.state(pid) == "T", "the command to be stopped")  # noqa: B023
        board = home.spool("mine") / "running.json"
        until(lambda: json.loads(board.read_text())["replicas"], "the notice of it")  # noqa: B023
        notice = json.loads(board.read_text())
        os.kill(notice["pid"], signal.SIGSTOP)  # so that it cannot clean up in between
        for one in (notice["replicas"][0]["pid"], notice["pid"]):
            os.kill(one, signal.SIGKILL)
        home.call("reconcile")
        until(lambda: not alive(pid), "what was stopped to end")  # noqa: B023
        home.call("node", "snooze", "mine", "off")
    until(lambda: home.call("reconcile") and runs.read_text().count("\n") == rounds + 1, "the last run")
    stop.touch()
    assert home.call("wait", "last", "--timeout", "90s").code == 0
    assert [one[1] for one in replicas(home)] == ["lost"] * rounds + ["reported"]
    assert len(runs.read_text().split()) == rounds + 1
    assert len(home.lines("mine")) <= 1
