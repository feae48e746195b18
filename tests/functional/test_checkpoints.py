"""Commands that are stopped before they are done, and go on from the state that they saved."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from forging import line_of, said_in, stolen_key
from homes import ended
from spools import until

from nexapod_batch.model.replica import Continuation
from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from homes import Home

ONE = "[quorum]\nagree = 1\n"
CHECKPOINT = '[checkpoint]\npath = "state/*"\n'
#: Adds one to a count with each attempt, and is done when it is three.
COUNT = """#!/bin/sh
mkdir -p state
[ -e state/n ] || echo 0 > state/n
n=$(($(cat state/n) + 1)); echo $n > state/n
[ $n -ge 3 ] || exit 85
echo $n > out
"""
#: Goes on counting until it hears the signal.
UNTIL_SIGNAL = COUNT.replace("[ $n -ge 3 ] ||", "trap 'exit 85' USR1\n[ $n -ge 2 ] || { sleep 60 & wait; }\n[ $n -ge 2 ] ||")
#: Has a state before its time is over, and does not stop by itself.
UNTIL_KILLED = COUNT.replace("[ $n -ge 3 ] || exit 85", "[ $n -ge 2 ] || exec sleep 60")


def text_of(script: str, more: str = ONE, checkpoint: str = CHECKPOINT) -> str:
    """Return the descriptor of a script."""
    return f'[job]\nscript = {json.dumps(script)}\n{more}{checkpoint}[[outputs]]\npath = "out"\n'


def replicas(home: Home, job: int = 1) -> list[dict[str, Any]]:
    """Return the replicas of the one task of a job."""
    (task,) = home.json("show", job)["tasks"]
    return list(task["replicas"])


def chain(home: Home, job: int = 1) -> list[tuple[str, int | None]]:
    """Return what became of each replica, and from which it went on."""
    return [(replica["execution"], replica["continues"]) for replica in replicas(home, job)]


@pytest.mark.parametrize("options", [(), ("--foreign",)], ids=["bare", "confined"])
@pytest.mark.parametrize(
    ("script", "time", "checkpoint", "attempts"),
    [
        (COUNT, "", CHECKPOINT, 3),
        (COUNT.replace("85", "9"), "", f"{CHECKPOINT}exit_code = 9\n", 3),
        (UNTIL_SIGNAL, '[resources]\ntime = "8s"\n', f'{CHECKPOINT}signal = "USR1@5"\n', 2),
        (UNTIL_KILLED, '[resources]\ntime = "4s"\n', CHECKPOINT, 2),
    ],
    ids=["by exit code", "by another one", "by a signal", "by the end of its time"],
)
def test_it_goes_on(home: Home, script: str, time: str, checkpoint: str, attempts: int, options: tuple[str, ...]) -> None:
    """Each attempt on the state of the one before it; the last one votes, and all of it can be checked."""
    done = home.submit(text_of(script, time + ONE, checkpoint), "--wait", *options)
    assert done.code == 0, done.err
    before: list[int | None] = [None, *range(1, attempts)]
    assert chain(home) == [*(("lost", number) for number in before[:-1]), ("reported", before[-1])]
    assert (home.path / "results/1/0/out").read_text() == f"{attempts}\n"
    assert home.call("verify", 1).code == 0
    assert home.proof_code(1) == 0


def test_two_chains_of_one_task(home: Home) -> None:
    """Each replica goes on from its own state; both vote, once."""
    done = home.submit(text_of(COUNT, '[quorum]\ndistinct = "run"\n'), "--wait")
    assert done.code == 0, done.err
    assert [one for one in chain(home) if one[0] == "reported"] == [("reported", 3), ("reported", 4)]
    assert sorted(number or 0 for _, number in chain(home)) == [0, 0, 1, 2, 3, 4]
    assert "goes on from replica 3" in home.call("show", "1_0").out


def test_it_goes_on_where_its_state_is(home: Home) -> None:
    """A state is one node's word: its attempts stay on that node, though the others are free."""
    with ended(home, "alpha", "beta", "gamma"):
        assert home.submit(text_of(COUNT, ""), "--wait").code == 0
        node = {number: replica["node"] for number, replica in enumerate(replicas(home), 1)}
        pairs = [(number, before) for number, (_, before) in enumerate(chain(home), 1) if before]
        assert len(pairs) == 4
        assert [node[number] for number, _ in pairs] == [node[before] for _, before in pairs]


def test_large_states_are_brought_and_put_back(home: Home) -> None:
    """What does not travel with a report; over an input of the same name; folders within folders; an empty file."""
    (home.folder / "state").mkdir()
    (home.folder / "state/n").write_text("0\n")
    script = COUNT.replace("[ $n", "mkdir -p state/a/b; : > state/a/b/empty; head -c 3000000 /dev/zero >> state/big; [ $n", 1)
    script += "stat -c %s state/big >> out\n"
    checkpoint = '[checkpoint]\npath = ["state/*", "state/a/**"]\n'
    done = home.submit(text_of(script, f'{ONE}[[inputs]]\nsource = "state/n"\n', checkpoint), "--wait")
    assert done.code == 0, done.err
    assert (home.path / "results/1/0/out").read_text() == "3\n9000000\n"
    assert home.proof_code(1) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("echo 1 > state/n; exit 85", "it got no further than the state from which it began"),
        ("rm state/n; exit 85", "it left no state"),
        ("ln -sf /etc/hostname state/n; exit 85", "its state cannot be saved"),
        ("for i in $(seq 101); do echo > state/$i; done; exit 85", "too many files"),
        ("exit 7", "exit code 7"),
    ],
    ids=["no further", "no state", "a link", "too many files", "another failure"],
)
def test_what_is_a_failure_all_the_same(home: Home, change: str, sentence: str) -> None:
    """Signed as one, with why; it is not tried for ever."""
    script = f"#!/bin/sh\nmkdir -p state\n{change}\n"
    done = home.submit(text_of(script, "[quorum]\nagree = 1\nmax_errors = 0\n"), "--wait")
    assert done.code == 1, done.err
    last = replicas(home)[-1]
    assert last["execution"] == "errored"
    assert sentence in last["reason"]
    assert len(replicas(home)) <= 2


