"""`submit` and `wait` from outside: exit codes, interruption, what is printed where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from living_folders import below, contents

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = str(Path(sys.executable).with_name("nexapod-batch"))
JOB = 'schema = 1\n[job]\nname = "one"\ncommand = {command}\n[quorum]\ndistinct = "run"\n'


class Shell:
    """A home, and the program run in it as from a shell."""

    def __init__(self, path: Path) -> None:
        """Keep the paths."""
        self.path = path
        self.home = path / "home"
        self.env = {**os.environ, "NEXAPOD_HOME": str(self.home)}

    def job(self, *command: str) -> str:
        """Write a descriptor that runs a command and return its path."""
        file = self.path / "job.toml"
        file.write_text(JOB.format(command=json.dumps(command)))
        return str(file)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start the program in a process group of its own."""
        return subprocess.Popen(
            ["env", "--default-signal=INT", PROGRAM, *argv],  # whoever runs the tests may ignore it
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Run the program; return exit code, stdout and stderr, which is never a traceback."""
        process = self.start(*argv)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Yield a shell; afterwards its jobs are cancelled and its workers ended."""
    one = Shell(tmp_path)
    yield one
    if (one.home / "state.db").exists():
        one.run("cancel", "all")
    for claim in contents(one.home.glob("spool/*/claims/*")).values():
        pid = json.loads(claim or "{}").get("pid", 0)
        command = Path(f"/proc/{pid}/cmdline")
        if pid and command.exists() and str(one.home).encode() in command.read_bytes():
            os.kill(pid, signal.SIGTERM)


def test_wait_before_the_descriptor_does_not_eat_it(shell: Shell) -> None:
    """`--wait FILE` waits for ever for FILE; the outcome and the results' place are printed."""
    code, out, _ = shell.run("submit", "--wait", shell.job("echo", "hello"))
    assert code == 0
    assert "job 1 'one': accepted" in out
    assert str(shell.home / "results" / "1") in out
    assert shell.run("logs", "1")[1] == "hello\n"


def test_wait_that_runs_out_is_4_and_the_job_goes_on(shell: Shell) -> None:
    """A wait with a limit ends with 4, says how to come back, and reports the state as it is."""
    code, out, err = shell.run("submit", shell.job("sleep", "3617"), "--wait=1s", "--json")
    assert code == 4
    assert json.loads(out)["state"] == "active"
    assert "nexapod-batch wait 1" in err


def test_interrupted_wait_leaves_the_job(shell: Shell) -> None:
    """Ctrl-C ends with 130, says how to come back, and the job is still active."""
    process = shell.start("submit", shell.job("sleep", "3618"), "--wait")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("job 1: 1 task")
    end = time.monotonic() + 120
    while not list(shell.home.glob("spool/*/claims/*")):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "nexapod-batch wait 1" in err
    assert json.loads(shell.run("show", "1", "--json")[1])["job"]["state"] == "active"


def test_parsable_prints_the_id_alone(shell: Shell) -> None:
    """`--parsable` leaves stdout to the job id."""
    code, out, _ = shell.run("submit", shell.job("true"), "--parsable", "--wait")
    assert (code, out) == (0, "1\n")


def test_dry_run_submits_nothing(shell: Shell) -> None:
    """A dry run prints what would run, and there is no job afterwards."""
    shell.run("node", "init", "--name", "here")
    code, out, _ = shell.run("submit", "--dry-run", shell.job("echo", "x"))
    assert code == 0
    assert "echo x" in out
    assert json.loads(shell.run("ls", "--json")[1])["jobs"] == []


def test_dry_run_of_a_fresh_home_makes_nothing(shell: Shell) -> None:
    """Not even the home: a dry run looks, and says what the first submit would do."""
    for option in ("--dry-run", "--dry-run=all"):
        code, out, _ = shell.run("submit", option, shell.job("true"))
        first = "1 task, 2 replicas each; cost unknown (no resources.time); 1 node, 1 host, 1 site"
        assert (code, out.splitlines()[0]) == (0, first)
        assert "(local), which the next submit registers\n" in out
        assert "  runs 2 x true\n" in out
        assert not shell.home.exists()


def test_dry_run_of_all_lists_every_task(shell: Shell) -> None:
    """With `all` each task comes with its nodes and its own command; without it none does."""
    shell.run("node", "init", "--name", "here")
    job = shell.job("echo", "{seed}", "a b")
    with open(job, "a", encoding="utf-8") as file:
        file.write("[array]\nmatrix = { seed = [7, 8] }\n")
    before = below(shell.home)
    lines = shell.run("submit", "--dry-run=all", job)[1].splitlines()
    assert lines[-3:] == ["# tasks", "task 0 on here, here: echo 7 'a b'", "task 1 on here, here: echo 8 'a b'"]
    assert "# tasks" not in shell.run("submit", "--dry-run", job)[1]
    assert before == [path for path in below(shell.home) if not path.name.startswith("state.db-")]


@pytest.mark.parametrize(
    ("option", "value"), [("--wait", "10"), ("--wait", "1h30m"), ("--wait", "1:30:00"), ("--dry-run", "all")]
)
def test_value_after_a_blank_is_refused_with_the_right_form(shell: Shell, option: str, value: str) -> None:
    """`--wait 10` says `--wait=10`, before and after the descriptor; a descriptor of that name is one."""
    for argv in (["none.toml", option, value], [option, value, "none.toml"]):
        code, _, err = shell.run("submit", *argv)
        assert (code, f"wanted {option}={value}" in err) == (2, True)
    (shell.path / value).write_text("nonsense")
    assert shell.run("submit", option, str(shell.path / value))[0] == 65


def test_submit_without_an_active_node_says_so(shell: Shell) -> None:
    """With all nodes drained a quorum cannot be met, whether or not a site is named."""
    shell.run("node", "init", "--name", "here")
    shell.run("node", "drain", "here")
    code, _, err = shell.run("submit", shell.job("true"))
    assert (code, "no active node is registered" in err) == (65, True)
    assert shell.run("submit", shell.job("true"), "--site", "local")[0] == 65


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--wait=soon"], 2),
        (["--dry-run=some"], 2),
        (["--set", "quorum.agree=0"], 65),
        (["--set", "nonsense=1"], 65),
        (["--agree", "3", "--set", "quorum.max_replicas=2"], 65),
        (["--array", "1-0"], 65),
        (["--site", "nowhere"], 65),
        (["surplus"], 2),
    ],
)
def test_bad_options_submit_nothing(shell: Shell, argv: list[str], code: int) -> None:
    """Options that make no sense are refused with their exit code before anything is stored."""
    found, out, err = shell.run("submit", shell.job("true"), *argv)
    assert (code, "") == (found, out)
    assert err
    assert json.loads(shell.run("ls", "--json")[1])["jobs"] == []


def test_missing_descriptor_is_named(shell: Shell) -> None:
    """A descriptor that is not there is named, with 65 for a bad descriptor."""
    code, _, err = shell.run("submit", str(shell.path / "none.toml"))
    assert code == 65
    assert "none.toml" in err


def test_unwritable_home_is_a_configuration_error(shell: Shell) -> None:
    """A home that cannot be made is refused with 78 and a way out."""
    (shell.path / "home").write_text("a file")
    code, _, err = shell.run("submit", shell.job("true"))
    assert code == 78
    assert "NEXAPOD_HOME" in err
