"""A database that is lost, or begins again: nothing that is there is replaced, and what to do is said."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from homes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOISE = """[job]
name = "noise"
command = ["sh", "-c", "date +%s%N > a.txt"]
[quorum]
agree = 1
replicas = 1
distinct = "run"
[[outputs]]
path = "a.txt"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home with one accepted job."""
    one = Home(tmp_path)
    assert one.submit(NOISE, "--wait").code == 0
    yield one
    one.end()


def empty(home: Home) -> None:
    """Leave a database of no bytes."""
    (home.path / "state.db").write_bytes(b"")


def gone(home: Home) -> None:
    """Leave no database."""
    (home.path / "state.db").unlink()


COMMANDS = [
    ("ls",), ("show", "1"), ("verify", "1"), ("results", "1"), ("doctor",), ("reconcile",), ("node", "ls"), ("gc",),
    ("key", "ls"), ("submit", "job.toml"), ("submit", "job.toml", "--dry-run"), ("wait", "1"), ("node", "init", "--name", "x"),
]  # fmt: skip


@pytest.mark.parametrize("lose", [empty, gone], ids=["empty", "gone"])
def test_a_lost_database_is_not_begun_anew_by_accident(home: Home, lose: object) -> None:
    """Every command refuses, says what helps, and leaves everything as it is."""
    lose(home)  # type: ignore[operator]
    for argv in COMMANDS:
        done = home.call(*argv)
        assert done.code == 78, argv
        assert "put a backup back" in done.err
        assert "nexapod-batch db init" in done.err
        there = home.path / "state.db"
        assert not there.exists() or there.stat().st_size == 0


def test_a_person_may_begin_anew_and_results_stay(home: Home) -> None:
    """After `db init` numbers go on behind the results that are there, and these are the same bytes."""
    before = (home.path / "results/1/0/a.txt").read_bytes()
    (home.path / "results/7").mkdir()
    (home.path / "results/notes").mkdir()
    (home.path / f"results/{'9' * 30}").mkdir()
    empty(home)
    assert home.call("db", "init").code == 0
    assert home.json("submit", home.descriptor(NOISE), "--wait")["job"] == 8
    assert home.json("submit", home.descriptor(NOISE), "--wait")["job"] == 9
    assert (home.path / "results/1/0/a.txt").read_bytes() == before
    assert home.call("verify", "8").code == 0


def test_a_restored_backup_takes_no_number_whose_results_exist(home: Home, tmp_path: Path) -> None:
    """Jobs that a backup does not know keep their results."""
    assert home.call("db", "backup", tmp_path / "backup.db").code == 0
    assert home.json("submit", home.descriptor(NOISE), "--wait")["job"] == 2
    before = (home.path / "results/2/0/a.txt").read_bytes()
    for file in home.path.glob("state.db*"):
        file.unlink()
    shutil.copy(tmp_path / "backup.db", home.path / "state.db")
    assert home.json("submit", home.descriptor(NOISE), "--wait")["job"] == 3
    assert (home.path / "results/2/0/a.txt").read_bytes() == before


def test_other_files_in_a_results_folder_are_never_replaced(home: Home) -> None:
    """Where the folder of a task is taken, its result waits and says so; moved away, it is published."""
    assert home.submit(NOISE + "[schedule]\nhold = true\n").code == 0
    folder = home.path / "results/2/0"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("precious\n")
    assert home.call("release", "2").code == 0
    home.call("wait", "2", "--timeout", "90s")
    assert (folder / "a.txt").read_text() == "precious\n"
    assert "holds other files" in home.call("explain", "2").out
    assert "holds other files" in home.json("show", "2")["tasks"][0]["reason"]
    folder.rename(home.path / "elsewhere")
    assert home.call("reconcile").code == 0
    assert home.call("verify", "2").code == 0


def test_a_swapped_key_of_the_coordinator_is_named(home: Home) -> None:
    """Another key in its place is refused before anything is signed with it, and whose it is is said."""
    keys = home.path / "keys"
    (node,) = keys.glob("node-*[!b]")
    mine = (keys / "coordinator").read_bytes()
    (keys / "coordinator").write_bytes(node.read_bytes())
    done = home.submit(NOISE)
    assert done.code == 78
    assert "is not the key of this database" in done.err
    assert f"the key of node {node.name.removeprefix('node-')}" in done.err
    (keys / "coordinator").write_bytes(mine)
    assert home.submit(NOISE, "--wait").code == 0
