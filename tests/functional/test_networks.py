"""Nodes that join from one network, by a real registry: where replicas go, what the ledger and `explain` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homes import Home
from joined_nodes import JoinedNode

if TYPE_CHECKING:
    from pathlib import Path

JOB = '[job]\nname = "a"\ncommand = ["true"]\n[quorum]\nagree = 2\ndistinct = "owner"\n'


def test_neighbours_never_get_the_same_task(tmp_path: Path) -> None:
    """Not the second node of a /24, nor one that comes to call from there; one from elsewhere gets it at once."""
    home = Home(tmp_path)
    first, neighbour = JoinedNode(home, "first", "198.51.100.7"), JoinedNode(home, "neighbour", "198.51.100.200")
    assert home.submit(JOB).code == 0
    assert sorted(len(one.take()) for one in (first, neighbour)) == [0, 1]
    assert "of the same network (a /24" in home.call("explain", "1").out
    traveller = JoinedNode(home, "traveller", "203.0.113.9")
    traveller.box.note_network("198.51.100.0/24")  # as the server does when a node calls from there
    assert home.call("reconcile").code == 0
    assert len(traveller.take()) == 0
    elsewhere = JoinedNode(home, "elsewhere", "192.0.2.77")
    assert home.call("reconcile").code == 0
    assert len(elsewhere.take()) == 1
    seen = [entry["network"] for entry in home.json("ledger", "log")["entries"] if entry.get("kind") == "seen"]
    assert sorted(seen) == ["192.0.2.0/24", "198.51.100.0/24", "198.51.100.0/24", "198.51.100.0/24", "203.0.113.0/24"]
    done = home.call("ledger", "verify")
    assert done.code == 0, done.out + done.err
    home.end()
