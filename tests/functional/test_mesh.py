"""Machines that join a coordinator elsewhere: real agents as processes, a real server over TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from homes import PROGRAM
from servers import environment, running

from nexapod_client import NexaPodClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

JOB = """
schema = 1
[job]
name = "mesh"
command = ["sh", "-c", "cat in.txt; head -c 300000 /dev/zero > big.bin"]
[[inputs]]
source = "in.txt"
target = "in.txt"
[[outputs]]
path = "big.bin"
"""


def joined(server: Running, home: Path, *options: str, token: bool = True) -> dict[str, str]:
    """Join a server from a home of its own; return what `node join` says."""
    words = server.join.split()
    if not token:
        words = words[: words.index("--token")]
    argv = [PROGRAM, *words[1:], *options, "--json"]
    done = subprocess.run(argv, env=environment(home), capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@contextmanager
def working(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let the node of a home work until the block ends."""
    with (home.parent / f"{home.name}.run.err").open("ab") as log:
        process = subprocess.Popen([PROGRAM, "node", "run", "--page-port", "0"], env=environment(home), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def job_folder(tmp_path: Path) -> Path:
    """Return a folder with a job that has an input, and an output too large to travel with its report."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "in.txt").write_text("in\n")
    (folder / "job.toml").write_text(JOB)
    return folder


@pytest.mark.slow
def test_two_machines_join_and_agree(tmp_path: Path) -> None:
    """Inputs go there, statements and outputs come back, and the verdict verifies."""
    folder = job_folder(tmp_path)
    with running(tmp_path / "c") as server, ExitStack() as stack:
        for name in ("one", "two"):
            joined(server, tmp_path / name, "--name", name, "--owner", f"owner of {name}")
            stack.enter_context(working(tmp_path / name))
        server.command("submit", str(folder / "job.toml"), "--wait")
        shown = json.loads(server.command("show", "1", "--json").stdout)
        server.command("verify", "1")
    big = tmp_path / "c/results/1/0/big.bin"
    assert json.dumps(shown).count('"valid"') == 2
    assert (big.stat().st_size, (big.parent / "stdout").read_text()) == (300_000, "in\n")
    keys = [path.name for path in (tmp_path / "c/keys").iterdir() if path.name.startswith("node-")]
    assert keys == []


@pytest.mark.slow
def test_nobody_runs_anything_before_a_person_says_so(tmp_path: Path) -> None:
    """Without a token there is a code; the node works as soon as it is approved, by the owner that the admin names."""
    with running(tmp_path / "c") as server:
        said = joined(server, tmp_path / "one", "--name", "one", token=False)
        with working(tmp_path / "one"):
            waiting = json.loads(server.command("node", "approve", "--json").stdout)
            before = json.loads(server.command("node", "ls", "--json").stdout)["nodes"]
            server.command("node", "approve", said["code"], "--owner", "lab")
            server.command("submit", "--agree", "1", "--wait", "--", "true")
        after = json.loads(server.command("node", "ls", "--json").stdout)["nodes"]
    assert (said["state"], before) == ("pending", [])
    assert json.dumps(waiting).count(said["code"]) == 1
    assert [(node["name"], node["owner"]) for node in after] == [("one", "lab")]


def test_two_nodes_of_one_owner_are_one(tmp_path: Path) -> None:
    """Whatever a job asks to differ: a quorum of two is not reached with the machines of one person."""
    with running(tmp_path / "c") as server:
        for name in ("one", "two"):
            joined(server, tmp_path / name, "--name", name, "--owner", "ann")
        done = server.command("submit", "--agree", "2", "--distinct", "node", "--", "true", check=False)
    assert (done.returncode, "1 in reach" in done.stderr) == (65, True)


@pytest.mark.slow
def test_the_owner_of_a_machine_has_the_last_word(tmp_path: Path) -> None:
    """A snooze needs no coordinator, and the planner hears of it; so does whoever asks why nothing runs."""
    with running(tmp_path / "c") as server:
        joined(server, tmp_path / "one", "--name", "one", "--owner", "ann")
        env = environment(tmp_path / "one")
        subprocess.run([PROGRAM, "node", "snooze", "one", "1h"], env=env, check=True, capture_output=True, timeout=120)
        note = tmp_path / "c/spool/one/node-note.json"
        with working(tmp_path / "one"):
            while b"snoozed" not in note.read_bytes():
                time.sleep(0.05)
            server.command("submit", "--agree", "1", "--", "true")
            server.command("reconcile", check=False)
            said = server.command("explain", "1").stdout
        unit = subprocess.run(
            [PROGRAM, "node", "unit", "one"], env=env, check=True, capture_output=True, text=True, timeout=120
        ).stdout
    assert "not on one: is snoozed by its owner" in said
    assert '"node" "run" "one"' in unit


def test_what_works_is_said_before_joining(tmp_path: Path) -> None:
    """Each thing in a line; another key than the one that is meant is a fault, and nothing is registered."""
    with running(tmp_path / "c") as server:
        pin = server.join.split()[server.join.split().index("--fingerprint") + 1]
        codes = {}
        for shown in (pin, f"SHA256:{'A' * 43}"):
            argv = [PROGRAM, "node", "check", server.url, "--fingerprint", shown, "--json"]
            done = subprocess.run(
                argv, env=environment(tmp_path / "one"), check=False, capture_output=True, text=True, timeout=120
            )
            marks = {row["probe"]: row["mark"] for row in json.loads(done.stdout)["findings"]}
            codes[shown == pin] = (done.returncode, marks["tls"], marks.get("coordinator"))
        nodes = json.loads(server.command("node", "ls", "--json").stdout)["nodes"]
    assert codes == {True: (0, "ok", "ok"), False: (1, "fail", None)}
    assert nodes == []


def test_another_server_gets_nothing(tmp_path: Path) -> None:
    """With another fingerprint nothing is sent, and the node is told which key was shown."""
    with running(tmp_path / "c") as server:
        argv = [PROGRAM, "node", "join", server.url, "--fingerprint", f"SHA256:{'A' * 43}"]
        done = subprocess.run(
            argv, env=environment(tmp_path / "one"), capture_output=True, text=True, check=False, timeout=120
        )
        nodes = json.loads(server.command("node", "ls", "--json").stdout)["nodes"]
        waiting = json.loads(server.command("node", "approve", "--json").stdout)
    assert (done.returncode, "nothing was sent" in done.stderr) == (1, True)
    assert (nodes, [one for one in waiting.values() if isinstance(one, list)]) == ([], [[]])
    assert not os.path.exists(tmp_path / "one/agent.json")


@pytest.mark.slow
def test_a_log_is_followed_while_it_grows_elsewhere(tmp_path: Path) -> None:
    """Line by line while the command runs, to the last one, and what is published is whole; nothing is sent unasked."""
    quick = {"command": "echo one; sleep 2; echo two", "quorum": {"agree": 1}}
    with running(tmp_path / "c") as server:
        joined(server, tmp_path / "one", "--name", "one", "--owner", "ann")
        with working(tmp_path / "one"), NexaPodClient(server.url, token=server.token) as client:
            job = client.submit_job({"command": "echo begun; sleep 600", "quorum": {"agree": 1}})
            assert next(client.logs(job, follow=True)) == "begun"
            assert client.job(job).state == "active"
            client.cancel(job)
            unseen = client.submit_job(quick)
            assert client.wait(unseen, timeout=120).state == "accepted"
            assert not list((tmp_path / "c/spool/one/live").glob(f"{unseen.id}_*"))
            job = client.submit_job({**quick, "name": "followed"})
            assert list(client.logs(job, follow=True)) == ["one", "two"]
            assert client.wait(job, timeout=120).state == "accepted"
            assert [file.read() for file in client.results(job) if file.path == "stdout"] == [b"one\ntwo\n"]
