"""Owners of nodes that joined: who gets work by whose word, what is told of it, and that the ledger has it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from functional.test_copy_protection import carried
from functional.test_mesh import joined
from homes import Home
from joined_nodes import JoinedNode
from msgspec import json as msgjson
from servers import running

from nexapod_batch.agent.client import Client
from nexapod_batch.agent.home import AgentHome
from nexapod_batch.mesh.messages import Answer, WorkCall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = '[job]\nname = "a"\ncommand = ["true"]\n[[outputs]]\npath = "a"\n[quorum]\nagree = 2\ndistinct = "owner"\n'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home, without workers afterwards."""
    made = Home(tmp_path)
    yield made
    made.end()


def states(home: Home) -> dict[str, str]:
    """Return the state of each owner."""
    return {row["owner"]: row["state"] for row in home.json("owner", "ls")["owners"]}


@pytest.mark.parametrize("owner", ["lab", "Lab of Ana", "ann@lab.example"])
def test_an_owner_of_a_node_here_and_of_one_that_joined_is_one(home: Home, owner: str) -> None:
    """Where owners must differ they are no quorum, and of a task they never have two replicas."""
    assert home.call("node", "init", "--name", "here", "--owner", owner).code == 0
    near = JoinedNode(home, "near", owner=owner)
    refused = home.submit(JOB)
    assert (refused.code, "1 in reach" in refused.err) == (65, True), refused.err
    far = JoinedNode(home, "far", owner=f"not {owner}")
    assert home.submit(JOB).code == 0
    placed = [one["node"] for one in home.json("show", "last")["tasks"][0]["replicas"]]
    assert "far" in placed
    assert len(placed) == 2
    assert len(far.take()) == 1
    assert len(near.take()) == placed.count("near")


@pytest.mark.parametrize("name", ["ann ", " ann", "../ann", "ann\n", "a" * 129, "\u00e4nn", ""], ids=range(7))
def test_what_is_no_owner_is_refused_wherever_it_is_said(home: Home, name: str) -> None:
    """Of a node of this machine, of a site and in the settings: who looks like another is not he."""
    assert home.call("node", "init", "--name", "here", "--owner", "ann").code == 0
    assert home.call("owner", "new", name).code == 2
    if name:
        assert home.call("node", "init", "--name", "other", "--owner", name).code == 2
    (home.path / "sites.d").mkdir(mode=0o700)
    site = f'schema = 1\n[site]\nname = "s"\nowner = {json.dumps(name)}\n[scheduler]\ntype = "local"\n[[partitions]]\nname = "p"\n'
    (home.path / "sites.d/s.toml").write_text(site + 'hosts = 1\nmax_time = "1h"\nmax_cpus = 1\nmax_mem = "1G"\n')
    assert "site.owner" in home.call("site", "check", "s").out
    (home.path / "config.toml").write_text(f"owner = {json.dumps(name)}\n")
    done = home.call("node", "init", "--name", "other")
    assert (done.code, "owner" in done.err) == (78, True), done.err
    (home.path / "config.toml").unlink()


def test_an_owner_who_waits_does_not_count(home: Home) -> None:
    """Not for a quorum in reach, and its node gets nothing; once approved both are so."""
    JoinedNode(home, "ann")
    late = JoinedNode(home, "late", approved=False)
    refused = home.submit(JOB)
    assert refused.code == 65
    assert "its owner owner of late waits to be approved" in refused.err
    assert states(home) == {"owner of ann": "approved", "owner of late": "waits"}
    assert home.call("owner", "approve", "owner of late").code == 0
    assert home.submit(JOB).code == 0
    assert len(late.take()) == 1


