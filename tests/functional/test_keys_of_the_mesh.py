"""The coordinator gets another key while nodes that joined work for it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import ARRAY, TASKS, begun, name_servers, rows, until
from servers import running

from nexapod_batch.agent.home import only_home
from nexapod_batch.agent.witness import read

if TYPE_CHECKING:
    from pathlib import Path

NODES = ("one", "two", "three")


def key_of(folder: Path) -> str:
    """Return the newest key of its coordinator that a node knows."""
    file = only_home(folder, None).keys_file
    return str(json.loads(file.read_text())["key"]) if file.exists() else ""


@pytest.mark.slow
def test_nodes_follow_the_coordinator_from_key_to_key(tmp_path: Path) -> None:
    """Bundles, heads and the roster are believed: by who works, by who was away twice, and by who joins later."""
    (tmp_path / "job.toml").write_text(ARRAY)
    with running(tmp_path / "c") as server, ExitStack() as stack:
        name_servers(tmp_path, server, server.port)
        for name in NODES[:2]:
            joined(server, tmp_path / name, "--name", name, "--owner", name)
        stack.enter_context(working(tmp_path / "one"))
        with working(tmp_path / "two"):
            server.command("submit", str(tmp_path / "job.toml"))
            until("a report", lambda: rows(server.home, "SELECT 1 FROM report"))
            server.command("key", "rotate", "coordinator")
            server.command("wait", "1")
            server.command("submit", str(tmp_path / "job.toml"), "--wait")
        server.command("key", "rotate", "coordinator")
        server.command("key", "rotate", "coordinator")
        joined(server, tmp_path / "three", "--name", "three", "--owner", "three")
        joined(server, tmp_path / "one", "--name", "one", "--owner", "one")  # again: it is the same coordinator
        for name in NODES[1:]:
            stack.enter_context(working(tmp_path / name))
        server.command("submit", "--agree", "3", "--distinct", "node", "--wait", "--", "true")
        newest = rows(server.home, "SELECT hex(public_key) FROM coordinator_key WHERE until IS NULL")[0][0].lower()
        until("the keys", lambda: [key_of(tmp_path / name) for name in NODES] == [newest] * 3)
        until("rosters", lambda: len(list(tmp_path.glob("*/agent/*/roster.json"))) == 3)
        until("heads", lambda: all(read(only_home(tmp_path / name, None).witness_file).note for name in NODES))
        states = rows(server.home, "SELECT id, n_accepted FROM job ORDER BY id")
        for job in ("1", "2", "3"):
            server.command("verify", job)
        server.command("ledger", "verify")
        refused = rows(server.home, "SELECT count(*) FROM replica WHERE execution NOT IN ('reported')")
    seen = [read(only_home(tmp_path / name, None).witness_file).trouble for name in NODES]
    assert (states, seen, refused) == ([(1, TASKS), (2, TASKS), (3, 1)], [""] * 3, [(0,)])
    assert len(begun(tmp_path)) == len(set(begun(tmp_path)))


@pytest.mark.slow
def test_keys_that_are_revoked_while_nodes_work(tmp_path: Path) -> None:
    """A node hears that it counts no more, its votes and launches are made good by others; the coordinator's word is given anew."""
    both = ("--agree", "2", "--distinct", "node")
    where = "SELECT n.name, r.execution FROM replica r JOIN node n ON n.id = r.node_id WHERE r.job_id = ? ORDER BY r.id"
    with running(tmp_path / "c") as server, ExitStack() as stack:
        keys = {}
        for name in NODES[:2]:
            keys[name] = joined(server, tmp_path / name, "--name", name, "--owner", name)["key"]
            stack.enter_context(working(tmp_path / name))
        server.command("submit", *both, "--wait", "--", "head", "-c", "300000", "/dev/zero")
        server.command("submit", *both, "--", "sleep", "1000")
        until("two to run", lambda: [one for one, _ in rows(server.home, where, "2")] in (["one", "two"], ["two", "one"]))
        joined(server, tmp_path / "three", "--name", "three", "--owner", "three")
        stack.enter_context(working(tmp_path / "three"))
        server.command("node", "drain", "one")
        said = server.command("key", "revoke", keys["one"], "--since", "0").stdout
        until("the node to hear of it", lambda: "was revoked" in (tmp_path / "one.run.err").read_text())
        until("the loss", lambda: ("one", "lost") in rows(server.home, where, "2"))
        until("another one to be asked", lambda: "three" in dict(rows(server.home, where, "2")))
        doubted = server.command("explain", "1").stdout
        server.command("retry", "1_0")
        server.command("wait", "1")
        server.command("verify", "1")
        server.command("cancel", "2")
        server.command("key", "rotate", "coordinator")
        again = server.command("key", "revoke", "coordinator", "--since", "10").stdout
        server.command("submit", *both, "--wait", "--", "true")
        for job in ("1", "3"):
            server.command("verify", job)
        server.command("ledger", "verify")
        until("heads", lambda: all(read(only_home(tmp_path / name, None).witness_file).note for name in NODES[1:]))
    assert ("1_0" in said, "are placed anew: 1" in said, "are signed anew: " in again) == (True, True, True)
    assert "the quorum is no longer met: replica" in doubted
    assert sorted(rows(server.home, where, "3")) == [("three", "reported"), ("two", "reported")]
    assert [read(only_home(tmp_path / name, None).witness_file).trouble for name in NODES[1:]] == ["", ""]
