"""Nodes that joined and end: by a signal, with work under way, and for good by `node leave`."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from functional.test_mesh import joined
from functional.test_standby import begun, rows, until
from homes import PROGRAM
from servers import environment, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests."""
    with running(tmp_path_factory.mktemp("leaving") / "c") as made:
        yield made


def leave(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `node leave` on a home."""
    argv = [PROGRAM, "node", "leave", *options]
    return subprocess.run(argv, env=environment(home), capture_output=True, text=True, check=False, timeout=120)


def started(home: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `node run` on a home."""
    argv = [PROGRAM, "node", "run", "--page-port", "off", *options]
    return subprocess.Popen(argv, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def is_active(server: Running, name: str) -> bool:
    """Say whether the coordinator gives a node work."""
    return (name, 1) in rows(server.home, "SELECT name, active FROM node")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_ends_a_node_with_work_under_way(server: Running, tmp_path: Path, number: signal.Signals) -> None:
    """It ends well and soon; what runs goes on, is reported by the next `node run`, and was begun once."""
    name = f"node{number.value}"
    joined(server, tmp_path / "n", "--name", name, "--owner", name)
    server.command("submit", "--agree", "1", "--replicas", "1", "--time", "10", "--name", name, "--", "sleep", "2")
    node = started(tmp_path / "n")
    until("the command to begin", lambda: begun(tmp_path))
    node.send_signal(number)
    assert node.wait(120) == 0
    again = started(tmp_path / "n", "--until-idle")
    until("the job to end", lambda: (name, 1) in rows(server.home, "SELECT name, n_accepted FROM job"))
    again.send_signal(number)
    assert again.wait(120) == 0
    assert len(begun(tmp_path)) == 1
    assert leave(tmp_path / "n", "--force").returncode == 0
    assert not is_active(server, name)


def test_a_node_at_rest_leaves(server: Running, tmp_path: Path) -> None:
    """The coordinator is told and places nothing more there; of the node nothing is here, and a second time there is none."""
    joined(server, tmp_path / "n", "--name", "rested", "--owner", "rested")
    assert is_active(server, "rested")
    done = leave(tmp_path / "n", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"schema": 1, "node": "rested", "left": True, "told": True})
    assert not is_active(server, "rested")
    assert list((tmp_path / "n/agent").iterdir()) == []
    assert leave(tmp_path / "n").returncode == 66


def test_a_node_that_waits_to_be_approved_leaves(server: Running, tmp_path: Path) -> None:
    """Nobody knows it yet: nothing is to be told."""
    joined(server, tmp_path / "n", "--name", "early", token=False)
    assert leave(tmp_path / "n").returncode == 0
    assert list((tmp_path / "n/agent").iterdir()) == []


def test_a_node_that_runs_does_not_leave(server: Running, tmp_path: Path) -> None:
    """Not even by force: two would work with one key. Its files stay."""
    joined(server, tmp_path / "n", "--name", "busy", "--owner", "busy")
    node = started(tmp_path / "n")
    until("the node to call", (server.home / "spool/busy/seen").exists)
    done = leave(tmp_path / "n", "--force")
    node.send_signal(signal.SIGTERM)
    assert node.wait(120) == 0
    assert (done.returncode, "runs already" in done.stderr) == (75, True)
    assert (tmp_path / "n/agent/busy/key").exists()
    assert leave(tmp_path / "n", "--force").returncode == 0


def test_a_node_whose_coordinator_is_gone_leaves_by_force_alone(tmp_path: Path) -> None:
    """Without it the files stay, for reports may be among them; with it that nobody was told is said."""
    with running(tmp_path / "c") as server:
        joined(server, tmp_path / "n", "--name", "alone", "--owner", "alone")
    refused = leave(tmp_path / "n")
    assert (refused.returncode, (tmp_path / "n/agent/alone/key").exists()) == (69, True)
    done = leave(tmp_path / "n", "--force", "--json")
    assert (done.returncode, json.loads(done.stdout)["told"]) == (0, False)
    assert list((tmp_path / "n/agent").iterdir()) == []
