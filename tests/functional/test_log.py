"""What operators are told of each use case, where it goes, and that nobody pays for it who does not ask."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home, ended

from nexapod_batch import log
from nexapod_batch.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING) [\w.]+\[\d+\]: [^\n]+")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    with ended(Home(tmp_path), "n") as made:
        yield made


def events(text: str) -> list[str]:
    """Return module and event of each log line in a text, without the package."""
    lines = [line for line in text.splitlines() if LINE.fullmatch(line)]
    return [line.split(" ", 2)[2].replace("nexapod_batch.", "", 1) for line in lines]


def has(text: str, module: str, event: str) -> bool:
    """Say whether a module told of an event."""
    return any(re.match(rf"{module}\[\d+\]: {event}", each) for each in events(text))


USE_CASES = [
    (["cancel", "1"], "coordinator.commands.job_control", "cancelled tasks=1 faults=0"),
    (["hold", "1"], "coordinator.commands.job_control", "held jobs="),
    (["release", "1"], "coordinator.commands.job_control", "released jobs="),
    (["retry", "1"], "coordinator.commands.job_control", "reopened tasks="),
    (["gc"], "coordinator.commands.upkeep.retention", "removed work_folders="),
    (["node", "drain", "n"], "coordinator.nodes.registry", "node drained node=n"),
    (["node", "resume", "n"], "coordinator.nodes.registry", "node resumed node=n"),
    (["node", "rekey", "n"], "coordinator.nodes.registry", "node has a new key node=n"),
    (["ls"], "cli", "command ended command=ls exit_code=0 seconds="),
    (["node", "ls"], "cli", r"command ended command='?node( ls')? exit_code=0 seconds="),
    (["show", "99"], "cli", "command ended command=show exit_code=66 seconds="),
]


def test_each_use_case_is_one_line(home: Home) -> None:
    """With `-v` before the command or after it; stdout stays the same."""
    assert home.submit(TRUE, "-v").err.count("submitted job=1 ") == 1
    for number, (argv, module, event) in enumerate(USE_CASES):
        done = home.call(*(argv + ["-v"] if number % 2 else ["-v", *argv]))
        assert has(done.err, module, event), (argv, done.err)
        assert events(done.out) == []


def test_a_pass_says_what_it_did(home: Home) -> None:
    """Replicas launched, reports read, tasks decided and published; in detail also what each backend was asked."""
    done = home.submit(TRUE, "--wait=90s", "-vv")
    assert done.code == 0, done.err
    told = "\n".join(events(done.err))
    sums = dict.fromkeys(("ingested", "decided", "launched", "published"), 0)
    for name in sums:
        sums[name] = sum(map(int, re.findall(rf"pass ended .*\b{name}=(\d+)", told)))
    assert sums["ingested"] == 2
    assert sums["launched"] == 2
    assert sums["published"] == 1
    assert sums["decided"] >= 1
    assert "decided task=1_0 state=accepted agree=2" in told
    assert re.search(r"backend called backend=local method=launch site=local seconds=\d", told)
    assert re.search(r"handed over node=n launches=\d+ replicas=2", told)


def test_the_variable_names_level_and_file(home: Home, tmp_path: Path) -> None:
    """The file is its owner's alone, grows with each command, and says nothing to the terminal."""
    file = tmp_path / "log"
    env = {"NEXAPOD_LOG": f"info:{file}"}
    for _ in range(2):
        assert home.call("hold", "99", env=env).code == 66
        assert "command ended" not in home.call("ls", env=env).err
    assert len(events(file.read_text())) == 4
    assert file.stat().st_mode & 0o777 == 0o600
    assert events(home.call("ls", env={"NEXAPOD_LOG": "warning"}).err) == []
    assert len(events(home.call("ls", "-v", env={"NEXAPOD_LOG": "info"}).err)) == 1  # once, not once for each of the two


WRONG = ["loud", "info:relative", "info:", "INFO", ":/tmp/x", "info:/proc/none", "debug:/"]


@pytest.mark.parametrize("value", WRONG)
def test_a_variable_that_names_nothing_is_refused(home: Home, value: str) -> None:
    """With what was got, and what is wanted."""
    done = home.call("ls", env={"NEXAPOD_LOG": value})
    assert done.code == 78
    assert "NEXAPOD_LOG" in done.err
    assert "Traceback" not in done.err


def test_a_full_disk_costs_lines_and_no_command(home: Home) -> None:
    """As does every device that takes nothing."""
    done = home.call("ls", env={"NEXAPOD_LOG": "debug:/dev/full"})
    assert (done.code, "Error" in done.err, "Traceback" in done.err) == (0, False, False)


def test_what_strangers_chose_stays_in_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """Line ends, escapes and foreign letters are spelt out, as is what looks like another field."""
    with caplog.at_level("INFO", "nexapod_batch"):
        log.info("nexapod_batch.x", "event", a="two\nlines", b="\x1b[31m", c="ü", d="", e="x=1 y=2", f="'", g=0.5, h=None)
    assert caplog.messages == [
        r"""event a='two\nlines' b='\x1b[31m' c='\xfc' d='' e='x=1 y=2' f="'" g=0.500 h=None"""
    ]


@pytest.mark.parametrize("argv", [["ls"], ["show", "1"], ["--help"], ["--version"]])
def test_nobody_imports_logging_who_does_not_log(argv: list[str], tmp_path: Path) -> None:
    """It costs as much as all of a listing."""
    Store.open(tmp_path / "state.db", create=True).close()
    code = f"import sys, click; from nexapod_batch.cli import main; main({argv}); print('logging' in sys.modules)"
    env = {"NEXAPOD_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_nothing_is_logged_where_a_library_has_imported_logging() -> None:
    """Without a handler `logging` itself would write warnings to stderr."""
    code = "import logging; from nexapod_batch import log; log.warning('nexapod_batch.x', 'event')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
