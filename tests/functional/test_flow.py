"""From a descriptor to a verified, signed result, through the command line and real workers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = str(Path(sys.executable).with_name("nexapod-batch"))
EXAMPLES = Path(__file__).parents[2] / "examples"


class Home:
    """A fresh home, and the program run in it."""

    def __init__(self, path: Path) -> None:
        """Keep the home's path."""
        self.path = path
        self.env = {**os.environ, "NEXAPOD_HOME": str(path)}

    def run(self, *argv: object, code: int = 0) -> str:
        """Run the program; the exit code must be the one expected; return stdout."""
        done = subprocess.run(
            [PROGRAM, *map(str, argv)], env=self.env, capture_output=True, text=True, check=False, timeout=120
        )
        assert code == done.returncode, f"{argv}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *argv: object, code: int = 0) -> Any:
        """Run the program with --json and return what it prints."""
        return json.loads(self.run(*argv, "--json", code=code))

    def job(self, text: str) -> Path:
        """Write a descriptor into a folder of its own and return its path."""
        folder = self.path.parent / f"job-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        folder.mkdir(exist_ok=True)
        path = folder / "job.toml"
        path.write_text("schema = 1\n" + text)
        return path

    def node(self, name: str, owner: str = "me") -> None:
        """Make a local node whose worker does not linger."""
        self.run("node", "init", "--name", name, "--owner", owner)


@pytest.fixture
def home(tmp_path: Path) -> Any:
    """Yield a home; afterwards no worker of it may be left."""
    one = Home(tmp_path / "home")
    yield one
    end = time.monotonic() + 120
    for lock in (tmp_path / "home" / "spool").glob("*/node.json"):
        _stop_worker(lock.parent, end)


def _stop_worker(spool: Path, end: float) -> None:
    """End the worker of a spool by the process group that its claims name."""
    for claim in (spool / "claims").glob("*"):
        pid = json.loads(claim.read_text() or "{}").get("pid")
        command = Path(f"/proc/{pid}/cmdline")
        if pid and command.exists() and str(spool).encode() in command.read_bytes():
            os.kill(pid, 15)
            while command.exists() and time.monotonic() < end:
                if command.read_bytes() == b"":
                    break
                time.sleep(0.01)


TRUE = '[job]\nname = "true"\ncommand = ["true"]\n[quorum]\ndistinct = "run"\n'


@pytest.mark.parametrize("name", ["ising", "lorenz96", "vqe", "lj-md", "omp"])
def test_example_is_accepted(home: Home, name: str) -> None:
    """Every example ends accepted, its statements verify, and its results are there."""
    said = home.json("submit", EXAMPLES / name / "job.toml", "--wait")
    assert said["state"] == "accepted"
    shown = home.json("show", said["job"])
    assert {task["state"] for task in shown["tasks"]} == {"accepted"}
    home.run("verify", said["job"])
    assert any((home.path / "results" / str(said["job"])).rglob("*"))


def test_liar_is_named_and_the_others_win(home: Home) -> None:
    """One of three nodes falsifies its output: the result is accepted from the other two, the liar is named."""
    for name in ("alice", "bob", "mallory"):
        home.node(name, owner=name)
    said = home.json("submit", EXAMPLES / "cheater" / "job.toml", "--wait")
    assert said["state"] == "accepted"
    (task,) = home.json("show", said["job"])["tasks"]
    judged = {replica["node"]: replica["validation"] for replica in task["replicas"]}
    assert judged == {"alice": "valid", "bob": "valid", "mallory": "invalid"}
    assert "mallory" in home.run("explain", said["job"])


def test_each_task_has_files_of_its_own(home: Home) -> None:
    """Placeholders in the path of an output and the target of an input, with the comparison that the output asks for."""
    home.node("a")
    home.node("b")
    command = '["sh", "-c", "cat in-{task}-{letter}.txt > out/{letter}-{task}.txt; echo 1.000$$ > out/{letter}.csv"]'
    array = '[array]\nmatrix = { letter = ["x", "y"] }\n'
    text = f'[job]\nname = "files"\ncommand = {command}\n{array}[[inputs]]\nsource = "data.txt"\n'
    text += 'target = "in-{task}-{letter}.txt"\n[[outputs]]\npath = "out/{letter}-{task}.txt"\n'
    text += '[[outputs]]\npath = "out/{letter}.csv"\ncompare = "round"\ndigits = 2\n'
    job = home.job(text.replace('"sh", "-c", "', '"sh", "-c", "mkdir out; '))
    (job.parent / "data.txt").write_text("data\n")
    home.run("submit", job, "--wait")
    for task, letter in enumerate("xy"):
        folder = home.path / "results/1" / str(task)
        assert (folder / f"out/{letter}-{task}.txt").read_text() == "data\n"
        assert sorted(path.name for path in (folder / "out").iterdir()) == [f"{letter}-{task}.txt", f"{letter}.csv"]
    home.run("verify", "1")


