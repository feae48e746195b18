"""Jobs that follow one whose accepted outputs rest on a key that was revoked: held where it is known in time, told where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import Home, ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUORUM = '[quorum]\ndistinct = "node"\nmax_replicas = 4\n'
FIRST = f'[job]\nname = "first"\ncommand = ["sh", "-c", "echo 1 > out"]\n{QUORUM}[[outputs]]\npath = "out"\n'
DOUBTED = (
    "1_0, which is no longer met by a quorum: replica 1 rests on a key that was revoked, and 1 of 2 needed still agree; "
    "to ask for more: nexapod-batch retry 1_0"
)
SECOND = (
    f'[job]\nname = "second"\ncommand = ["cp", "in", "out"]\n{QUORUM}[[inputs]]\nsource = "job:1/out"\ntarget = "in"\n[[outputs]]\npath = "out"\n'
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with two nodes, without workers afterwards."""
    with ended(Home(tmp_path), "a", "b") as made:
        yield made


def revoke(home: Home, since: int) -> None:
    """Give node a another key, and revoke the old one since an entry of the ledger."""
    old = str(home.json("key", "rotate", "a")["rotated"][0]["old_key"])
    home.json("key", "revoke", old, "--since", since)


def told(home: Home, job: int) -> list[str]:
    """Return what `show` and `explain` say of the outputs that a job was made with."""
    shown = home.call("show", job).out.splitlines()
    explained = home.call("explain", job).out.splitlines()
    first, second = ([line.split(begin)[1].strip() for line in lines if begin in line] for lines, begin in ((shown, "  made with: "), (explained, "  made with ")))
    assert first == second
    return first


def test_what_was_used_before(home: Home) -> None:
    """The chain says which link holds no more; a retry of the first job makes it hold again."""
    since = int(home.json("ledger", "head")["size"])
    assert home.submit(FIRST, "--wait").code == 0
    middle = int(home.json("ledger", "head")["size"])
    assert middle > since
    assert home.submit(SECOND, "--wait").code == 0
    assert home.call("verify", 2, "--chain").code == 0
    revoke(home, since)
    done = home.call("verify", 2, "--chain")
    assert done.code == 1, done.out
    assert "1_0  verdict accepted" in done.out
    assert "the quorum is no longer met" in done.out
    assert told(home, 2) == [DOUBTED]
    assert home.call("retry", 1, "--wait").code == 0
    assert home.call("retry", 2, "--wait").code == 0
    assert home.call("verify", 2, "--chain").code == 0


def test_what_is_wanted_afterwards(home: Home) -> None:
    """A job that would begin with it does not, and a wait ends and says so; a retry of the first one lets it go on."""
    since = int(home.json("ledger", "head")["size"])
    assert home.submit(FIRST, "--wait").code == 0
    revoke(home, since)
    assert home.submit(SECOND).code == 0
    done = home.call("wait", 2)
    assert done.code == 1, done.out
    assert "1_0 is no longer met by a quorum: nexapod-batch retry 1_0" in done.err
    assert not (home.path / "results/2").exists()
    assert home.call("retry", 1, "--wait").code == 0
    assert home.call("wait", 2).code == 0
    assert home.call("verify", 2, "--chain").code == 0


def test_what_was_made_before_other_outputs_were_accepted(tmp_path: Path) -> None:
    """While the source is decided anew, and when it came to something else, whoever looks at what follows is told."""
    value = tmp_path / "value"
    value.write_text("1")
    first = FIRST.replace("echo 1 > out", f"cat {value} > out")
    third = SECOND.replace('"second"', '"third"').replace("job:1/", "job:2/")
    with ended(Home(tmp_path), "a", "b", "c") as home:
        for node in "bc":
            home.call("node", "drain", node)
        since = int(home.json("ledger", "head")["size"])
        assert home.submit(first.replace('"node"', '"run"'), "--wait").code == 0
        for node in "bc":
            home.call("node", "resume", node)
        home.call("node", "drain", "a")
        for text in (SECOND, third):
            assert home.submit(text, "--wait").code == 0
        assert told(home, 3) == []
        home.call("node", "resume", "a")
        revoke(home, since)
        doubted = ["1_0, which is no longer met by a quorum: "]
        assert [line[: len(doubted[0])] for line in told(home, 3)] == doubted
        value.write_text("2")
        assert home.call("retry", 1).code == 0
        assert told(home, 2) == told(home, 3) == ["1_0, which is decided anew: nexapod-batch wait 1"]
        assert home.call("wait", 1).code == 0
        assert (home.path / "results/1/0/out").read_text() == "1"  # what others used is never replaced
        assert "made with 1_0, which was accepted anew, with other outputs: submit this job again" in home.call("explain", 2).out
        chain = home.call("verify", 2, "--chain")
        assert chain.code == 1
        assert "1_0 did not sign out with" in chain.out
