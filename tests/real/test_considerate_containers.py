"""Containers on somebody's own machine: they stand back, are suspended as a whole, and go on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from apptainer.trees import build_sif, make_tree
from homes import Home
from spools import until

from nexapod_batch.runner.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

JOB = """[job]
script = '''#!/bin/sh
sh -c 'while [ ! -e stop ]; do :; done' & while [ ! -e stop ]; do :; done; wait; cat /etc/word
'''
[container]
image = "{}"
[quorum]
agree = 1
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Give a home; what runs in it is ended afterwards."""
    made = Home(tmp_path)
    yield made
    made.end()


def notice(home: Home) -> dict[str, list[int]]:
    """Return the replica that runs, with its processes, as soon as the shells in the container are among these."""

    def seen() -> dict[str, list[int]] | None:
        rows = home.json("node", "status", "mine")["node"]["replicas"]
        return rows[0] if rows and len(commands(rows[0]["pids"])) >= 2 else None

    found: dict[str, list[int]] = until(seen, "the container")
    return found


def commands(pids: list[int]) -> list[int]:
    """Return the processes that run, which are the shells."""
    return [pid for pid in pids if descendants.state(pid) == "R"]


def io_class(pid: int) -> str:
    """Return the I/O class of a process."""
    return subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip()


def test_a_container_stands_back_and_is_suspended_as_a_whole(home: Home, tmp_path: Path) -> None:
    """Nice and idle like any command; with a snooze every process of it stops, and afterwards it ends well."""
    sif = build_sif(make_tree(tmp_path / "tree"), tmp_path / "box.sif")
    home.call("node", "init", "mine", "--cpus", 2)
    home.call("node", "set", "mine", "nice=7")
    done = home.submit(JOB.format(sif))
    assert done.code == 0, done.err
    pids = notice(home)["pids"]
    shells = commands(pids)
    nices = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16]) for pid in shells}
    wanted = max(7, os.getpriority(os.PRIO_PROCESS, 0))  # nobody comes forward before who started the worker
    assert (nices, {io_class(pid) for pid in shells}) == ({wanted}, {"idle"})
    home.call("node", "snooze", "mine", "1h")
    until(lambda: {descendants.state(pid) for pid in pids} <= {"T", "Z", ""}, "all of it to stop")
    home.call("node", "snooze", "mine", "off")
    until(lambda: len(commands(pids)) >= 1, "it to go on")
    (work,) = (home.path / "work/mine").glob("*_0.1")
    (work / "stop").touch()
    assert home.call("wait", "last", "--timeout", "90s").code == 0
    assert home.call("logs", "last").out == "hello\n"
