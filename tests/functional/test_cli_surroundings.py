"""What surrounds a command: narrow and wide terminals, closed and full outputs, locales, a home that is not there."""

from __future__ import annotations

import fcntl
import os
import pty
import pwd
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM, TRUE, Home

from nexapod_batch.cli.rendering.values import table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELD = '[job]\nname = "a-long-name-of-a-job-that-somebody-chose-for-good-reasons"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n[schedule]\nhold = true\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Give a home, and end its workers."""
    found = Home(tmp_path)
    yield found
    found.end()


def on_terminal(home: Home, width: int, *argv: str) -> str:
    """Run the program on a terminal of so many columns and return what it got."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {name: value for name, value in home.env.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [PROGRAM, *argv], env={**env, "TERM": "xterm", "NO_COLOR": "1"}, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: the last process has closed the terminal
            break
        seen += data
    os.close(master)
    assert process.wait(timeout=120) == 0
    return seen.decode()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_list_fits_the_terminal(home: Home, width: int) -> None:
    """No line of a table is wider than the terminal, and the job can be told; a pipe gets it whole."""
    assert home.submit(HELD, "--label", "project=weather").code == 0
    lines = on_terminal(home, width, "ls").replace("\r", "").splitlines()
    assert max(map(len, lines)) <= width
    assert any("1" in line for line in lines)
    assert "a-long-name-of-a-job-that-somebody-chose-for-good-reasons" in home.call("ls").out


def test_tables_are_cut_at_texts_first() -> None:
    """Numbers stay whole; where nothing can be cut any more, values stand below one another."""
    rows = [{"id": 123456, "name": "x" * 50, "note": "y" * 20}]
    (head, row) = table(rows, ["id", "name", "note"], 40)
    assert row.startswith("123456  xxxxx")
    assert len(row) <= 40
    assert head.startswith("    ID  NAME")
    assert list(table(rows, ["id", "name", "note"], 20)) == ["ID: 123456", f"NAME: {'x' * 13}~", f"NOTE: {'y' * 13}~"]
    assert len(list(table(rows, ["id", "name", "note"]))[1]) == 80


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("command", ["show 1 --json", "--help", "hold 1"])
def test_closed_streams(home: Home, redirection: str, command: str) -> None:
    """A stream that the caller closed is no fault, and nothing is printed into a file that got its number."""
    home.submit(HELD)
    done = home.call("--color", "never", "ls", before=("sh", "-c", f'"$0" {command} {redirection}; echo "code $?"', PROGRAM))
    assert "code 0" in done.out
    assert home.call("db", "check").out == "ok\n"


@pytest.mark.parametrize("command", ["ls", "show 1 --json", "--help"])
def test_a_full_disk_behind_stdout(home: Home, command: str) -> None:
    """What cannot be written is told with a code of its own, never by a traceback."""
    home.submit(HELD)
    for unbuffered in ("", "1"):  # else what could not be written is tried again at exit
        env = {"PYTHONUNBUFFERED": unbuffered}
        done = home.call("x", before=("sh", "-c", f'"$0" {command} > /dev/full; echo "code $?"', PROGRAM), env=env)
        assert done.err.startswith("nexapod-batch: No space left on device\n  -> make room")
        assert "Exception" not in done.err
        assert done.out == "code 75\n"


@pytest.mark.parametrize(("command", "code"), [("ls", 0), ("submit job.toml --wait", 0), ("show 99", 66), ("nosuch", 2)])
def test_a_full_disk_behind_stderr(home: Home, command: str, code: int) -> None:
    """What is said aside, as into a log, ends nothing: the exit code is that of what was done."""
    home.descriptor(TRUE)
    for unbuffered in ("", "1"):
        env = {"PYTHONUNBUFFERED": unbuffered}
        done = home.call("x", before=("sh", "-c", f'"$0" {command} 2> /dev/full; echo "code $?"', PROGRAM), env=env)
        assert done.out.endswith(f"code {code}\n")


@pytest.mark.parametrize("names", [{"LC_ALL": "POSIX"}, {"LC_ALL": "de_DE.ISO-8859-1"}])
@pytest.mark.parametrize("mode", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_locales(home: Home, names: dict[str, str], mode: dict[str, str]) -> None:
    """Whatever the locale, names and outputs beyond ASCII are run, published as they are, and shown."""
    job = home.descriptor(TRUE.replace('["true"]', '["touch", "grün-日本.txt"]') + '[[outputs]]\npath = "grün-日本.txt"\n')
    done = home.call("submit", job, "--wait", env={**names, **mode})
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/grün-日本.txt").exists()
    for command in ("show", "explain", "results", "verify"):
        assert home.call(command, "1", env={**names, **mode}).code == 0


@pytest.mark.parametrize("argv", [("ls",), ("show", "last"), ("explain", "1")])
def test_a_home_that_is_not_there_is_told(home: Home, argv: tuple[str, ...]) -> None:
    """Who mistyped NEXAPOD_HOME is told which folder is missing."""
    home.submit(HELD)
    done = home.call(*argv, env={"NEXAPOD_HOME": str(home.path) + "e"})
    assert f"NEXAPOD_HOME names a folder that is not there: {home.path}e" in done.err


def test_an_empty_home_is_that_of_the_account(home: Home) -> None:
    """As one that nobody set, and as XDG has it: never the root of all files."""
    unset = dict.fromkeys(("NEXAPOD_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), "")
    done = home.call("doctor", before=("env", "HOME="), env=unset)
    assert f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/nexapod-batch" in done.out
    assert " /.local" not in done.out + done.err


def test_a_new_home_is_told(home: Home) -> None:
    """A submit that begins a new state says so, once; a state in the usual place is named."""
    usual = {"HOME": str(home.folder), "NEXAPOD_HOME": "", "XDG_STATE_HOME": "", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    job = home.descriptor(HELD)
    assert home.call("submit", job, env=usual).code == 0
    done = home.call("submit", job, env={**usual, "NEXAPOD_HOME": str(home.path)})
    assert "it is made now" in done.err
    assert "without it there are jobs in" in done.err
    assert "it is made now" not in home.submit(HELD).err


def test_cancel_twice_is_no_error(home: Home) -> None:
    """What is cancelled already is said, and the exit code is 0; a job that is not there is 66."""
    home.submit(HELD)
    assert home.call("cancel", "1").out == "cancelled: 1\n"
    again = home.call("cancel", "1")
    assert (again.code, again.out) == (0, "nothing to do: all of these have ended, or are cancelled already\n")
    assert home.call("cancel", "2").code == 66


def test_first_submissions_of_all_may_come_together(home: Home) -> None:
    """Each finds the keys and the node that another one has just made, or makes them; all of them are stored."""
    job = home.descriptor(HELD)
    argv, quiet = [PROGRAM, "submit", str(job)], subprocess.DEVNULL
    started = [subprocess.Popen(argv, env=home.env, cwd=home.folder, stdout=quiet, stderr=subprocess.PIPE) for _ in range(6)]
    said = [process.communicate(timeout=300)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * 6, said
    assert len(home.jobs()) == 6
    assert len(home.json("node", "ls")["nodes"]) == 1
