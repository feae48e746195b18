"""What surrounds a command: its stdin, its home, and what it leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:

    from homes import Home

JOB = """[job]
command = ["sh", "-c", "{script}"]
{more}
[resources]
time = "50s"
[quorum]
agree = 1
distinct = "run"
max_errors = 0
"""


def run(home: Home, script: str, more: str = "", after: str = "", *options: str) -> str:
    """Run a job to its verdict; return what it wrote."""
    done = home.call("submit", home.descriptor(JOB.format(script=script, more=more) + after), "--wait=90s", *options)
    assert done.code == 0, done.out + done.err
    return home.call("logs", "last").out


@pytest.mark.parametrize("options", [(), ("--foreign",)], ids=["bare", "confined"])
def test_an_input_is_read_as_stdin(home: Home, options: tuple[str, ...]) -> None:
    """From its start, in each task its own; without one there is nothing to read."""
    (home.folder / "0.txt").write_text("first\nsecond\n")
    given = '[[inputs]]\nsource = "0.txt"\ntarget = "in/{task}.txt"\n'
    assert run(home, "cat", 'stdin = "in/{task}.txt"', given, *options) == "first\nsecond\n"
    assert run(home, "cat; echo end", "", "", *options) == "end\n"


def test_what_is_left_over_is_killed_where_the_job_says_so(home: Home) -> None:
    """The command's own exit code and output count, at once; the default waits for what it started."""
    assert run(home, "(trap '' TERM HUP; setsid sleep 100 & sleep 100) & echo done", 'left_over = "kill"') == "done\n"
    assert run(home, "(sleep 0.2; echo later) & echo done") == "done\nlater\n"


def test_home_is_the_accounts_where_the_job_says_so(home: Home) -> None:
    """The default is the work folder; a job that is somebody else's finds the account's home empty."""
    login = home.folder / "login"
    login.mkdir()
    (login / "secret").touch()
    home.env["HOME"] = str(login)
    assert "/work/" in run(home, "echo $HOME")
    assert run(home, "echo $HOME; ls -A $HOME", 'home = "account"') == f"{login}\nsecret\n"
    assert run(home, "ls -A $HOME", 'home = "account"', "", "--foreign") == ""