#: What becomes of a state after its attempt.
ODD: dict[str, Callable[[Path], object]] = {
    "gone": shutil.rmtree,
    "edited": lambda state: (state / "n").write_text("7\n"),
    "grown": lambda state: (state / "big").write_bytes(bytes(9_000_000)),
    "a link": lambda state: ((state / "n").unlink(), (state / "n").symlink_to("/etc/hostname")),
    "a fifo": lambda state: ((state / "big").unlink(), os.mkfifo(state / "big")),
}


@pytest.mark.parametrize("what", ODD)
def test_a_state_that_is_not_what_was_signed(home: Home, what: str) -> None:
    """Nothing goes on from it: the next attempt begins at the beginning, whatever lies there by now."""
    script = COUNT.replace("exit 85", "{ head -c 9000 /dev/zero > state/big; exit 85; }")
    assert home.submit(text_of(script)).code == 0
    until(lambda: len(home.lines()) == 1, "the first report")
    (folder,) = home.path.glob("work/*/1_0.1/state")
    ODD[what](folder)
    assert home.call("wait", 1).code == 0
    assert chain(home) == [("lost", None), ("lost", None), ("lost", 2), ("reported", 3)]
    assert (home.path / "results/1/0/out").read_text() == "3\n"


def test_a_worker_that_is_killed_before_it_reports(home: Home) -> None:
    """What was saved and not signed is nobody's word: the next attempt begins at the beginning, and votes once."""
    saved, goes_on = home.folder / "saved", home.folder / "goes-on"
    script = COUNT.replace("[ $n -ge 3 ] || exit 85", f"[ -e {goes_on} ] || {{ echo > {saved}; exec sleep 600; }}")
    assert home.submit(text_of(script)).code == 0
    until(saved.exists, "the state to be saved")
    goes_on.touch()
    home.kill()
    assert home.call("wait", 1).code == 0
    assert chain(home)[-1] == ("reported", None)
    assert (home.path / "results/1/0/out").read_text() == "1\n"
    assert home.call("verify", 1).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('path = "/state"', "checkpoint.path[0]: not a relative path"),
        ('path = ["a", "../b"]', "checkpoint.path[1]: leaves the work folder"),
        ("path = []", "checkpoint.path: wrong number of values"),
        ("", "checkpoint.path: missing"),
        ('path = "a"\nsignal = "KILL@5"', "checkpoint.signal"),
        ('path = "a"\nsignal = "USR1"', "checkpoint.signal"),
        ('path = "a"\nsignal = "USR1@60"', "the job has no time limit"),
        ('path = "a"\nsignal = "USR1@60"\n[resources]\ntime = "1m"', "its time is over after 60 s"),
        ('path = "a"\nexit_code = 0', "checkpoint.exit_code"),
        ('path = "a"\nexit_code = 126', "checkpoint.exit_code"),
        ('path = "a"\nevery = 5', "every"),
    ],
)
def test_what_cannot_be_asked_for(home: Home, text: str, said: str) -> None:
    """Told at submit, with what was wanted."""
    done = home.submit(f'[job]\ncommand = ["true"]\n[checkpoint]\n{text}\n')
    assert done.code == 65, done.out
    assert said in done.err
    assert home.jobs() == []


def test_a_state_that_nobody_gave_or_asked_for_is_no_vote(home: Home) -> None:
    """What a stolen key of a launch says of it is compared with what its replica was given, and with the job."""
    assert home.submit(text_of(COUNT)).code == 0
    until(lambda: len(home.lines()) == 1, "the first report")
    assert home.json("reconcile")["launched"] == 1
    until(lambda: len(home.lines()) == 2, "the second report")
    said = said_in(home.lines()[1])
    key, (saved,) = stolen_key(home, "1_0.2"), said.saved
    told = [
        said._replace(continues=None),
        said._replace(continues=Continuation(1, (("state/n", "0" * 64),))),
        said._replace(continues=Continuation(1, (("state/m", saved.sha256),))),
        said._replace(saved=(saved._replace(name="out"),)),
        said._replace(saved=(saved._replace(size=said.output_bytes + 1),)),
        said._replace(outcome=Outcome.TIME),
    ]
    (home.spool() / "reports/00.jsonl").write_bytes(b"".join(line_of(key, lie) + b"\n" for lie in told))
    assert home.json("reconcile")["quarantined"] == len(told)
    assert home.call("wait", 1).code == 0
    assert chain(home) == [("lost", None), ("lost", 1), ("reported", 2)]
    assert home.call("verify", 1).code == 0


def test_verify_compares_continuations(home: Home) -> None:
    """What the database says of them, with what was signed."""
    assert home.submit(text_of(COUNT), "--wait").code == 0
    first, second, third = map(said_in, home.lines())
    assert first.continues is None
    assert [(said.continues.number, bool(said.saved)) for said in (second, third) if said.continues] == [(1, True), (2, False)]
    with closing(sqlite3.connect(home.path / "state.db")) as database, database:
        database.execute("UPDATE continuation SET files = replace(files, 'state/n', 'state/m') WHERE before = 1")
    done = home.call("verify", 1)
    assert done.code == 1
    assert "goes on from another state than it signed" in done.out
