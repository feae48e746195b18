"""Nodes as witnesses of a real coordinator: its database is put back to an older copy, and they see it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import ARRAY, TASKS, begun, command, reserved_port, rows, until
from homes import Home
from msgspec import json as msgjson
from servers import running

from nexapod_batch.agent.home import AgentHome
from nexapod_batch.agent.witness import Witnessed, entries, read
from nexapod_batch.files import keyfile
from nexapod_batch.ledger.checkpoint import Head, checkpoint, head_of
from nexapod_batch.ledger.note import cosigned, parse
from nexapod_batch.mesh.mailbox import Cosigned
from nexapod_batch.mesh.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

NODES = ("one", "two")


def seen(tmp_path: Path) -> list[Witnessed]:
    """Return what each node has seen of the ledger."""
    return [read(tmp_path / name / "agent" / name / "witness.json") for name in NODES]


def signed(home: Path) -> int:
    """Return how many entries the newest head has that a coordinator signed."""
    return int(rows(home, "SELECT max(size) FROM checkpoint")[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("is_noticed", [True, False], ids=["noticed", "said"])
def test_a_coordinator_that_is_put_back_to_an_older_copy(tmp_path: Path, is_noticed: bool) -> None:
    """Reports come again, tasks end, nothing runs twice; nodes take no work until a new epoch says what is missing.

    A pass begins it, although no launch is missing; where it cannot know, a person does.
    """
    (tmp_path / "job.toml").write_text(ARRAY)
    copy, home = tmp_path / "copy.db", tmp_path / "c"
    with reserved_port() as port, ExitStack() as stack:
        at = ("--port", str(port))
        with running(home, *at) as server:
            for name in NODES:
                joined(server, tmp_path / name, "--name", name, "--owner", name)
                stack.enter_context(working(tmp_path / name))
            server.command("submit", str(tmp_path / "job.toml"))
            # what is placed later is unknown to the copy, and nodes take nothing new from it
            until("all to be placed", lambda: rows(home, "SELECT count(*) FROM replica")[0][0] >= 2 * TASKS)
            until("a report", lambda: rows(home, "SELECT 1 FROM report"))
            server.command("db", "backup", str(copy))
            size = signed(home)
            server.command("owner", "new", "somebody")  # the copy is older, also where the job had ended by then
            server.command("wait", "1")
            until("a longer head", lambda: signed(home) > size)
            size = json.loads(server.command("ledger", "head", "--json").stdout)["size"]
            before = {bytes(digest) for (digest,) in rows(home, "SELECT payload_sha256 FROM report")}
        with running(home, *at, init=False) as server:  # nodes look at the ledger when they come back
            until("heads", lambda: all(entries(one) >= size for one in seen(tmp_path)))
            cosigned = json.loads(server.command("ledger", "head", "--cosigned", "--json").stdout)
            (tmp_path / "head").write_text(cosigned["checkpoint"])
            keys = [word for key in cosigned["witnesses"] for word in ("--witness", key)]
            server.command("ledger", "verify", "--since", str(tmp_path / "head"), *keys)
        command(home, "db", "restore", str(copy))
        if not is_noticed:
            (home / "newest-head").unlink()
        with running(home, *at, init=False) as server:
            until("the nodes to see it", lambda: all(one.gap if is_noticed else one.trouble for one in seen(tmp_path)))
            until("the job to end again", lambda: not rows(home, "SELECT 1 FROM job WHERE finished_at IS NULL"))
            until("every report", lambda: before <= {bytes(one) for (one,) in rows(home, "SELECT payload_sha256 FROM report")})
            states = rows(home, "SELECT id, n_accepted FROM job")
            server.command("verify", "1")
        with running(home, *at, *([] if is_noticed else ["--standby"]), init=False) as server:
            until("the nodes to follow", lambda: not any(one.trouble for one in seen(tmp_path)))
            shown = command(tmp_path / "one", "node", "status", "one")
            server.command("submit", "--agree", "1", "--wait", "--", "true")
            server.command("ledger", "verify")
    assert {key.partition("+")[0] for key in cosigned["witnesses"]} <= set(NODES)
    assert states == [(1, TASKS)]
    assert all(one.gap.startswith("epoch 2 began from an older copy") for one in seen(tmp_path))
    assert "  but:     epoch 2 began from an older copy: " in shown
    first = [name for name in begun(tmp_path) if name.startswith("1_")]
    assert len(first) == len(set(first))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--standby",)], ids=["noticed", "said"])
def test_what_a_restored_copy_never_heard_of(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A job ends under its own number, new ones get others, no report is refused, no attempt spent, and nothing runs twice."""
    (tmp_path / "job.toml").write_text(ARRAY)
    copy, home = tmp_path / "copy.db", tmp_path / "c"
    with reserved_port() as port, ExitStack() as stack:
        at = ("--port", str(port))
        with running(home, *at) as server:
            for name in NODES:
                joined(server, tmp_path / name, "--name", name, "--owner", name)
                stack.enter_context(working(tmp_path / name))
            server.command("db", "backup", str(copy))
            server.command("submit", str(tmp_path / "job.toml"))
            until("a report", lambda: rows(home, "SELECT 1 FROM report"))
        command(home, "db", "restore", str(copy))
        with running(home, *at, *options, init=False) as server:
            until("the job", lambda: rows(home, "SELECT 1 FROM job"))
            new = json.loads(server.command("submit", "--agree", "1", "--wait", "--json", "--", "true").stdout)
            until("all to end", lambda: not rows(home, "SELECT 1 FROM job WHERE finished_at IS NULL"))
            states = rows(home, "SELECT id, n_accepted FROM job WHERE id = 1")
            replicas = rows(home, "SELECT count(*) FROM replica WHERE job_id = 1")
            server.command("verify", "1")
            server.command("ledger", "verify")
            refused = rows(home, "SELECT reason FROM quarantine")
    assert (states, replicas, refused) == ([(1, TASKS)], [(2 * TASKS,)], [])
    assert new["job"] > 1_000
    names = begun(tmp_path)
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_a_coordinator_that_shows_two_nodes_two_ledgers(tmp_path: Path) -> None:
    """A node that is shown what another signed for takes no work; people who carry heads see it as well."""
    home = tmp_path / "c"
    with running(home) as server, ExitStack() as stack:
        for name in NODES:
            joined(server, tmp_path / name, "--name", name, "--owner", name)
        stack.enter_context(working(tmp_path / "two"))
        until("a head", (home / "spool/two/cosigned.json").exists)
        stack.enter_context(working(tmp_path / "one"))
        until("to agree", lambda: "two" in seen(tmp_path)[0].agreeing)
        shown = command(tmp_path / "one", "node", "status", "one")
        for name in NODES:
            (tmp_path / f"{name}.head").write_text(command(tmp_path / name, "node", "witness"))
        agreed = command(tmp_path / "one", "node", "witness", "--with", str(tmp_path / "two.head"))
    size = json.loads(command(home, "ledger", "head", "--json"))["size"]
    signer, two = keyfile.load(home / "keys/coordinator"), AgentHome(tmp_path / "two/agent/two").signer()
    origin = head_of(parse((tmp_path / "two.head").read_text())).origin
    other = str(cosigned(checkpoint(Head(origin, size, b"x" * 32), signer), "two", two, 1))
    (home / "spool/two/cosigned.json").write_bytes(msgjson.encode(Cosigned(note=other, epoch=1)))
    (tmp_path / "other").write_text(other)
    with running(home, "--port", str(server.port), init=False) as server:
        with working(tmp_path / "one"):
            until("it to see", lambda: "node two was shown another past" in seen(tmp_path)[0].trouble)
            note = home / "spool/one/node-note.json"
            until("the coordinator to hear", lambda: b"another past" in note.read_bytes())
        argv = ("node", "witness", "--with", str(tmp_path / "other"))
        failed = Home(tmp_path, "one").call(*argv)
    assert "it continues what 1 other node saw: two at " in shown
    assert agreed.startswith("one ledger of ")
    assert (failed.code, "who has that head was shown another past" in failed.err) == (1, True)


def test_what_a_lost_database_said_last_is_not_said_to_nodes(tmp_path: Path) -> None:
    """Its launches that no node has taken would run under names that are given out anew; those of the copy stay."""
    copy, home = tmp_path / "copy.db", tmp_path / "c"
    outbox = home / "spool/one/outbox"
    with running(home) as server:
        joined(server, tmp_path / "one", "--name", "one", "--owner", "one")
        server.command("submit", "--agree", "1", "--", "true")
        until("a launch", lambda: any(outbox.glob("launch-*")))
        known = {path.name for path in outbox.iterdir()}
        server.command("db", "backup", str(copy))
        server.command("submit", "--agree", "1", "--", "true")
        until("another one", lambda: len(list(outbox.glob("launch-*"))) == 2)
    (outbox / "discard-x").write_bytes(msgjson.encode(Message(name="discard-x", discard=("x-0.jsonl",))))
    command(home, "db", "restore", str(copy))
    command(home, "reconcile")
    assert rows(home, "SELECT max(number) FROM epoch") == [(2,)]
    assert {path.name for path in outbox.iterdir()} == known
