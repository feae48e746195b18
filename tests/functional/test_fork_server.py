"""Commands that a server forks are what the program is when it is started: same words, same codes, same surroundings."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import fork_server
import pytest
from homes import PROGRAM, TRUE, Home, ended

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [["node", "ls", "--json"], ["ls"], ["show", "7"], ["nonsense"], ["submit", "no.toml"], ["--version"], ["config", "show", "--json"], []]


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_both_say_the_same(tmp_path: Path, argv: list[str]) -> None:
    """What is printed where, and the exit code."""
    home = Home(tmp_path)
    assert home.call("node", "init", "--name", "n").code == 0
    real = subprocess.run([PROGRAM, *argv], env=home.env, cwd=tmp_path, capture_output=True, text=True, check=False)
    forked = fork_server.call(PROGRAM, argv, env=home.env, cwd=tmp_path, timeout=60)
    assert forked == (real.returncode, real.stdout, real.stderr)


def test_a_call_has_its_own_surroundings(tmp_path: Path) -> None:
    """Folder and environment are those of the call, and nothing of one call is there in the next."""
    (tmp_path / "there").mkdir()
    home, there = Home(tmp_path), Home(tmp_path / "there")
    (tmp_path / "nexapod.toml").write_text('schema = 1\nsite = "mine"\n')
    for which, env, site in ((home, {}, "mine"), (home, {"NEXAPOD_SITE": "given"}, "given"), (there, {}, None), (home, {}, "mine")):
        found = {one["key"]: one["value"] for one in which.json("config", "show", env=env)["settings"]}
        assert found.get("site") == site


def test_calls_go_on_side_by_side(tmp_path: Path) -> None:
    """Each hears of its own end."""
    home = Home(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda argv: home.call(*argv).code, [["ls"], ["nonsense"], ["--version"], ["show", "1"]] * 3))
    assert codes == [0, 2, 0, 66] * 3


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "POSIX"}, {"PYTHONPATH": "/nowhere"}, {"TZ": "Asia/Tokyo"}, {"LD_PRELOAD": ""}, {"PYTHONOPTIMIZE": "1"}], ids=str
)
def test_what_is_read_at_a_start_needs_one(tmp_path: Path, env: dict[str, str]) -> None:
    """Nothing is forked for a call that has it otherwise than the server."""
    assert fork_server.call(PROGRAM, ["ls"], env={**os.environ, **env}, cwd=tmp_path, timeout=60) is None


def test_a_process_that_is_otherwise_gets_a_start(tmp_path: Path) -> None:
    """Fewer processors, as whoever starts a command hands them down."""
    home = Home(tmp_path)
    assert home.call("ls").code == 0
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert len(mine) == 1 or fork_server.call(PROGRAM, ["ls"], env=home.env, cwd=tmp_path, timeout=60) is None
    finally:
        os.sched_setaffinity(0, mine)


def test_a_call_that_hangs_is_killed(tmp_path: Path) -> None:
    """With its name."""
    with ended(Home(tmp_path), "n") as home:
        assert home.submit(TRUE.replace('["true"]', '["sleep", "600"]')).code == 0
        with pytest.raises(AssertionError, match=r"wait.*did not end"):
            fork_server.call(PROGRAM, ["wait", "1"], env=home.env, cwd=tmp_path, timeout=1)
