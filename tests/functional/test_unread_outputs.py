"""Outputs that a comparator cannot read have no vote, wherever they come: among many, printed by a command, judged again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: `$n` counts executions.
JOB = """[job]
name = "unread"
command = ["sh", "-c", "n=$(mkdir {flag}/1 2>/dev/null && echo 1 || (mkdir {flag}/2 2>/dev/null && echo 2) || echo 3); {say}"]
[quorum]
agree = 2
max_replicas = 3
distinct = "run"
[[outputs]]
path = "{path}"
{rule}
"""
ROUNDED = 'compare = "significant"\ndigits = 6'
MANY = "mkdir out; i=0; while [ $i -lt 110 ]; do echo 1$i.00000000$n > out/$i.txt; i=$((i+1)); done; {last} > out/last.txt"
ZEROS = "head -c {length} /dev/zero"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home of its own, without workers afterwards."""
    (tmp_path / "flag").mkdir()
    with ended(Home(tmp_path), "mine") as one:
        yield one


def run(home: Home, say: str, code: int, *, path: str = "a.txt", rule: str = ROUNDED) -> None:
    """Run the job to its end."""
    done = home.submit(JOB.format(flag=home.folder / "flag", say=say, path=path, rule=rule), "--wait=120s")
    assert done.code == code, done.out + done.err
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0


def test_among_many_outputs_it_fails_its_replica(home: Home) -> None:
    """One of 111 is no text, and another one each time: the task ends after two runs, with the reason."""
    run(home, MANY.format(last=ZEROS.format(length="$n")), 1, path="out/*.txt")
    assert "output 'out/last.txt' cannot be compared: got byte 0x00" in home.call("explain", "1").out
    assert len(home.json("show", 1)["tasks"][0]["replicas"]) == 2


def test_many_outputs_of_the_same_bytes_agree_unread(home: Home) -> None:
    """All of them are the same."""
    run(home, MANY.replace("$n", "").format(last=ZEROS.format(length=9)), 0, path="out/*.txt")


def test_an_honest_pair_wins_over_one_among_many(home: Home) -> None:
    """What can be read agrees after rounding, whatever a third run wrote."""
    last = "if [ $n = 1 ]; then head -c 9 /dev/zero; else echo 1.5; fi"
    run(home, MANY.format(last=last), 0, path="out/*.txt")
    worth = [one["validation"] for one in home.json("show", 1)["tasks"][0]["replicas"]]
    assert sorted(worth) == ["inconclusive", "valid", "valid"]


def test_what_a_command_printed_of_it_fails_its_replica(home: Home) -> None:
    """It is no text, and another one each time."""
    run(home, ZEROS.format(length="$n") + " > a.txt", 1, rule=f'normalize = ["cat"]\n{ROUNDED}')
    assert "output 'a.txt' cannot be compared: got byte 0x00" in home.call("explain", "1").out


def test_what_a_command_printed_is_compared_by_its_bytes_where_a_job_says_so(home: Home) -> None:
    """Then nothing has to be read."""
    run(home, ZEROS.format(length=9) + " > a.txt; echo $n > b.txt", 0, rule='normalize = ["cat"]')


@pytest.mark.parametrize(
    ("second", "code", "state"),
    [("head -c 2 /dev/zero", 3, "failed"), ("head -c 1 /dev/zero", 0, "accepted"), ("echo 3.50000001", 3, "accepted")],
    ids=["other bytes", "the same bytes", "one alone"],
)
def test_it_is_judged_as_it_would_have_been_decided(home: Home, second: str, code: int, state: str) -> None:
    """Other bytes have failed, the same ones agree, one alone has no vote; `verify` works it out again."""
    say = f"case $n in 1) head -c 1 /dev/zero;; 2) {second};; 3) echo 3.5;; esac > a.txt"
    run(home, say, code, rule='compare = "exact"')
    other = ("--compare", "significant", "--digits", "6")
    judged = home.json("judge", "1_0", *other, code=0 if state == "accepted" else 3)["tasks"][0]
    assert (judged["state"], len(judged["agreeing"])) == (state, 2 if state == "accepted" else 0)
    assert state == "accepted" or "output 'a.txt' cannot be compared: got byte 0x00" in judged["reason"]
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
