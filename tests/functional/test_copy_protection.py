"""What a node reports of a replica is bound before and after: by its commitment, and by having had the outputs."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from forging import line_of
from homes import Home
from joined_nodes import JoinedNode

from nexapod_batch.mesh.commitment import commitments_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nexapod_batch.trust.statement import Statement

JOB = """
[job]
name = "a"
command = ["sh", "-c", "echo 1 > a.txt"]
[[outputs]]
path = "a.txt"
[array]
ids = "0-5"
[quorum]
agree = 2
distinct = "owner"
"""
TRUE, FALSE = {"a.txt": b"1\n"}, {"a.txt": b"2\n"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home, without workers afterwards."""
    one = Home(tmp_path)
    yield one
    one.end()


class Mesh:
    """A home, two nodes of two owners, and the replicas that each of them was given: of each task one."""

    def __init__(self, home: Home) -> None:
        """Submit a job that both of them are to run; the honest node reports all of it."""
        self.home = home
        self.honest, self.other = JoinedNode(home, "honest"), JoinedNode(home, "other")
        assert home.submit(JOB).code == 0
        self.replicas = {given.name.task: given for given in self.other.take()}
        self.theirs = {given.name.task: given for given in self.honest.take()}
        for given in self.theirs.values():
            self.honest.report(given, self.honest.statement(given, TRUE), carried=carried(TRUE))
        self._said: dict[int, Statement] = {}

    def said(self, task: int, **changes: Any) -> Statement:
        """Return what the other node would state if it were honest, the same each time, with changes."""
        if task not in self._said:
            self._said[task] = self.other.statement(self.replicas[task], TRUE)
        return self._said[task]._replace(**changes)

    def lie(self, task: int) -> Statement:
        """Return another statement of the other node."""
        return self.other.statement(self.replicas[task], FALSE)

    def line(self, task: int, said: Statement | None = None) -> bytes:
        """Return a report line of the other node."""
        return line_of(self.replicas[task].key, said or self.said(task))

    def passes(self) -> None:
        """Let a pass be made."""
        assert self.home.call("reconcile").code == 0

    def states(self) -> list[str]:
        """Return the states of the tasks."""
        return [task["state"] for task in self.home.json("show", 1)["tasks"]]

    def blame(self) -> int:
        """Return how often the other node is blamed."""
        return int(self.home.json("node", "show", "other")["node"]["blame"])

    def refused(self) -> dict[str, str]:
        """Return why lines were refused, by replica."""
        with closing(sqlite3.connect(self.home.path / "state.db")) as connection:
            reasons = [json.loads(row[0]) for row in connection.execute("SELECT reason FROM quarantine")]
        return {one["parameters"]["replica"]: one["code"] for one in reasons}


def carried(data: dict[str, bytes]) -> str:
    """Return outputs as they travel with a report."""
    found = {name: base64.b64encode(one).decode() for name, one in data.items()}
    return json.dumps({**found, "stdout": "", "stderr": ""})


def nothing_before(mesh: Mesh, task: int) -> None:
    """Report without a commitment."""
    mesh.other.send(mesh.line(task), carried(TRUE))


def something_else(mesh: Mesh, task: int) -> None:
    """Commit to one answer, and report another one."""
    mesh.other.report(mesh.replicas[task], mesh.said(task), committed=mesh.lie(task), carried=carried(TRUE))


def commits_twice(mesh: Mesh, task: int) -> None:
    """Commit to one answer, then to another, and report that: the first one counts."""
    mesh.other.say(committed=commitments_to([mesh.line(task, mesh.lie(task))]))
    mesh.other.report(mesh.replicas[task], mesh.said(task), carried=carried(TRUE))


def no_tag(mesh: Mesh, task: int) -> None:
    """Report outputs without a word of having had them."""
    mesh.other.report(mesh.replicas[task], mesh.said(task, possession=""), carried=carried(TRUE))


def wrong_tag(mesh: Mesh, task: int) -> None:
    """Bring the files, with a tag that was made up."""
    mesh.other.report(mesh.replicas[task], mesh.said(task, possession="0" * 64), carried=carried(TRUE))


def committed_for_another(mesh: Mesh, task: int) -> None:
    """Let the node that has nothing to do with it commit to the replica: that is no commitment of this one."""
    mesh.honest.say(committed=commitments_to([mesh.line(task)]))
    mesh.other.send(mesh.line(task), carried(TRUE))


REFUSED: dict[str, tuple[Callable[[Mesh, int], None], int, str]] = {
    "without a commitment": (nothing_before, 0, "report.uncommitted"),
    "another than committed": (something_else, 1, "report.other_than_committed"),
    "the second commitment": (commits_twice, 1, "report.other_than_committed"),
    "without a tag": (no_tag, 0, "report.without_possession"),
    "a wrong tag": (wrong_tag, 1, "report.contradicts"),
    "another node's commitment": (committed_for_another, 0, "report.uncommitted"),
}