def test_a_suspended_owner_gets_no_more_and_what_it_has_counts(home: Home) -> None:
    """A replica that was placed before is a vote; of the next job it gets none, and who submits is told."""
    ann, bob = JoinedNode(home, "ann"), JoinedNode(home, "bob")
    assert home.submit(JOB).code == 0
    assert home.call("owner", "suspend", "owner of bob").code == 0
    for node in (ann, bob):
        (given,) = node.take()
        node.report(given, node.statement(given, {"a": b"1"}), carried=carried({"a": b"1"}))
    assert home.call("wait", "1").code == 0
    carol = JoinedNode(home, "carol")
    done = home.submit(JOB)
    assert (done.code, "is left out: its owner owner of bob is suspended" in done.err) == (0, True)
    assert [len(node.take()) for node in (ann, bob, carol)] == [1, 0, 1]


def test_more_nodes_change_nothing_for_who_is_suspended(home: Home) -> None:
    """Neither a new node of that owner, nor the same one that joins again, lets it in; only a word does."""
    JoinedNode(home, "one", owner="bob")
    assert home.call("owner", "suspend", "bob").code == 0
    for name in ("two", "one"):
        JoinedNode(home, name, owner="bob")
    assert states(home) == {"bob": "suspended"}
    assert home.json("owner", "ls")["owners"][0]["nodes"] == "one, two"


@pytest.mark.parametrize(
    ("words", "code"),
    {
        "one who is new": (("new", "ann@lab.example"), 0),
        "one who is there already": (("new", "bob"), 2),
        "nobody": (("approve", "nobody"), 66),
        "nobody to suspend": (("suspend", "nobody"), 66),
        "no name": (("new", "../bob"), 2),
        "one that is approved already": (("approve", "bob"), 0),
    }.values(),
    ids=("new", "there", "nobody", "suspend", "no-name", "again"),
)  # fmt: skip
def test_what_may_be_said_of_owners(home: Home, words: tuple[str, ...], code: int) -> None:
    """Each fault has its sentence and its exit code, and changes nothing; the ledger holds afterwards."""
    JoinedNode(home, "one", owner="bob")
    done = home.call("owner", *words)
    assert done.code == code, done.err
    assert states(home)["bob"] == "approved"
    assert home.call("ledger", "verify").code == 0


@pytest.mark.parametrize(
    "change",
    ["UPDATE owner SET state = 'approved'", "DELETE FROM owner", "INSERT INTO owner VALUES ('eve', 'approved', 1, 'root')"],
    ids=["changed", "gone", "made"],
)
def test_owners_are_audited(home: Home, change: str) -> None:
    """Whoever changes the table by hand is found by `ledger verify`."""
    JoinedNode(home, "one", owner="bob")
    assert home.call("owner", "suspend", "bob").code == 0
    with closing(sqlite3.connect(home.path / "state.db")) as database, database:
        database.execute(change)
    done = home.call("ledger", "verify")
    assert (done.code, "owner " in done.out + done.err) == (1, True)


def test_a_server_that_asks_for_a_word_on_each_owner(tmp_path: Path) -> None:
    """A join token brings the node in, but not its owner; the node is told what it waits for, and then no more."""
    with running(tmp_path / "c", "--approve-owners") as server:
        assert joined(server, tmp_path / "one", "--name", "one", "--owner", "ann")["state"] == "active"
        agent = AgentHome(tmp_path / "one/agent/one")
        client = Client(agent.settings().url, agent.settings().pin, agent.signer())

        def why() -> str:
            call = WorkCall(poll="0" * 32, wait_s=0.1)
            return msgjson.decode(client.post("/v1/work", msgjson.encode(call)), type=Answer).why

        before = why()
        rows = json.loads(server.command("owner", "ls", "--json").stdout)["owners"]
        server.command("owner", "approve", "ann")
        while "not approved" in (after := why()):  # keys and owners are read again once a second
            pass
        client.close()
    assert "its owner ann is not approved" in before
    assert [(row["owner"], row["state"]) for row in rows] == [("ann", "waits")]
    assert rows[0]["by"].startswith("token ")
    assert after == "no job is open"
