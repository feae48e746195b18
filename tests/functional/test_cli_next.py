"""What happens next is said: after submit and release, when reports wait, and while a command waits."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from typing import Any

import pytest
from homes import TRUE, Home
from rich.console import Console

from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.bar import WaitingBar


def reported(home: Home) -> None:
    """Wait until both replicas of the job are reported."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (home.path / "spool").is_dir() and len(home.lines()) == 2:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was reported")


def test_submit_says_what_comes_next(home: Home) -> None:
    """Without --wait the way to the verdict is named; with it there is nothing to name."""
    done = home.submit(TRUE)
    assert "next:    nexapod-batch wait 1, or a timer: nexapod-batch reconcile --print cron" in done.out
    assert "next:" not in home.submit(TRUE, "--wait").out


@pytest.mark.parametrize("argv", [("ls",), ("show", "1"), ("explain", "1"), ("logs", "1")])
def test_reports_that_wait_are_told(home: Home, argv: tuple[str, ...]) -> None:
    """Who looks at a job whose reports nobody took in is told so, until somebody does."""
    home.submit(TRUE)
    reported(home)
    assert "wait to be taken in: nexapod-batch wait 1" in home.call(*argv).err
    assert home.call("wait", "1").code == 0
    assert "wait to be taken in" not in home.call(*argv).err


def test_release_acts(home: Home) -> None:
    """A released job is placed at once, and it is said who takes in its reports."""
    home.submit(TRUE + "[schedule]\nhold = true\n")
    assert home.jobs()[0]["state"] == "waiting"
    done = home.call("release", "1")
    assert done.code == 0
    assert "nexapod-batch wait 1" in done.err
    assert home.jobs()[0]["state"] == "active"


def test_a_wait_in_a_pipe_says_what_for(home: Home) -> None:
    """What is still to come is said once, also where no bar can be drawn; what has ended is not to come."""
    assert home.submit(TRUE, "--wait").code == 0
    (node,) = home.json("node", "ls")["nodes"]
    assert home.submit(TRUE + "[schedule]\nhold = true\n").code == 0
    assert home.call("node", "drain", node["name"]).code == 0
    with sqlite3.connect(home.path / "state.db") as db:
        db.execute("UPDATE job SET held = 0")
    db.close()
    done = home.call("wait", "1", "2", "--timeout", "4s")
    assert done.code == 4
    assert done.err.count("still to come: 1 waiting; nexapod-batch explain says why") == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_stands_under_the_bar_fits(width: int) -> None:
    """Faults and reasons stand under the bar, each in one line of the terminal, with their control characters shown."""
    bar = WaitingBar()
    lines = [f"job {number} waits: the module gcc does not load\x1b[2J on site alpha{'.' * 200}" for number in range(9)]
    bar({"tasks": 20, "accepted": 3, "active": 17}, lines)
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for part in bar.get_renderables():
        console.print(part)
    shown = out.getvalue().splitlines()
    assert max(map(len, shown)) <= width
    assert sum("waits: the module" in line for line in shown) == 6
    assert "... and 3 more" in shown[-1]
    assert "\x1b[2J" not in out.getvalue()


def test_equal_losses_share_a_line() -> None:
    """Twelve starts that failed alike, whatever their jobs are called, are one line; what differs keeps its own."""
    lost: dict[str, Any] = {
        "node": "a", "execution": "lost", "validation": "pending", "reason": "no module gcc", "exit_code": None,
        "wall_ms": None, "max_rss_kib": None, "gpus": [], "isolation": "", "voided": False,
    }  # fmt: skip
    reason = "Slurm job {}_0: no module gcc"
    replicas = [{**lost, "id": f"1_0.{number}", "reason": reason.format(30 + number)} for number in range(1, 13)]
    replicas.append({**lost, "id": "1_0.13", "node": "b"})
    lines = list(renderers.show_replicas({"container": None}, replicas))
    assert len(lines) == 2
    assert "no module gcc" in lines[0]
    assert "12 alike, up to 1_0.12" in lines[0]
    good = [{**lost, "id": f"1_0.{number}", "execution": "reported"} for number in range(1, 5)]
    assert len(list(renderers.show_replicas({"container": None}, good))) == 4


def test_json_of_a_submit_without_wait_is_unchanged(home: Home) -> None:
    """Programs get the same object as before, with the state."""
    done = home.submit(TRUE, "--json")
    assert json.loads(done.out)["state"] in {"active", "accepted"}
    assert os.linesep not in done.out.rstrip("\n")


@pytest.mark.parametrize(
    ("command", "more", "cause", "step"),
    [
        ("exit 3", "", "exit code 3", "--fresh runs the files of now"),
        ("no-such-program", "", "exit code 127", "name a program that the nodes have"),
        ("sleep 9", '[resources]\ntime = "1s"\n', "over its time limit of 1 s", "resources.time"),
        ("true", '[[outputs]]\npath = "out.txt"\n', "output 'out.txt' is not there", "correct [[outputs]]"),
    ],
)
def test_a_failure_ends_with_its_cause_and_the_next_step(home: Home, command: str, more: str, cause: str, step: str) -> None:
    """After the wait, in the explanation, and where results are asked for."""
    text = f'[job]\ncommand = ["sh", "-c", "{command}"]\n[quorum]\ndistinct = "run"\nmax_errors = 0\n{more}'
    done = home.submit(text, "--wait")
    assert done.code == 1
    assert cause in done.out
    assert "why:     nexapod-batch explain 1" in done.out
    assert step in home.call("explain", "1").out
    assert home.call("results", "1").err.endswith("  -> nexapod-batch explain 1\n")


def test_a_retry_waits_where_it_is_told_to(home: Home) -> None:
    """With the verdict and its exit code, for the files of the submit and for those of now."""
    (home.folder / "run.sh").write_text("exit 1\n")
    text = '[job]\ncommand = ["sh", "run.sh"]\n[quorum]\ndistinct = "run"\n[[inputs]]\nsource = "run.sh"\n'
    assert home.submit(text, "--wait").code == 1
    (home.folder / "run.sh").write_text("echo mended\n")
    assert home.call("retry", "1", "--wait").code == 1
    done = home.call("retry", "1", "--fresh", "--wait")
    assert done.code == 0
    assert "job 2 'job': accepted" in done.out


def test_a_script_with_the_line_ends_of_windows_is_refused(home: Home) -> None:
    """Before there is a job: no interpreter is called so."""
    script = home.folder / "run.sh"
    script.write_bytes(b"#!/bin/sh\r\necho 1\r\n")
    done = home.call("submit", script)
    assert done.code == 65
    assert "lines that end as on Windows (CR LF)" in done.err
    assert "dos2unix" in done.err
