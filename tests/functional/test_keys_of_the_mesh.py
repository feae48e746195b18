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
