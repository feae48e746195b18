"""Outputs compared within tolerances: what is published, what a fault means, and where answers differ."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home
from spools import until

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator import open_coordinator
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.steps.decide import decide_news
from nexapod_batch.coordinator.steps.ingest import ingest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """[job]
name = "close"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || (mkdir {flag}/2 2>/dev/null && echo 2) || echo 3); {say}"]
[quorum]
agree = {agree}
replicas = 3
max_replicas = 3
distinct = "run"
[[outputs]]
path = "a.csv"
compare = "allclose"
atol = 0.15
rtol = 0.0
"""


TOLERANCE = 'compare = "allclose"\natol = 0.15\nrtol = 0.0'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own, without workers afterwards."""
    one = Home(tmp_path)
    (tmp_path / "flag").mkdir()
    assert one.call("node", "init", "--name", "mine", "--cpus", "1").code == 0
    yield one
    one.end()


def run(home: Home, say: str, code: int, agree: int = 2) -> list[dict[str, object]]:
    """Run the job, in which `$n` counts executions; return the replicas of its task."""
    text = JOB.format(flag=home.folder / "flag", say=say, agree=agree)
    done = home.submit(text, "--wait=90s")
    assert done.code == code, done.out + done.err
    return list(home.json("show", 1)["tasks"][0]["replicas"])


def test_the_centre_that_was_voted_for_is_published(home: Home) -> None:
    """1.0, 1.2 and 1.1: only the last is close to both; its file is the result, whatever its number."""
    replicas = run(home, "case $n in 1) echo 1.0;; 2) echo 1.2;; 3) echo 1.1;; esac > a.csv", 0, agree=3)
    assert [one["validation"] for one in replicas] == ["valid"] * 3
    assert (home.path / "results/1/0/a.csv").read_text() == "1.1\n"
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
    with closing(sqlite3.connect(home.path / "state.db")) as connection:
        connection.execute("UPDATE task SET measured = json_set(measured, '$.close', json('[]'))")
        connection.commit()
    assert home.call("verify", "1").code == 1


def test_where_answers_differ_is_explained(home: Home) -> None:
    """Three answers apart are no result, and `explain` names the place and both values."""
    run(home, "echo x,$n.0 > a.csv", 3)
    said = home.call("explain", "1").out
    assert "a.csv, row 1, column 2: first 1.0, other 2.0" in said or "first 2.0" in said or "first 3.0" in said


def test_equal_bytes_agree_unread(home: Home) -> None:
    """A file that is no table agrees with its own bytes under every comparator."""
    replicas = run(home, "head -c 300 /dev/zero > a.csv", 0, agree=3)
    assert [one["validation"] for one in replicas] == ["valid"] * 3


@pytest.mark.parametrize("rule", ['"significant"\ndigits = 6', '"round"\ndigits = 2'])
def test_what_rounding_cannot_read_agrees_by_its_bytes(home: Home, rule: str) -> None:
    """The same bytes that are no table are a result; others fail their replica, which says why, and soon the task."""
    text = JOB.format(flag=home.folder / "flag", say="head -c 300 /dev/zero > a.csv", agree=2)
    text = text.replace(TOLERANCE, f"compare = {rule}")
    done = home.submit(text, "--wait=90s")
    assert done.code == 0, done.out + done.err
    assert home.call("verify", "1").code == 0
    (home.folder / "other").mkdir()
    other = text.replace("head -c 300", "head -c $((300 + n))").replace(f"{home.folder}/flag", f"{home.folder}/other")
    assert home.submit(other, "--wait=90s").code == 1
    assert "output 'a.csv' cannot be compared: got byte 0x00, wanted text" in home.call("explain", "2").out
    assert home.call("verify", "2").code == 0
    assert home.proof_code(2) == 0


@pytest.mark.parametrize("rule", [TOLERANCE, 'compare = "significant"\ndigits = 1'])
@pytest.mark.parametrize(("third", "code"), [("1.1", 0), ("1.9", 3)])
def test_what_cannot_be_compared_has_no_vote(home: Home, rule: str, third: str, code: int) -> None:
    """One file is no table: its replica has failed and says why, the others agree or not."""
    say = f"case $n in 1) echo 1.1;; 2) head -c 9 /dev/zero;; 3) echo {third};; esac > a.csv"
    text = JOB.format(flag=home.folder / "flag", say=say, agree=2).replace(TOLERANCE, rule)
    assert home.submit(text, "--wait=90s").code == code
    worth = [one["validation"] for one in home.json("show", 1)["tasks"][0]["replicas"]]
    assert sorted(worth) == (["inconclusive", "valid", "valid"] if code == 0 else ["inconclusive"] * 3)
    said = home.call("explain", "1").out
    assert "cannot be compared" in said
    assert "0x00" in said
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0


def test_tables_that_are_none_end_a_task_soon(home: Home) -> None:
    """Other bytes each time, within tolerances: it failed, and needs no more runs than must agree."""
    run(home, "head -c $n /dev/zero > a.csv", 1)
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0


def test_outputs_that_are_away_are_waited_for(home: Home) -> None:
    """Work folders that cannot be reached leave the task open, told once; when they are back it is decided."""
    work = home.path / "work" / "mine"
    text = JOB.format(flag=home.folder / "flag", say="yes 11111111 | head -n 8000 > a.csv; echo 1.$n >> a.csv", agree=2)
    assert home.submit(text).code == 0
    end = time.monotonic() + 120
    while len(home.lines()) < 3:  # the workers need no pass for it
        assert time.monotonic() < end
        home.call("ls")
    aside = work.with_name("away")
    work.rename(aside)
    done = home.call("reconcile")
    assert "waits: the work folders of replica" in done.err + done.out
    assert home.json("show", 1)["job"]["state"] == "active"
    aside.rename(work)
    assert home.call("wait", "1").code in {0, 3}
    assert home.json("show", 1)["job"]["state"] != "active"


def test_a_pass_whose_time_is_over_compares_little(home: Home) -> None:
    """One task of all jobs whose outputs are compared, and what is quick; the next pass goes on. Nothing is lost."""
    gate = home.folder / "gate"
    say = f"until test -e {gate}; do sleep 0.05; done; echo 1.0$(date +%N) > a.csv"
    compared = JOB.format(flag=home.folder / "flag", say=say, agree=2).replace("replicas = 3\nmax_replicas = 3\n", "")
    for text in (compared, compared, TRUE):
        assert home.submit(text.replace("[quorum]", '[array]\nids = "0-2"\n[quorum]')).code == 0
    gate.touch()
    until(lambda: len(home.lines("mine")) >= 18, "all reports")
    home.end()
    with open_coordinator(Paths.from_environment(home.env)) as c:
        ingest(c, c.nodes(), Faults())
        over = time.monotonic()
        assert [decide_news(c, Faults(), over) for _ in range(4)] == [4, 1, 1, 1]
        assert decide_news(c, Faults(), time.monotonic() + 600) == 2
        assert [c.store.jobs.progress([job])["accepted"] for job in (1, 2, 3)] == [3, 3, 3]
