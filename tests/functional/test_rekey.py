"""A new key for a node: what the old one vouched for stays good, what is open finishes, and the next launch goes on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home, ended
from spools import until

from nexapod_batch.files import keyfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    with ended(Home(tmp_path), "n") as made:
        yield made


def key_of(home: Home) -> str:
    """Return the registered key of the node."""
    return str(home.json("node", "show", "n")["node"]["key"])


def test_what_is_open_finishes_and_a_worker_that_runs_goes_on(home: Home, tmp_path: Path) -> None:
    """A launch of the time of the old key is reported and counts; the same worker takes the next one, of the new key."""
    gate = tmp_path / "gate"
    text = TRUE.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')
    assert home.submit(text).code == 0
    until(lambda: list((home.spool() / "claims").iterdir()), "the worker to claim it")
    told = home.json("node", "rekey", "n")
    assert (told["key"], told["old_key"] != told["key"]) == (key_of(home), True)
    assert home.submit(TRUE).code == 0
    gate.touch()
    for job in (1, 2):
        assert home.call("wait", job, "--timeout", "90s").code == 0
        assert home.call("verify", job).code == 0
        replicas = home.json("show", job)["tasks"][0]["replicas"]
        assert [one["id"] for one in replicas] == [f"{job}_0.1", f"{job}_0.2"]
    assert home.json("node", "show", "n")["node"]["blame"] == 0


def test_what_the_old_key_vouched_for_stays_good(home: Home, tmp_path: Path) -> None:
    """Statements verify, and are exported with the key that vouched for them; the profile is signed by the new key."""
    assert home.submit(TRUE, "--wait=90s").code == 0
    old = home.json("node", "rekey", "n")["old_key"]
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
    assert home.call("attestations", "1", "--out", tmp_path / "proof").code == 0
    stem = old.removeprefix("SHA256:").replace("/", "_").replace("+", "-")
    assert (tmp_path / f"proof/{stem}.pem").exists()
    shown = home.json("node", "show", "n")
    assert (shown["fault"], shown["profile"] is not None) == ("", True)
    assert keyfile.load(home.path / "keys/node-n").key_id == key_of(home) != old
    assert [one.name for one in (home.path / "keys").glob("*.new*")] == []


@pytest.mark.parametrize("lost", ["gone", "damaged"])
def test_a_node_whose_key_is_lost_gets_a_new_one(home: Home, lost: str) -> None:
    """Nothing of the old key is needed for that."""
    key = home.path / "keys/node-n"
    key.unlink() if lost == "gone" else key.write_text("junk")
    assert home.call("node", "rekey", "n").code == 0
    assert home.submit(TRUE, "--wait=90s").code == 0
    assert home.call("verify", "1").code == 0


def test_a_key_that_was_registered_is_put_in_its_place(home: Home) -> None:
    """Killed between the two, the next command finds it beside the old one."""
    keys = home.path / "keys"
    for ending in ("", ".pub"):
        shutil.copy(keys / f"node-n{ending}", keys / f"old{ending}")
    assert home.call("node", "rekey", "n").code == 0
    for ending in ("", ".pub"):
        (keys / f"node-n{ending}").rename(keys / f"node-n.new{ending}")
        (keys / f"old{ending}").rename(keys / f"node-n{ending}")
    assert home.submit(TRUE, "--wait=90s").code == 0
    assert keyfile.load(keys / "node-n").key_id == key_of(home)
    assert not (keys / "node-n.new").exists()


def test_no_such_node(home: Home) -> None:
    """It is named, with those that there are."""
    done = home.call("node", "rekey", "x")
    assert done.code == 66
    assert "one of: n" in done.err
