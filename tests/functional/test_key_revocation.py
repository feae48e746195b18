"""Keys that are revoked since an entry of the ledger: what rests on them counts no longer, everything else does."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from homes import TRUE, Home, ended
from spools import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: A job of which each of two nodes runs a replica.
BOTH = TRUE.replace('distinct = "run"', 'distinct = "node"\nmax_replicas = 4')


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with two nodes, without workers afterwards."""
    with ended(Home(tmp_path), "a", "b") as made:
        yield made


def size(home: Home) -> int:
    """Return how many entries the ledger has."""
    return int(home.json("ledger", "head")["size"])


def replaced(home: Home, name: str) -> str:
    """Give a node or the coordinator a new key; return the old one."""
    return str(home.json("key", "rotate", name)["rotated"][0]["old_key"])


def doubt(home: Home, job: int) -> str:
    """Return why the first task of a job is in doubt; "" where it is not."""
    return str(home.json("show", job)["tasks"][0]["doubt"])


def test_what_a_key_signed_since_an_entry_counts_no_longer(home: Home) -> None:
    """What was reported before holds; what rests on later reports is in doubt, and a retry makes it hold again."""
    assert home.submit(BOTH, "--wait=60s").code == 0
    since = size(home)
    assert home.submit(BOTH, "--wait=60s").code == 0
    old = replaced(home, "a")
    assert home.submit(BOTH, "--wait=60s").code == 0  # by the new key
    done = home.json("key", "revoke", old, "--since", since)
    assert (done["withdrawn"], done["doubted"]) == (["2_0"], ["2_0"])
    assert [bool(doubt(home, job)) for job in (1, 2, 3)] == [False, True, False]
    assert "a key that was revoked" in doubt(home, 2)
    assert [home.call("verify", job).code for job in (1, 2, 3)] == [0, 1, 0]
    assert home.call("retry", "2", "--wait").code == 0
    assert doubt(home, 2) == ""
    assert [home.call("verify", job).code for job in (1, 2, 3)] == [0, 0, 0]
    assert [home.proof_code(job) for job in (1, 2, 3)] == [0, 0, 0]
    assert home.call("ledger", "verify").code == 0
    assert [key["revoked"] for key in home.json("key", "show", "a")["keys"]] == [since, None]


