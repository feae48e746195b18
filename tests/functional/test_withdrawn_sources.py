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