def test_disagreement_everywhere_is_inconclusive(home: Home) -> None:
    """When no two replicas agree within max_replicas there is no result, and the exit code says so."""
    job = home.job(
        '[job]\nname = "noise"\ncommand = ["python3", "-c", "import os; print(os.urandom(8).hex())"]\n'
        '[quorum]\ndistinct = "run"\nmax_replicas = 3\n'
    )
    said = home.json("submit", job, "--wait", code=3)
    assert said["state"] == "inconclusive"


def test_failing_command_fails_with_its_exit_code(home: Home) -> None:
    """A task that exits with 7 everywhere fails, and `show` carries the code."""
    job = home.job('[job]\nname = "seven"\ncommand = ["sh", "-c", "exit 7"]\n[quorum]\ndistinct = "run"\nmax_errors = 1\n')
    said = home.json("submit", job, "--wait", code=1)
    (task,) = home.json("show", said["job"])["tasks"]
    assert {7} == {replica["exit_code"] for replica in task["replicas"]}


def test_a_failed_task_shows_what_it_wrote(home: Home) -> None:
    """The logs of replicas that errored came with their reports, and are shown until they are cleaned up."""
    home.node("a")
    command = """["sh", "-c", "echo out; echo 'no such file: data.csv' >&2; exit 3"]"""
    job = f'[job]\nname = "sad"\ncommand = {command}\n[quorum]\ndistinct = "run"\nmax_errors = 1\n'
    home.run("submit", home.job(job), "--wait", code=1)
    assert home.run("logs", "1", "--stderr") == "no such file: data.csv\n"
    assert home.run("logs", "1_0", "--all").startswith("==> 1_0.1 <==\nout\n==> 1_0.2 <==\nout\n")
    assert home.json("logs", "1")["logs"] == [{"of": "1_0.1", "path": None, "bytes": 4}]


def test_time_limit_ends_the_command_and_what_it_started(home: Home) -> None:
    """Over its time the task errors, also when it hid a process in a session of its own."""
    job = home.job(
        '[job]\nname = "slow"\ncommand = ["sh", "-c", "setsid sleep 3611 & sleep 3612"]\n[resources]\ntime = "0:00:01"\n'
        '[quorum]\ndistinct = "run"\nreplicas = 1\nagree = 1\nmax_errors = 0\nmax_replicas = 1\n'
    )
    assert home.json("submit", job, "--wait", code=1)["state"] == "failed"
    left = subprocess.run(["pgrep", "-f", "sleep 361[12]"], capture_output=True, check=False).stdout
    assert left == b""


def test_forged_lines_go_to_quarantine_and_harm_nobody(home: Home) -> None:
    """Junk, a foreign signature and a replay for another replica are set aside; the job is accepted all the same."""
    first = home.json("submit", home.job(TRUE), "--wait")
    (spool,) = (home.path / "spool").iterdir()
    genuine = next(line for p in spool.glob("reports/*.jsonl") for line in p.read_text().splitlines() if "payload" in line)
    envelope = json.loads(genuine)
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    (spool / "reports" / "zz-forged.jsonl").write_text(
        f'{{"replica": "{first["job"]}_0.1"}}\nnot json\n[1]\n"start"\n{json.dumps(envelope)}\n' + "x" * 5_000 + "\n"
    )
    second = home.json("submit", home.job(TRUE), "--wait")
    assert second["state"] == "accepted"
    assert home.json("show", first["job"])["job"]["state"] == "accepted"
    assert "6 bad reports" in home.run("doctor", code=0)


def test_dependency_waits_and_hold_is_released(home: Home) -> None:
    """A job that depends on a held one starts only after that was released and accepted."""
    first = home.json("submit", home.job(TRUE + "[schedule]\nhold = true\n"))
    second = home.json("submit", home.job(TRUE + f"[schedule]\ndepends_on = [{{ job = {first['job']}, when = 'accepted' }}]\n"))
    home.run("reconcile")
    assert "waits for job" in home.run("explain", second["job"])
    home.run("release", first["job"])
    home.run("wait", second["job"])
    assert home.json("show", second["job"])["job"]["state"] == "accepted"


def test_cancel_stops_what_runs(home: Home) -> None:
    """A cancelled job has nothing running, and its state says so."""
    said = home.json("submit", home.job('[job]\nname = "long"\ncommand = ["sleep", "3613"]\n[quorum]\ndistinct = "run"\n'))
    end = time.monotonic() + 120
    while subprocess.run(["pgrep", "-f", "sleep 3613"], capture_output=True, check=False).returncode:
        assert time.monotonic() < end
        time.sleep(0.05)
    home.run("cancel", said["job"])
    while not subprocess.run(["pgrep", "-f", "sleep 3613"], capture_output=True, check=False).returncode:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert home.json("show", said["job"])["job"]["state"] == "cancelled"
