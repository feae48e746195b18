"""`node unit`: what systemd reads of it, and the worker that it keeps running."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from spools import House, until

from nexapod_batch import interpreter
from nexapod_batch.cli.node.systemd_unit import text_of
from nexapod_batch.model.job import Job

if TYPE_CHECKING:
    from homes import Home

HOSTILE = ["plain", "a b", "per%cent %h", "do$lar ${HOME}", 'quo"te', "back\\slash \\n", "tick'", "semi;colon", "ümlaut", "#"]


def words(line: str) -> list[str]:
    """Read quoted words as systemd.syntax(7) and systemd.unit(5) say: C escapes, then specifiers."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    escapes = {"\\\\": "\\", '\\"': '"', "\\n": "\n", "\\t": "\t"}
    read = [re.sub(r"\\.", lambda one: escapes[one[0]], word) for word in found]
    assert not any(re.search(r"(?<!%)(?:%%)*%(?!%)", word) for word in read), "a specifier is left"
    return [word.replace("%%", "%") for word in read]


def verified(folder: Path, text: str) -> str:
    """Let systemd itself check a unit; return what it complains about."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    file = folder / "nexapod-node-x.service"
    file.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False, timeout=120
    )
    return "".join(line for line in done.stderr.splitlines(keepends=True) if file.name in line)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_reaches_the_worker_as_it_is(tmp_path: Path, name: str) -> None:
    """Whatever its folder is called: systemd accepts the unit, and reads the same words."""
    spool = tmp_path / name
    text = text_of("x", spool, {"PATH": f"/bin:/{name}"})
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    assert words(lines["ExecStart"]) == [sys.executable, "-I", "-m", "nexapod_batch.runner", str(spool), "--stay"]
    assert lines["WorkingDirectory"] == "/"
    assert lines["ExecStart"].startswith(":/usr/bin/env ")
    assert words(lines["Environment"]) == [f"PATH=/bin:/{name}"]
    assert verified(tmp_path, text) == ""


def test_systemd_would_complain(tmp_path: Path) -> None:
    """The check by systemd is one: a unit that it cannot use is told."""
    broken = text_of("x", tmp_path, {}).replace("Type=exec", "Type=wrong")
    assert "wrong" in verified(tmp_path, broken)


def test_it_is_written_where_systemd_looks_and_says_what_comes_next(home: Home, tmp_path: Path) -> None:
    """The file is the text that is printed; two commands follow."""
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    home.call("node", "init", "mine")
    printed = home.call("node", "unit").out
    done = home.call("node", "unit", "mine", "--write", env=env)
    file = tmp_path / "config/systemd/user/nexapod-node-mine.service"
    assert file.read_text() == printed
    assert done.out.splitlines() == [
        f"written: {file}",
        "next:    systemctl --user daemon-reload",
        "next:    systemctl --user enable --now nexapod-node-mine.service",
    ]
    assert "loginctl enable-linger" in done.err
    home.call("node", "init", "other")
    assert home.call("node", "unit").code == 2
    (tmp_path / "config/systemd/user").chmod(0o500)
    if os.geteuid():
        assert home.call("node", "unit", "mine", "--write", env=env).code == 1


def test_without_a_node_it_says_how_to_make_one(home: Home) -> None:
    """Neither for nothing nor for a name that nobody has."""
    nothing = home.call("node", "unit")
    assert (nothing.code, "node init" in nothing.err) == (66, True)
    assert home.call("node", "unit", "mine").code == 66


def test_a_worker_that_stays_rests_works_and_leaves_when_its_node_changed(tmp_path: Path) -> None:
    """It keeps the spool without work and without executors, takes what comes, and ends with a new node.json."""
    house = House(tmp_path)
    argv = interpreter.module("nexapod_batch.runner", str(house.spool), "--stay")
    worker = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    house.workers.append(worker)
    try:
        for number in (1, 2):
            children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
            until(lambda: len(house.reports()) == number - 1 and not children.read_text(), "rest")  # noqa: B023
            house.put(house.launch(Job(name="t", command=("true",)), job_id=number))
            until(lambda: len(house.reports()) == number, "its report")  # noqa: B023
        assert worker.poll() is None
        file = house.spool / "node.json"
        file.write_text(file.read_text() + "\n")
        assert worker.wait(timeout=120) == 0
    finally:
        house.end()
