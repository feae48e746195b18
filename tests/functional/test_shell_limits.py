"""What `ulimit` of a shell does to runners and commands: as many run as may, and who cannot is told which limit it is."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, ended
from homes import Home as PlainHome
from spools import House

from nexapod_batch.model.job import Job
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give a node that promises many processors."""
    made = House(tmp_path, cpus=40)
    yield made
    made.end()


def limited(limits: str) -> tuple[str, ...]:
    """Return the words that set limits before they start what follows."""
    return ("/bin/bash", "-c", f'{limits}; exec "$@"', "bash")


def sh(script: str) -> Job:
    """Return a job of a shell."""
    return Job(name="t", command=("/bin/sh", "-c", script))


def test_commands_have_the_shells_own_limit_of_open_files(house: House) -> None:
    """The runner opens more where it may, and its commands do not inherit that."""
    house.before = limited("ulimit -Sn 40")
    (report,) = house.run(sh("ulimit -Sn"))
    assert report.carried is not None
    assert report.carried["stdout"] == b"40\n"


def test_as_many_run_as_open_files_allow(house: House) -> None:
    """Those that are there do the rest of the work."""
    house.before = limited("ulimit -n 30")
    reports = house.run(sh("sleep 0.1"), 60)
    assert [report.statement.outcome for report in reports] == [Outcome.OK] * 60
    assert "replicas side by side: Too many open files" in house.log()
    assert "Traceback" not in house.log()


def test_too_few_open_files_are_told(house: House) -> None:
    """A runner that could not run a single replica takes none, and says how to go on."""
    house.before = limited("ulimit -n 12")
    house.put(house.launch(sh("true")))
    assert house.start().wait(timeout=120) == 78
    assert "a runner opens more files than this account may: got a limit of 12" in house.log()
    assert "ulimit -n 140" in house.log()


def test_a_limit_below_what_is_open_stops_nothing(tmp_path: Path) -> None:
    """A shell may have opened numbers above the limit before it was set: the worker starts all the same."""
    with ended(PlainHome(tmp_path), "n") as home:
        done = home.call("submit", home.descriptor(TRUE), "--wait", before=limited("exec 200</dev/null; ulimit -n 64"))
        assert done.code == 0, done.err


@pytest.mark.parametrize("blocks", [0, 10])
def test_a_limit_of_the_size_of_files_is_told(tmp_path: Path, blocks: int) -> None:
    """A database that cannot grow is no fault of the disk."""
    with ended(PlainHome(tmp_path), "n") as home:
        done = home.call("submit", home.descriptor(TRUE), before=limited(f"ulimit -f {blocks}"))
        assert done.code == 75
        assert f"cannot be written: got a limit of {blocks * 1024} bytes for each file\n  -> raise it (ulimit -f unlimited)" in done.err


@pytest.mark.parametrize("kib", range(14_000, 25_000, 1_000))
def test_too_little_memory_is_told(tmp_path: Path, kib: int) -> None:
    """Wherever it ends: while modules are loaded, keys are made, plug-ins are looked for, or that is to be told."""
    home = PlainHome(tmp_path)
    done = home.call("submit", home.descriptor(TRUE), before=limited(f"ulimit -d {kib}"))
    assert done.code == 75
    assert "nexapod-batch: there is no more memory\n  -> " in done.err


def crowded(house: House, processes: int) -> tuple[str, ...]:
    """Let an account of its own, with so many processes at most, have a node; return the words that start it there."""
    uid, caps = "61234", "-all,+dac_read_search,+dac_override"
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(house.home)], check=True)
    account = ("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", f"--inh-caps={caps}", f"--ambient-caps={caps}")
    return (*account, *limited(f"ulimit -u {processes}"))


def test_a_command_that_finds_no_room_is_the_nodes_fault(house: House) -> None:
    """Worker and executor are as many as this account may have: others may run it."""
    launch = house.launch(sh("true"))
    house.put(launch)
    house.before = crowded(house, 2)
    assert house.start().wait(timeout=120) == 0, house.log()
    (report,) = house.reports()
    assert report.statement.outcome == Outcome.NODE
    assert "this node has no room for one more program: got Resource temporarily unavailable" in report.statement.detail


def test_a_worker_without_room_for_an_executor_says_so(house: House) -> None:
    """In one sentence, with what helps."""
    house.put(house.launch(sh("true")))
    house.before = crowded(house, 1)
    assert house.start().wait(timeout=120) == 75
    assert "no process can be made for replicas: got Resource temporarily unavailable\n  -> end other programs" in house.log()
    assert "Traceback" not in house.log()
