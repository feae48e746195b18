"""A database that was put back from a backup: nothing of it is run twice, and what was under way is done again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from homes import TRUE, Home, ended
from spools import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOST = "the database was put back from a backup"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one node, without workers afterwards."""
    with ended(Home(tmp_path), "n") as made:
        yield made


def put_back(home: Home, backup: Path) -> None:
    """Put a backup in the place of the database."""
    for ending in ("-wal", "-shm"):
        (home.path / f"state.db{ending}").unlink(missing_ok=True)
    shutil.copy(backup, home.path / "state.db")


@pytest.mark.parametrize("later", ["another job was placed since", "nothing was placed since"])
def test_what_was_open_by_the_backup_is_not_run_under_its_old_names(home: Home, tmp_path: Path, later: str) -> None:
    """Each name runs once, nobody is blamed, no replica is voided, and the job is accepted all the same."""
    gate, runs, backup = tmp_path / "gate", tmp_path / "runs", tmp_path / "backup.db"
    script = f"while [ ! -e {gate} ]; do sleep 0.02; done; echo $NEXAPOD_TASK >> {runs}"
    job = f'[job]\nname = "j"\nscript = """#!/bin/sh\n{script}\n"""\n[array]\nids = "1-3"\n[quorum]\ndistinct = "run"\n'
    assert home.submit(job).code == 0
    assert home.call("db", "backup", backup).code == 0
    gate.touch()
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    if later.startswith("another"):
        assert home.submit(TRUE, "--wait=90s").code == 0
    until(lambda: home.json("reconcile") and not list((home.spool() / "claims").iterdir()), "the launches to be forgotten")
    before = len(runs.read_text().split())
    assert before == 6
    put_back(home, backup)
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    replicas = [one for task in home.json("show", 1)["tasks"] for one in task["replicas"]]
    assert not any(one["voided"] for one in replicas)
    assert home.json("node", "show", "n")["node"]["blame"] == 0
    first = [one for one in replicas if one["id"].endswith((".1", ".2"))]
    ran_again = len(runs.read_text().split()) - before
    assert ran_again == sum(one["execution"] == "reported" for one in replicas if one not in first)
    if later.startswith("another"):
        assert {one["reason"] for one in first if one["execution"] == "lost"} <= {LOST}


def test_a_backup_that_knows_all_is_left_alone(home: Home, tmp_path: Path) -> None:
    """Where nothing was handed over since, what is open goes on."""
    gate, backup = tmp_path / "gate", tmp_path / "backup.db"
    text = TRUE.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')
    assert home.submit(text).code == 0
    assert home.call("db", "backup", backup).code == 0
    put_back(home, backup)
    home.json("reconcile")
    assert {one["reason"] for one in home.json("show", 1)["tasks"][0]["replicas"]}.isdisjoint({LOST})
    gate.touch()
    assert home.call("wait", "1", "--timeout", "90s").code == 0
    assert len(home.json("show", 1)["tasks"][0]["replicas"]) == 2


@pytest.mark.parametrize("known", [True, False], ids=["by a copy that lacks entries", "by one that has them"])
def test_a_backup_that_lacks_entries_alone_says_so(home: Home, tmp_path: Path, known: bool) -> None:
    """The ledger says that it was put back, once; what is open goes on, for no launch is in doubt."""
    gate, backup = tmp_path / "gate", tmp_path / "backup.db"
    text = TRUE.replace('"true"]', f'"sh", "-c", "while [ ! -e {gate} ]; do sleep 0.02; done"]')
    assert home.submit(text).code == 0
    home.json("reconcile")
    if not known:
        home.call("node", "drain", "n")
    assert home.call("db", "backup", backup).code == 0
    if known:
        home.call("node", "drain", "n")
    home.json("reconcile")
    put_back(home, backup)
    for _ in range(2):
        home.json("reconcile")
    said = [one["kind"] for one in home.json("ledger", "log", "--last", "1000")["entries"]]
    assert said.count("restored") == int(known)
    assert home.call("ledger", "verify").code == 0
    assert {one["reason"] for one in home.json("show", 1)["tasks"][0]["replicas"]}.isdisjoint({LOST})
    gate.touch()
    home.call("node", "resume", "n")
    assert home.call("wait", "1", "--timeout", "90s").code == 0


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: (path.touch(), os.truncate(path, 4 << 40))],
    ids=["a fifo", "a folder", "a device without end", "4 TB of nothing"],
)
def test_what_lies_in_the_place_of_the_number_stops_no_pass(home: Home, put: Callable[[Path], object]) -> None:
    """It tells nothing, and is neither waited for nor read without end."""
    for name in ("newest-launch", "newest-head"):
        (home.path / name).unlink(missing_ok=True)
        put(home.path / name)
    assert home.call("reconcile", before=("prlimit", f"--data={400 << 20}")).code == 0
