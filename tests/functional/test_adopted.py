"""Launches of which a coordinator knows nothing, or nothing any more: what a stand-in and a late report make of them."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from homes import Home
from joined_nodes import JoinedNode

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.commands.takeover import take_over
from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.mesh.delegating import delegation_message, delegation_of, opened_bundle
from nexapod_batch.mesh.messages import Held
from nexapod_batch.trust.delegation import encode_delegation

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 6
JOB = f"""
[job]
name = "a"
command = ["sh", "-c", "echo 1 > a.txt"]
[[outputs]]
path = "a.txt"
[array]
ids = "1-{TASKS}"
[quorum]
agree = 2
distinct = "node"
"""


def held(node: JoinedNode) -> tuple[Held, ...]:
    """Return what a node takes along of the launches that it was given."""
    found = []
    for message in node.box.look():
        if message.bundle is not None:
            opened = opened_bundle(message.bundle.envelope.encode(), node.coordinators, node.signer.key_id)
            seed = bytes.fromhex(message.bundle.seed)
            delegation = encode_delegation(delegation_of(opened, seed)).decode()
            signature = node.signer.sign(delegation_message(opened, seed)).hex()
            found.append(
                Held(launch=opened.launch, envelope=message.bundle.envelope, delegation=delegation, signature=signature)
            )
    return tuple(found)


def copied(home: Home, folder: Path) -> Home:
    """Return a home with a copy of keys and database."""
    made = Home(folder, "copy")
    shutil.copytree(home.path / "keys", made.path / "keys")
    made.path.chmod(0o700)
    with (
        closing(sqlite3.connect(home.path / "state.db")) as source,
        closing(sqlite3.connect(made.path / "state.db")) as target,
    ):
        source.backup(target)
    (made.path / "state.db").chmod(0o600)
    return made


def reports(home: Home) -> tuple[int, int]:
    """Return how many reports are stored, and how many lines are in quarantine."""
    with closing(sqlite3.connect(home.path / "state.db")) as database:
        ((stored,),) = database.execute("SELECT count(*) FROM report")
        ((refused,),) = database.execute("SELECT count(*) FROM quarantine")
    return stored, refused


def numbers(home: Home) -> dict[int, list[int]]:
    """Return the numbers of the replicas of each task."""
    found: dict[int, list[int]] = {}
    with closing(sqlite3.connect(home.path / "state.db")) as database:
        for task, number in database.execute("SELECT task, number FROM replica ORDER BY task, number"):
            found.setdefault(task, []).append(number)
    return found


def test_numbers_that_no_node_brought_are_given_again(tmp_path: Path) -> None:
    """The former leader had placed two replicas of each task; only one node had fetched its own."""
    leader = Home(tmp_path)
    for name in ("one", "two"):
        JoinedNode(leader, name)
    copy = copied(leader, tmp_path)
    assert leader.submit(JOB).code == 0
    brought = held(JoinedNode(leader, "two"))
    with open_coordinator(Paths.of(copy.path)) as c:
        take_over(c)
    JoinedNode(copy, "two").say(epoch=2, holds=brought, holds_no_more=True)
    assert copy.call("reconcile").code == 0
    before = numbers(copy)
    JoinedNode(copy, "one").say(epoch=2, holds_no_more=True)
    assert copy.call("reconcile").code == 0
    assert len(before) == TASKS
    assert [2] in before.values()
    assert numbers(copy) == {task: [1, 2] for task in before}


def test_a_report_after_the_launch_was_forgotten_counts(tmp_path: Path) -> None:
    """A node was silent for hours, and what it had was given up; what it signed meanwhile is a vote."""
    home = Home(tmp_path)
    node = JoinedNode(home, "one")
    assert home.submit(JOB.replace("agree = 2", "agree = 1")).code == 0
    given = node.take()
    node.box.keep_seen(time.time() - 10_000)
    for _ in range(3):  # it is lost, then forgotten
        assert home.call("reconcile").code == 0
    assert not list((node.box.spool / "given").iterdir())
    for replica in given:
        node.report(replica, node.statement(replica, {"a.txt": b"1\n"}))
    assert home.call("reconcile").code == 0
    assert reports(home) == (len(given), 0)
