"""Backup, check and upkeep of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import ConfigError, UsageError
from nexapod_batch.store import Store, check_file, writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def local(_path: Path) -> tuple[str, bool]:
    """Stand in for a local disk."""
    return "ext4", False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store with one job of three tasks."""
    with Store.open(tmp_path / "state.db", create=True, filesystem=local) as opened:
        opened._database.connection.execute(
            "INSERT INTO job (id, uuid, name, user, digest, folder, created_at, n_tasks, n_waiting, n_want)"
            " VALUES (1, 'u', 'n', 'me', ?, '/', 0, 3, 3, 0)",
            ("0" * 64,),
        )
        opened._database.connection.executemany("INSERT INTO task (job_id, idx) VALUES (1, ?)", [(0,), (1,), (2,)])
        yield opened


def test_a_backup_is_one_usable_file(store: Store, tmp_path: Path) -> None:
    """It holds what was committed, also while a transaction is open, is private, and needs no WAL beside it."""
    copy = tmp_path / "copy.db"
    with writer(store), store.atomic():
        store._database.connection.execute("DELETE FROM task WHERE idx = 2")
        with Store.open(store.path, write=False, filesystem=local) as reader:
            reader.backup(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir() if "copy" in file.name] == ["copy.db"]
    with Store.open(copy, filesystem=local) as restored:
        assert restored._database.connection.execute("SELECT count(*) FROM task").fetchone()[0] == 3
        assert restored.check() == []


def test_a_backup_never_overwrites(store: Store, tmp_path: Path) -> None:
    """An existing file, a dangling link and the database itself are refused; a missing folder leaves nothing behind."""
    (tmp_path / "there").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("there", "link", "state.db"):
        with pytest.raises(UsageError, match="exists"):
            store.backup(tmp_path / name)
    with pytest.raises(ConfigError):
        store.backup(tmp_path / "no" / "folder.db")
    assert (tmp_path / "there").read_text() == "keep"
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".tmp")] == []


def test_check_finds_counters_that_contradict(store: Store) -> None:
    """The triggers keep them; what went round the triggers is found."""
    store._database.connection.execute("UPDATE task SET state = 'active', want = 2 WHERE idx = 1")
    assert store.check() == []
    store._database.connection.execute("UPDATE job SET n_waiting = 1, n_failed = 1")
    assert store.check() == ["job 1: its counters contradict its tasks"]


def test_check_finds_rows_without_their_parent(store: Store) -> None:
    """A job without tasks and tasks without a job are both told."""
    store._database.connection.execute("PRAGMA foreign_keys = OFF")
    store._database.connection.execute("UPDATE task SET job_id = 5")
    found = store.check()
    assert "job 1: its counters contradict its tasks" in found
    assert sum("refers to a missing row of job" in line for line in found) == 3


def test_check_finds_accepted_tasks_without_valid_replicas(store: Store) -> None:
    """A verdict without anything to show for it is damage."""
    store._database.connection.execute("UPDATE task SET state = 'accepted' WHERE idx = 2")
    assert store.check() == ["task 1_2: accepted without a valid replica"]


def test_check_finds_damaged_pages(store: Store) -> None:
    """A page of rubbish in the middle is listed, not raised."""
    path = store.path
    store.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 5 * 4096] = b"\xa5" * 8192
    path.write_bytes(content)
    assert check_file(path) != []


def test_check_of_a_file_that_is_no_database_is_a_list_too(tmp_path: Path) -> None:
    """`db check` is what the error of opening points to, so it must say something about every file."""
    path = tmp_path / "state.db"
    path.write_bytes(b"rubbish" * 1000)
    assert [line for line in check_file(path) if "no database" in line] != []


def test_optimise_keeps_everything(store: Store) -> None:
    """Statistics and vacuum change no row."""
    store.optimise()
    assert store.check() == []
    assert store._database.connection.execute("SELECT count(*) FROM task").fetchone()[0] == 3