def test_what_is_open_runs_again(home: Home, tmp_path: Path) -> None:
    """Replicas that the key vouches for are stopped, those that had reported are replaced, and both count no more."""
    gate = tmp_path / "gate"
    assert home.submit(BOTH.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')).code == 0
    until(lambda: all(list((home.spool(name) / "claims").iterdir()) for name in "ab"), "the workers to claim it")
    old = replaced(home, "a")
    done = home.json("key", "revoke", "a", "--since", 0)
    assert (done["key"], done["stopped"]) == (old, 1)
    gate.touch()
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    replicas = home.json("show", 1)["tasks"][0]["replicas"]
    lost = [one for one in replicas if one["why"] and one["why"]["code"] == "replica.key_revoked"]
    assert [(one["node"], one["execution"]) for one in lost] == [("a", "lost")]
    assert sorted(one["node"] for one in replicas if one["validation"] == "valid") == ["a", "b"]
    assert home.call("verify", "1").code == 0
    assert home.proof_code(1) == 0
    assert home.json("node", "show", "a")["node"]["blame"] == 0


def test_verdicts_of_a_revoked_key_of_the_coordinator_are_signed_anew(home: Home, tmp_path: Path) -> None:
    """Those that hold; heads of the old key are none any more from that entry on, and those before stay good."""
    assert home.submit(BOTH, "--wait=60s").code == 0
    (early := tmp_path / "early").write_text(home.call("ledger", "head").out)
    since = size(home)
    assert home.submit(BOTH, "--wait=60s").code == 0
    (late := tmp_path / "late").write_text(home.call("ledger", "head").out)
    replaced(home, "coordinator")
    done = home.json("key", "revoke", "coordinator", "--since", since)
    assert (done["signed_anew"], done["unsigned"]) == (1, [])
    assert [home.call("verify", job).code for job in (1, 2)] == [0, 0]
    assert [home.proof_code(job) for job in (1, 2)] == [0, 0]
    assert home.call("ledger", "verify", "--since", early).code == 0
    refused = home.call("ledger", "verify", "--since", late)
    assert refused.code == 1
    assert "a key of the coordinator that is revoked" in refused.err


REFUSED: dict[str, tuple[Callable[[Home], tuple[object, ...]], str]] = {
    "the coordinator's own": (lambda _: ("coordinator", "--since", 0), "the key that coordinator signs with"),
    "a node's own": (lambda _: ("a", "--since", 0), "first give a another key: nexapod-batch key rotate a"),
    "an entry that is not there": (lambda home: (replaced(home, "a"), "--since", 10**6), "there is no such entry"),
    "no entry": (lambda home: (replaced(home, "a"), "--since", -1), "-1"),
    "no such key": (lambda _: ("x", "--since", 0), "one of: coordinator, a, b, or a fingerprint"),
    "one of several": (lambda home: (replaced(home, "a") and replaced(home, "a") and "a", "--since", 0), "has had several keys"),
    "after its time": (lambda home: (replaced(home, "coordinator"), "--since", size(home) - 1), "signed nothing from there on"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_revoked_is_told(home: Home, case: str) -> None:
    """With the way out; nothing of the ledger or the keys is changed."""
    words, why = REFUSED[case]
    argv = words(home)
    before = size(home)
    done = home.call("key", "revoke", *argv)
    assert done.code in {2, 64, 66}
    assert why in done.err
    assert size(home) == before
    assert {key["revoked"] for key in home.json("key", "ls")["keys"]} == {None}


def test_a_key_is_revoked_once_more_since_an_earlier_entry_alone(home: Home) -> None:
    """Since a later one it is so already."""
    old = replaced(home, "a")
    assert home.call("key", "revoke", old, "--since", 2).code == 0
    done = home.call("key", "revoke", old, "--since", 2)
    assert done.code != 0
    assert "revoked already" in done.err
    assert home.call("key", "revoke", old, "--since", 1).code == 0
    assert home.call("ledger", "verify").code == 0


FORGED: dict[str, tuple[str, str]] = {
    "a revocation that is taken back": ("UPDATE node_key SET revoked = NULL", "revoked since"),
    "one that is brought forward": ("UPDATE node_key SET revoked = revoked + 1 WHERE revoked IS NOT NULL", "revoked since"),
    "one that nobody made": ("UPDATE coordinator_key SET revoked = 3", "revoked since None"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_revocation_that_the_ledger_does_not_have_is_found(home: Home, case: str) -> None:
    """Or one that it has, and the database does not."""
    statement, why = FORGED[case]
    assert home.call("key", "revoke", replaced(home, "a"), "--since", 1).code == 0
    with sqlite3.connect(home.path / "state.db") as database:
        database.execute(statement)
    database.close()
    done = home.call("ledger", "verify")
    assert done.code == 1
    assert why in done.out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE replica SET execution = 'reported', reason = '' WHERE reason LIKE '%key_revoked%'", "is revoked since entry"),
        ("UPDATE node_key SET revoked = NULL", "is said to rest on a key that is revoked"),
    ],
)
def test_verify_counts_no_report_of_a_revoked_key(home: Home, change: str, why: str) -> None:
    """Whatever the rows of its replica or of the key were made to say."""
    assert home.submit(BOTH, "--wait=60s").code == 0
    assert home.call("key", "revoke", replaced(home, "a"), "--since", 0).code == 0
    with sqlite3.connect(home.path / "state.db") as database:
        database.execute(change)
    database.close()
    done: Any = home.json("verify", 1, code=1)
    assert any(why in check["problem"] for check in done["checks"])


def test_a_launch_rests_on_the_key_of_its_time(home: Home) -> None:
    """One that was placed by a key which the node had no longer is found."""
    assert home.submit(BOTH, "--wait=60s").code == 0
    replaced(home, "a")
    assert home.submit(BOTH, "--wait=60s").code == 0
    with sqlite3.connect(home.path / "state.db") as database:
        database.execute("UPDATE node_key SET over = 2 WHERE over IS NOT NULL")
    database.close()
    done: Any = home.json("verify", 1, code=1)
    assert any("was its node's no longer when it was placed" in check["problem"] for check in done["checks"])
    assert home.call("verify", "2").code == 0
