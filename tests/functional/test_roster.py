"""A roster that three coordinators sign, and what each of them makes of the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Home]]:
    """Yield three homes with a key each, which `a.pem`, `b.pem` and `c.pem` have; no worker is left of them."""
    made = [Home(tmp_path, name) for name in "abc"]
    for home in made:
        assert home.call("node", "init", "--name", "n").code == 0
        assert home.call("key", "export", "coordinator", "--format", "pem", "--out", tmp_path / f"{home.path.name}.pem").code == 0
    try:
        yield made
    finally:
        for home in made:
            home.end()


def members(*names: str) -> list[str]:
    """Return the options that name members."""
    return [word for name in names for word in ("--member", f"{name}.pem")]


def test_members_sign_and_everybody_follows(homes: list[Home], tmp_path: Path) -> None:
    """Two of three, then the next version by two of them; an older one is refused, and nothing is changed by that."""
    a, b, c = homes
    made = a.json("key", "roster", "new", "1.json", *members("a", "b", "c"), "--expires", "2099-01-01")
    assert (made["version"], made["threshold"], made["signed_by"]) == (1, 2, [])
    assert made["coordinators"][0].startswith(a.json("ledger", "head")["origin"])
    assert a.call("key", "roster", "sign", "1.json").code == 0
    refused = c.call("key", "roster", "accept", "1.json")
    assert (refused.code, "too few signed" in refused.err) == (1, True)
    assert not (c.path / "roster.json").exists()
    assert len(b.json("key", "roster", "sign", "1.json")["signed_by"]) == 2
    for home in homes:
        assert home.json("key", "roster", "accept", "1.json")["version"] == 1
    assert a.call("ledger", "export", "--tiles", tmp_path / "tiles").code == 0  # whose key the roster names
    assert c.call("ledger", "witness", tmp_path / "tiles/checkpoint").code == 0
    assert a.json("key", "roster", "new", "2.json", *members("a", "b"), "--expires", "2099-01-01")["version"] == 2
    for home in (a, b, c):  # c was a member, and hands on
        assert home.call("key", "roster", "sign", "2.json").code == 0
    assert c.call("key", "roster", "accept", "2.json").code == 0
    older = c.call("key", "roster", "accept", "1.json")
    assert (older.code, "it is older than the one that is trusted" in older.err) == (1, True)
    assert c.json("key", "roster", "show")["version"] == 2


@pytest.mark.parametrize(("words", "why"), [
    (("new", "x.json", "--expires", "2099-01-01"), "--member FILE"),
    (("new", "x.json", *members("a"), "--expires", "2020-01-01"), "would have expired already"),
    (("new", "x.json", *members("a"), "--expires", "soon"), "a day, as in 2027-12-31"),
    (("new", "x.json", *members("a"), "--threshold", "2", "--expires", "2099-01-01"), "that many members cannot sign"),
    (("new", "a.pem", *members("a"), "--expires", "2099-01-01"), "name a new file"),
    (("new", "x.json", *members("a"), "--witness", "w", "--expires", "2099-01-01"), "NAME+ID+KEY"),
    (("sign", "x.json"), "cannot be read"),
    (("sign", "a.pem"), "not a roster"),
    (("accept", "a.pem"), "not a roster"),
    (("show",), "no roster is trusted here"),
])  # fmt: skip
def test_what_cannot_be_is_told(homes: list[Home], tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    """And no roster is made, signed or trusted."""
    done = homes[0].call("key", "roster", *words)
    assert done.code != 0
    assert why in done.err
    assert not (tmp_path / "x.json").exists()


def test_a_reader_believes_a_coordinator_that_the_roster_names(homes: list[Home], tmp_path: Path) -> None:
    """Of a folder and of an archive, also when its key was rotated since; one that is not named is refused."""
    a, b, _ = homes
    assert a.call("key", "roster", "new", "1.json", *members("a"), "--expires", "2099-01-01").code == 0
    refused = a.call("verify", "--folder", tmp_path, "--roster", "1.json")
    assert (refused.code, "too few signed" in refused.err) == (1, True)
    assert a.call("key", "roster", "sign", "1.json").code == 0
    for home in (a, b):
        assert home.submit(TRUE, "--wait=60s").code == 0
        assert home.call("key", "rotate", "coordinator").code == 0
        assert home.call("attestations", "1", "--out", tmp_path / f"proof-{home.path.name}").code == 0
        assert home.call("archive", "1", "--out", tmp_path / f"{home.path.name}.tar").code == 0
    for words in (("--folder", "proof-a"), ("./a.tar",)):
        done = a.json("verify", *words, "--roster", "1.json")
        assert done["ok"]
        assert [key["from"] for key in done["keys"]].count("named by the roster 1.json") == 1
    for words in (("--folder", "proof-b"), ("./b.tar",)):
        done = a.json("verify", *words, "--roster", "1.json", code=1)
        assert any("it names no key of this coordinator" in check["problem"] for check in done["checks"])
