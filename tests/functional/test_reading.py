"""Commands that only look make nothing and change nothing."""

from __future__ import annotations

import hashlib

import pytest
from homes import TRUE, Home

LOOKING = [("explain", "1"), ("report", "1"), ("verify", "1"), ("attestations", "1", "--out", "signed")]


def content(home: Home) -> dict[str, str]:
    """Return what is in the database, the keys and the results."""
    files = [home.path / "state.db", *home.path.glob("keys/*"), *home.path.glob("results/**/*")]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


@pytest.mark.parametrize("argv", LOOKING, ids=lambda argv: argv[0])
def test_looking_at_nothing_makes_nothing(home: Home, argv: tuple[str, ...]) -> None:
    """On a fresh account there is no such job, and how to begin is said."""
    done = home.call(*argv)
    assert done.code == 66
    assert "nexapod-batch submit" in done.err
    assert list(home.folder.iterdir()) == []


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_cleaning_up_nothing_makes_nothing(home: Home, more: tuple[str, ...]) -> None:
    """On a fresh account there is nothing to remove."""
    counts = {"work_folders": 0, "launches": 0, "segments": 0, "inputs": 0, "uploads": 0}
    assert home.json("gc", *more) == {"schema": 1, "dry_run": bool(more), **counts}
    assert not home.path.exists()


def test_doctor_of_a_fresh_account_says_how_to_begin(home: Home) -> None:
    """Nothing is wrong there; nothing is made."""
    checks = {one["check"]: one for one in home.json("doctor")["checks"]}
    assert {one["verdict"] for one in checks.values()} == {"ok"}
    assert "nexapod-batch submit job.toml" in checks["home"]["text"]
    assert not home.path.exists()


@pytest.mark.parametrize("argv", [*LOOKING, ("doctor",), ("gc", "--dry-run")], ids=lambda argv: argv[0])
def test_looking_changes_nothing(home: Home, argv: tuple[str, ...]) -> None:
    """Database, keys and results are the same bytes afterwards, and another writer is not in the way."""
    assert home.submit(TRUE, "--wait").code == 0
    before = content(home)
    assert home.call(*argv).code == 0
    assert content(home) == before


def test_an_open_task_is_explained_without_writing(home: Home) -> None:
    """Backends are asked, the database is only read."""
    assert home.submit(TRUE.replace('["true"]', '["sleep", "600"]')).code == 0
    before = content(home)
    done = home.call("explain", "1_0")
    assert (done.code, done.out.count(" says ")) == (0, 2)
    assert content(home) == before
