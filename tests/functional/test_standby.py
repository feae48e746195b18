"""The coordinator dies under load, and another one goes on from an older copy of its database."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from functional.test_mesh import joined, working
from homes import PROGRAM
from servers import Running, environment, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = 5
ARRAY = f"""
schema = 1
[job]
name = "many"
command = ["sh", "-c", "sleep 0.3; echo {{n}}"]
[array]
matrix = {{ n = {list(range(TASKS))} }}
[quorum]
agree = 2
"""


def command(home: Path, *arguments: str) -> str:
    """Run a command of ours on a home; return what it says."""
    argv = [PROGRAM, *arguments]
    done = subprocess.run(argv, env=environment(home), capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port that the kernel chose and that nobody else is given until the block ends."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def name_servers(folder: Path, leader: Running, *ports: int) -> None:
    """Let a person whose key lies elsewhere sign which servers may lead, and the leader hand that on."""
    words = leader.join.split()
    pin = words[words.index("--fingerprint") + 1]
    servers = [word for port in ports for word in ("--server", f"https://127.0.0.1:{port}#{pin}")]
    owner = folder / "owner"
    command(owner, "node", "init", "--name", "n")
    command(owner, "key", "export", "coordinator", "--format", "pem", "--out", str(folder / "owner.pem"))
    roster = str(folder / "roster.json")
    member = ("--member", str(folder / "owner.pem"), "--threshold", "1", "--expires", "2099-01-01")
    leader.command("key", "roster", "new", roster, *member, *servers)
    command(owner, "key", "roster", "sign", roster)
    leader.command("key", "roster", "accept", roster)


def copied(home: Path, copy: Path) -> None:
    """Copy what a stand-in needs: keys, the TLS key, the database as it is now, and what was published."""
    for name in ("keys", "server", "rosters"):
        shutil.copytree(home / name, copy / name)
    copy.chmod(0o700)
    shutil.copy(home / "roster.json", copy / "roster.json")
    with closing(sqlite3.connect(home / "state.db")) as source, closing(sqlite3.connect(copy / "state.db")) as target:
        source.backup(target)
    (copy / "state.db").chmod(0o600)
    # After the database: what it says is published is there. More may be, and some of it half made.
    subprocess.run(["cp", "-a", home / "results", copy], check=False, stderr=subprocess.DEVNULL)


def rows(home: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a database answers."""
    with closing(sqlite3.connect(f"file:{home / 'state.db'}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def until(what: str, there: Callable[[], object], seconds: float = 600) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"{what}: not after {seconds} s"
        time.sleep(0.1)


def begun(folder: Path) -> list[str]:
    """Return the replicas that nodes began with, by the line that they wrote before each, as often as they did."""
    found: list[str] = []
    for path in folder.glob("*/agent/*/*/**/*.jsonl"):
        documents = [json.loads(line) for line in path.read_text().splitlines()]
        found += [document["start"] for document in documents if "start" in document]
    return sorted(found)


@pytest.mark.slow
def test_a_stand_in_goes_on_where_the_leader_died(tmp_path: Path) -> None:
    """Kill -9 under load; a job that the copy never heard of ends as well, nothing is lost, and nothing runs twice."""
    (tmp_path / "job.toml").write_text(ARRAY)
    with reserved_port() as port, ExitStack() as stack:
        leader = stack.enter_context(running(tmp_path / "c"))
        name_servers(tmp_path, leader, leader.port, port)
        for name in ("one", "two"):
            joined(leader, tmp_path / name, "--name", name, "--owner", name)
            stack.enter_context(working(tmp_path / name))
        leader.command("submit", str(tmp_path / "job.toml"))
        until("a report", lambda: rows(leader.home, "SELECT 1 FROM report"))
        until("rosters", lambda: len(list(tmp_path.glob("*/agent/*/roster.json"))) == 2)
        copied(leader.home, tmp_path / "copy")
        leader.command("submit", str(tmp_path / "job.toml"))
        until("a report of the other job", lambda: rows(leader.home, "SELECT 1 FROM report r JOIN replica p ON p.id = r.replica_id WHERE p.job_id = 2"))
        before = {bytes(digest) for (digest,) in rows(leader.home, "SELECT payload_sha256 FROM report")}
        os.kill(leader.process.pid, signal.SIGKILL)
        leader.process.wait(60)
        standby = stack.enter_context(running(tmp_path / "copy", "--standby", "--port", str(port), init=False))
        until("the other job", lambda: len(rows(standby.home, "SELECT 1 FROM job")) == 2)
        until("both jobs to end", lambda: not rows(standby.home, "SELECT 1 FROM job WHERE finished_at IS NULL"))
        states = rows(standby.home, "SELECT id, n_accepted FROM job ORDER BY id")
        standby.command("verify", "1")
        standby.command("verify", "2")
        after = {bytes(digest) for (digest,) in rows(standby.home, "SELECT payload_sha256 FROM report")}
        standby.command("ledger", "verify")
    assert states == [(1, TASKS), (2, TASKS)]
    assert before - after == set()
    assert rows(tmp_path / "copy", "SELECT execution, voided, count(*) FROM replica GROUP BY 1, 2") == [("reported", 0, 4 * TASKS)]
    assert begun(tmp_path) == sorted(f"{job}_{task}.{number}" for job in (1, 2) for task in range(TASKS) for number in (1, 2))
    assert rows(tmp_path / "copy", "SELECT number FROM epoch") == [(2,)]


@pytest.mark.slow
def test_what_is_put_back_twice_loses_nothing(tmp_path: Path) -> None:
    """Each time an epoch begins that nodes have not heard of: they bring what only the lost database had, once more."""
    (tmp_path / "job.toml").write_text(ARRAY)
    home, copy = tmp_path / "c", tmp_path / "copy.db"

    def reports() -> set[bytes]:
        return {bytes(digest) for (digest,) in rows(home, "SELECT payload_sha256 FROM report")}

    def all_ended() -> bool:
        return rows(home, "SELECT n_accepted FROM job") == [(TASKS,)]

    with reserved_port() as port, ExitStack() as stack:
        with running(home, "--port", str(port)) as server:
            for name in ("one", "two"):
                joined(server, tmp_path / name, "--name", name, "--owner", name)
            server.command("submit", str(tmp_path / "job.toml"))
            until("it to be placed", lambda: rows(home, "SELECT 1 FROM launch"))
            with closing(sqlite3.connect(home / "state.db")) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            for name in ("one", "two"):
                stack.enter_context(working(tmp_path / name))
            until("the job to end", all_ended)
            before = reports()
        for _ in range(2):
            for path in home.glob("state.db*"):
                path.unlink()
            shutil.copy(copy, home / "state.db")
            (home / "state.db").chmod(0o600)
            with running(home, "--standby", "--port", str(port), init=False) as server:
                until("every report to be there again", lambda: before - reports() == set(), 120)
                until("the job to end", all_ended)
                server.command("verify", "1")
    assert rows(home, "SELECT number FROM epoch") == [(3,)]
