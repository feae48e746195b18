"""The environment of a command: PATH as it was at submit, nothing of ours before it, and what was started, signed."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from homes import Home

ONCE = '[quorum]\nagree = 1\ndistinct = "run"\n'


def tool(home: Home, text: str, folder: str = "mine") -> str:
    """Write the program `tool` into a folder of its own; return a PATH that has it first."""
    place = home.folder / folder
    place.mkdir(exist_ok=True)
    (place / "tool").write_text(f"#!/bin/sh\n{text}\n")
    (place / "tool").chmod(0o755)
    return f"{place}:/usr/bin:/bin"


@pytest.mark.parametrize("options", [(), ("--foreign",)], ids=["bare", "confined"])
def test_a_command_runs_by_the_path_of_its_submit(home: Home, options: tuple[str, ...]) -> None:
    """Whoever starts the worker later, with whatever PATH."""
    given = {"PATH": tool(home, "echo mine; echo $PATH")}
    job = home.descriptor('[job]\nname = "a"\ncommand = ["tool"]\n' + ONCE)
    assert home.call("submit", job, "--set", "schedule.hold=true", *options, env=given).code == 0
    home.call("release", "1", env={"PATH": "/usr/bin:/bin"})
    assert home.call("wait", "1", "--timeout", "50s", env={"PATH": "/usr/bin:/bin"}).code == 0
    assert home.call("logs", "1").out == f"mine\n{given['PATH']}\n"


def test_nothing_of_ours_is_in_the_way(home: Home) -> None:
    """The python3 of a command is that of its PATH, not the one that runs nexapod-batch."""
    assert not Path(sys.prefix).samefile(sys.base_prefix)
    job = home.descriptor('[job]\nname = "a"\ncommand = ["python3", "-c", "import sys; print(sys.prefix)"]\n' + ONCE)
    assert home.call("submit", job, "--wait=50s", env={"PATH": "/usr/bin:/bin"}).code == 0
    assert home.call("logs", "1").out == "/usr\n"


def test_what_was_started_is_signed_and_compared(home: Home) -> None:
    """The program changed between submit and run: `explain` says so, and each replica signs what it had."""
    given = {"PATH": tool(home, "echo old")}
    before = hashlib.sha256((home.folder / "mine/tool").read_bytes()).hexdigest()
    job = home.descriptor('[job]\nname = "a"\ncommand = ["tool"]\n[quorum]\ndistinct = "run"\n')
    assert home.call("submit", job, "--set", "schedule.hold=true", env=given).code == 0
    tool(home, "echo new")
    after = hashlib.sha256((home.folder / "mine/tool").read_bytes()).hexdigest()
    home.call("release", "1")
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    (task,) = home.json("explain", "1_0")["tasks"]
    file = str(home.folder / "mine/tool")
    wanted = {"file": file, "path": given["PATH"]}
    assert task["programs"] == {
        "at submit": {**wanted, "sha256": before},
        "replica 1": {**wanted, "sha256": after},
        "replica 2": {**wanted, "sha256": after},
    }
    said = home.call("explain", "1_0").out
    assert f"at submit: {file} (SHA-256 {before[:12]}); replica 1, replica 2: {file} (SHA-256 {after[:12]})" in said