def test_reports_that_are_no_vote(home: Home) -> None:
    """Each is refused with its reason, blamed where no honest node does it, and the task waits for somebody else."""
    mesh = Mesh(home)
    for task, (act, _, _) in enumerate(REFUSED.values()):
        act(mesh, task)
    theirs = mesh.theirs[0]
    mesh.other.report(theirs, mesh.honest.statement(theirs, TRUE))  # as if the lease of the other were its own
    mesh.passes()
    wanted = {str(mesh.replicas[task].name): code for task, (_, _, code) in enumerate(REFUSED.values())}
    assert mesh.refused() == {**wanted, str(theirs.name): "report.other_node"}
    assert mesh.blame() == sum(blame for _, blame, _ in REFUSED.values())
    assert mesh.states() == ["active"] * len(REFUSED)


def test_an_older_copy_of_the_database_reads_reports_and_commitments_again(home: Home, tmp_path: Path) -> None:
    """Segments that are still here were bound before: nothing of them is lost, and a lie does not become a vote."""
    mesh = Mesh(home)
    for task in mesh.replicas:
        if task:
            once(mesh, task)
        else:
            something_else(mesh, task)
    copy = tmp_path / "copy.db"
    assert home.call("db", "backup", copy).code == 0
    for epoch in (1, 2):
        mesh.passes()
        if epoch > 1:  # begun by that pass: nothing counts before the nodes have named what they hold
            for node in (mesh.honest, mesh.other):
                node.say(epoch=epoch, holds_no_more=True)
            mesh.passes()
        assert mesh.states() == ["active"] + ["accepted"] * 5
        assert mesh.refused() == {str(mesh.replicas[0].name): "report.other_than_committed"}
        assert home.call("db", "restore", copy).code == 0


def once(mesh: Mesh, task: int) -> None:
    """Commit and report, as agents do."""
    mesh.other.report(mesh.replicas[task], mesh.said(task), carried=carried(TRUE))


def late(mesh: Mesh, task: int) -> None:
    """Let the report arrive before its commitment, which is there when somebody looks."""
    mesh.other.send(mesh.line(task), carried(TRUE))
    mesh.other.say(committed=commitments_to([mesh.line(task)]))


def several_times(mesh: Mesh, task: int) -> None:
    """Commit again and again: before a pass, after it, and beside the report, which comes twice as well."""
    for _ in range(2):
        mesh.other.say(committed=commitments_to([mesh.line(task)]))
    mesh.passes()
    for _ in range(2):
        mesh.other.report(mesh.replicas[task], mesh.said(task), carried=carried(TRUE))
    mesh.other.say(committed=commitments_to([mesh.line(task)]))


def lost_file(mesh: Mesh, task: int) -> None:
    """Lose the commitment before it was taken in, as a disk that was put back may; the node sends both again."""
    folder = mesh.other.box.spool / "committed"
    before = set(folder.iterdir())
    mesh.other.say(committed=commitments_to([mesh.line(task)]))
    for path in set(folder.iterdir()) - before:
        path.unlink()
    mesh.other.report(mesh.replicas[task], mesh.said(task), carried=carried(TRUE))


def among_others(mesh: Mesh, task: int) -> None:
    """Commit in one call to replicas that there are not as well."""
    more = {"1_0.99": "0" * 64, "77_1.1": "1" * 64}
    mesh.other.say(committed={**more, **commitments_to([mesh.line(task)])})
    mesh.other.send(mesh.line(task), carried(TRUE))


def copies(mesh: Mesh, task: int) -> None:
    """Sign the digest of the others without ever having had the bytes, and bring none."""
    mesh.other.report(mesh.replicas[task], mesh.said(task, possession="0" * 64))


COUNTED = (once, late, several_times, lost_file, among_others)


def test_commitments_that_come_late_twice_or_anew(home: Home) -> None:
    """Whatever was repeated, both votes count and verify; who copied a digest loses its vote when the bytes are here."""
    mesh = Mesh(home)
    for task, act in enumerate((*COUNTED, copies)):
        act(mesh, task)
    mesh.passes()
    mesh.passes()
    assert (mesh.states(), mesh.refused(), mesh.blame()) == (["accepted"] * 6, {}, 1)
    assert list((mesh.other.box.spool / "committed").iterdir()) == []
    tasks = home.json("show", 1)["tasks"]
    why = [sorted((one["validation"], (one["why"] or {}).get("code", "")) for one in task["replicas"]) for task in tasks]
    assert why == [[("valid", ""), ("valid", "")]] * 5 + [[("inconclusive", "replica.not_possessed"), ("valid", "")]]
    assert "never had the outputs" in home.call("explain", "1_5").out
    done = home.call("verify", "1")
    bad = {line.split()[1].partition(".")[0] for line in done.out.splitlines() if line.startswith("FAIL")}
    assert (done.code, bad, done.out.count("of 2 agree, from 2 sites")) == (1, {"1_5"}, 6)


def test_two_reports_void_a_replica_whatever_was_committed(home: Home) -> None:
    """A second statement takes the vote that the first one had."""
    mesh = Mesh(home)
    once(mesh, 0)
    mesh.passes()
    mesh.other.report(mesh.replicas[0], mesh.lie(0), carried=carried(FALSE))
    mesh.passes()
    assert (mesh.blame(), mesh.refused()) == (1, {})
    assert [one["voided"] for one in home.json("show", 1)["tasks"][0]["replicas"]].count(True) == 1
