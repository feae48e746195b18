"""A winner that is voided after acceptance: the result stays, and everybody is told that its quorum is no longer met."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from forging import line_of, said_in, stolen_key
from homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """[job]
name = "one"
command = ["sh", "-c", "echo 1 > a.txt"]
[quorum]
distinct = "run"
[[outputs]]
path = "a.txt"
"""
WHY = "replica 2 signed two different statements, and 1 of 2 needed still agree"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home whose job 1 was accepted, and of which one winner then signed something else."""
    one = Home(tmp_path)
    assert one.submit(JOB).code == 0
    thief = stolen_key(one, "1_0.2")
    assert one.call("wait", "1").code == 0
    assert one.call("verify", "1").code == 0
    (said,) = [said for said in map(said_in, one.lines()) if said.replica.number == 2]
    line = line_of(thief, said._replace(wall_ms=said.wall_ms + 1))
    (one.spool() / "reports" / "zz-second.jsonl").write_bytes(line + b"\n")
    assert one.json("reconcile")["quarantined"] == 0
    yield one
    one.end()


def test_everybody_is_told(home: Home) -> None:
    """Listing, showing, explaining, waiting, results and verify say it, with the way out; the result stays."""
    (task,) = home.json("show", 1)["tasks"]
    assert (task["state"], task["doubt"], task["published"]) == ("accepted", WHY, True)
    assert [one["validation"] for one in task["replicas"]] == ["valid", "invalid"]
    assert home.jobs()[0]["n_doubted"] == 1
    assert "(in doubt)" in home.call("ls").out
    for argv in (("show", "1"), ("explain", "1"), ("wait", "1")):
        said = home.call(*argv).out
        assert WHY in said, argv
        assert "nexapod-batch retry 1_0" in said, argv
    results = home.call("results", "1")
    assert results.out.strip().endswith("/results/1/0")
    assert WHY in results.err
    verify = home.call("verify", "1")
    assert verify.code == 1
    assert f"the quorum is no longer met: {WHY}; nexapod-batch retry 1_0" in verify.out
    assert home.proof_code(1) == 1
    assert (home.path / "results/1/0/a.txt").read_text() == "1\n"


def test_two_statements_for_one_winner_do_not_pass(home: Home) -> None:
    """Taking back that it is void, and the doubt, leaves two statements, and that is said."""
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("UPDATE replica SET voided = 0, execution = 'reported', validation = 'valid', reason = ''")
        connection.execute("UPDATE task SET doubt = ''")
        connection.commit()
    done = home.call("verify", "1")
    assert done.code == 1
    assert "it signed two different statements, and is not void" in done.out


def test_the_way_out_leads_out(home: Home) -> None:
    """After `retry` another replica agrees, the doubt is gone, and the result is the same file."""
    assert home.call("retry", "1_0").code == 0
    assert home.call("wait", "1").code == 0
    (task,) = home.json("show", 1)["tasks"]
    assert (task["state"], task["doubt"], task["published"]) == ("accepted", "", True)
    assert [one["validation"] for one in task["replicas"]] == ["valid", "unneeded", "valid"]
    assert home.call("verify", "1").code == 0
    assert home.json("ls")["jobs"][0]["n_doubted"] == 0


def test_nothing_else_reopens_an_accepted_task(home: Home) -> None:
    """`retry` of an accepted job without doubt does nothing, also after the doubt was cleared."""
    home.call("retry", "1_0")
    home.call("wait", "1")
    assert home.json("retry", "1_0")["reopened"] == []
