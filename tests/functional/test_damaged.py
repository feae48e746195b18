"""Damaged databases: what can be read is said and kept, and nothing is half done, whenever a process is killed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from damage import DAMAGES, SWEEP, changes, copy_home, damage, killed_at, pages_of, settle, steps_of
from homes import TRUE, Home

from nexapod_batch.config.settings import Paths
from nexapod_batch.coordinator.commands.upkeep.restore import restore
from nexapod_batch.coordinator.commands.upkeep.salvage import salvage
from nexapod_batch.coordinator.evidence.intact import is_intact
from nexapod_batch.coordinator.evidence.report_columns import columns_of
from nexapod_batch.errors import TryAgainError
from nexapod_batch.store import Store, check_file, writer
from nexapod_batch.store.salvage.readable import load, read
from nexapod_batch.store.salvage.rebuild import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def at_rest(folder: Path, text: str, patience: str) -> Iterator[Home]:
    """Give a home at rest with one job that was accepted; nobody changes it."""
    made = Home(folder)
    try:
        assert made.submit(text, f"--wait={patience}").code == 0
        settle(made)
        yield made
    finally:
        made.end()


@contextmanager
def copied(past: Home, copy: Home) -> Iterator[Home]:
    """Give a copy of a home at rest."""
    copy_home(past.path, copy.path)
    for file in copy.path.glob("spool/*/node.json"):
        file.write_text(file.read_text().replace(str(past.path), str(copy.path)))
    yield copy
    copy.end()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home at rest, with a sweep that was accepted; nobody changes it."""
    with at_rest(tmp_path_factory.mktemp("past"), SWEEP, "60s") as home:
        yield home


@pytest.fixture
def home(past: Home, tmp_path: Path) -> Iterator[Home]:
    """Yield a copy of that home."""
    with copied(past, Home(tmp_path)) as copy:
        yield copy


@pytest.fixture(scope="module")
def short_past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home at rest with one job; nobody changes it."""
    with at_rest(tmp_path_factory.mktemp("short"), TRUE, "30s") as home:
        yield home


@pytest.fixture
def small(short_past: Home, tmp_path: Path) -> Iterator[Home]:
    """Yield a copy of that home."""
    with copied(short_past, Home(tmp_path, "small")) as copy:
        yield copy


def results_of(home: Home) -> dict[str, bytes]:
    """Return every published byte."""
    folder = home.path / "results"
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_left_is_made_into_a_sound_database(past: Home, tmp_path: Path, kind: str) -> None:
    """Whatever happened to the file, what is made of it holds together, and each statement in it verifies."""
    file = tmp_path / "state.db"
    shutil.copyfile(past.path / "state.db", file)
    damage(file, kind)
    assert check_file(file) != []
    new = tmp_path / "new.db"
    done = rebuild(read(load(file)), new, {}, is_intact, columns_of)
    assert check_file(new) == []
    whole = kind in {"header overwritten", "first page missing"}
    assert done.rows["job"] <= 1
    assert (done.rows["report"] == 120) or not whole
    assert (done.reopened == []) or not whole


@pytest.mark.parametrize(
    ("table", "reports", "reopened"),
    [("task", 120, 0), ("job", 120, 0), ("node_key", 120, 0), ("node", 120, 0), ("lease", 120, 0), ("dictionary", 0, 60), ("launch", 120, 0), ("replica", 120, 60)],
)
def test_rows_that_follow_from_others_are_made_again(
    past: Home, tmp_path: Path, table: str, reports: int, reopened: int
) -> None:
    """Without any of its own pages a table is what the others say; without the dictionary no statement can be read."""
    file, new = tmp_path / "state.db", tmp_path / "new.db"
    data = bytearray((past.path / "state.db").read_bytes())
    for page in pages_of(past.path / "state.db", table):
        data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    file.write_bytes(data)
    with_job = rebuild(read(load(file)), new, {}, is_intact, columns_of)
    assert check_file(new) == []
    assert (with_job.rows["report"], len(with_job.reopened)) == (reports, reopened)
    assert with_job.rows["task"] == 60


def test_rows_below_a_lost_page_are_found(past: Home, tmp_path: Path) -> None:
    """The page that leads to all of a table's rows is gone; the rows are not."""
    source, file, new = past.path / "state.db", tmp_path / "state.db", tmp_path / "new.db"
    with closing(sqlite3.connect(f"file:{source}?immutable=1", uri=True)) as connection:
        found = connection.execute("SELECT name, pageno FROM dbstat WHERE pagetype = 'internal' AND name IN ('report', 'replica')")
        pages = dict(found.fetchall())
    assert set(pages) == {"report", "replica"}
    data = bytearray(source.read_bytes())
    for page in pages.values():
        data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    file.write_bytes(data)
    done = rebuild(read(load(file)), new, {}, is_intact, columns_of)
    assert (done.rows["replica"], done.rows["report"], done.reopened, done.lost) == (120, 120, [], [])


def test_what_the_log_holds_is_read_as_well(past: Home, tmp_path: Path) -> None:
    """A write-ahead log beside a damaged database counts, up to its last whole transaction."""
    file = tmp_path / "state.db"
    shutil.copyfile(past.path / "state.db", file)
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE job SET name = 'from the log'")
        writer.commit()
        log = file.with_name("state.db-wal").read_bytes()
    shutil.copyfile(past.path / "state.db", file)
    file.with_name("state.db-wal").write_bytes(log + log[32:2000])
    names = [record.values[2] for record in read(load(file)).tables["job"].records]
    assert names == ["from the log"]


def test_a_statement_that_was_altered_is_not_kept(past: Home, tmp_path: Path) -> None:
    """It is sound for SQLite, and no statement of anybody: its task is decided anew."""
    file, new = tmp_path / "state.db", tmp_path / "new.db"
    shutil.copyfile(past.path / "state.db", file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE report SET signature = randomblob(64) WHERE id = 5")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    done = rebuild(read(load(file)), new, {}, is_intact, columns_of)
    assert (done.rows["report"], len(done.reopened), [table for table, _ in done.lost]) == (119, 1, ["report"])


def test_db_check_says_what_can_be_read_and_salvage_keeps_it(home: Home) -> None:
    """Reports are lost with a page: their tasks are decided anew, results stay, and all verifies in the end."""
    before = results_of(home)
    page = pages_of(home.path / "state.db", "report")[0]
    with (home.path / "state.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    checked = home.json("db", "check", code=78)
    states = {one["name"]: one for one in checked["readable"]}
    assert states["report"]["lost_pages"] == 1
    assert 0 < states["report"]["rows"] < 120
    assert states["task"] == {"name": "task", "rows": 60, "lost_pages": 0, "bad_rows": 0}
    done = home.json("db", "salvage")
    assert done["reopened"] != []
    assert done["jobs_lost"] == []
    assert os.path.exists(f"{done['replaced']}/state.db")
    assert home.call("db", "check").out == "ok\n"
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    assert home.call("verify", "1").code == 0
    assert "statements: the ledger has" in home.call("ledger", "verify").out  # and names how many are lost
    assert results_of(home) == before


@pytest.mark.parametrize("table", ["replica", "launch", "task", "node"])
def test_what_is_made_again_verifies_without_running_anything(home: Home, table: str) -> None:
    """Rows that nobody can read any more follow from what was signed; the same verdicts come of them."""
    before, statements = results_of(home), home.json("usage")["usage"][0]["executions"]
    for page in pages_of(home.path / "state.db", table):
        with (home.path / "state.db").open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(bytes(4096))
    assert home.json("db", "salvage")["lost"] == {}
    assert home.call("wait", "1", "--timeout", "50s").code == 0
    assert home.call("verify", "1").code == 0
    assert home.call("ledger", "verify").code == 0
    assert home.json("usage")["usage"][0]["executions"] == statements
    assert results_of(home) == before


def test_a_job_that_is_made_again_stands_in_the_ledger_as_before(small: Home) -> None:
    """Its row is lost and follows from its document and its statements: nobody can tell but for who submitted it."""
    (page,) = pages_of(small.path / "state.db", "job")
    with (small.path / "state.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    done = small.json("db", "salvage")
    assert (done["rows"]["job"], done["reopened"], done["lost"]) == (1, [], {})
    assert small.call("verify", "1").code == 0
    assert small.call("ledger", "verify").code == 0


def test_salvage_refuses_what_it_would_make_worse(home: Home, tmp_path: Path) -> None:
    """A sound database, one that is not there, and a file of which nothing can be read are left as they are."""
    before = (home.path / "state.db").read_bytes()
    done = home.call("db", "salvage")
    assert (done.code, "is not damaged" in done.err) == (2, True)
    (tmp_path / "rubbish").write_bytes(os.urandom(50_000))
    done = home.call("db", "salvage", "--from", tmp_path / "rubbish")
    assert (done.code, "nothing was changed" in done.err) == (78, True)
    assert (home.path / "state.db").read_bytes() == before
    assert home.call("db", "salvage", "--from", tmp_path / "nowhere").code == 2


def test_a_backup_is_all_that_another_machine_needs(home: Home, tmp_path: Path) -> None:
    """Database, keys, settings and results; what was unpacked by hand is as the list says; nothing is overwritten."""
    (home.path / "sites.d").mkdir()
    (home.path / "sites.d/away.toml").write_text('schema = 1\n[site]\nname = "away"\n')
    made = home.json("backup", tmp_path / "b.tar.gz", "--results")
    assert os.stat(made["backup"]).st_mode & 0o777 == 0o600
    assert home.call("backup", tmp_path / "b.tar.gz").code == 2
    there = Home(tmp_path, "there")
    done = there.json("db", "restore", tmp_path / "b.tar.gz")
    assert (done["jobs"], done["results"], done["replaced"]) == (1, 60, None)
    assert results_of(there) == results_of(home)
    assert (there.path / "keys/coordinator").read_bytes() == (home.path / "keys/coordinator").read_bytes()
    assert (there.path / "sites.d/away.toml").exists()
    assert there.call("verify", "1").code == 0
    assert str(home.path) not in next(there.path.glob("spool/*/node.json")).read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def cut(data: bytes) -> bytes:
    """Return the beginning."""
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """Return it with some bytes turned round: a single one may mean the same in a compressed file."""
    at = len(data) // 2
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 64]) + data[at + 64 :]


@pytest.mark.parametrize("alter", [cut, flip, lambda _: b"", lambda _: b"rubbish" * 999], ids=["cut", "flipped", "empty", "rubbish"])
@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_a_damaged_backup_changes_nothing(small: Home, tmp_path: Path, name: str, alter: object) -> None:
    """It is read to its end before anything is touched."""
    assert small.call("backup", tmp_path / name).code == 0
    before = (small.path / "state.db").read_bytes()
    (tmp_path / name).write_bytes(alter((tmp_path / name).read_bytes()))  # type: ignore[operator]
    done = small.call("db", "restore", tmp_path / name)
    assert done.code == 78
    assert "nothing was changed" in done.err
    assert (small.path / "state.db").read_bytes() == before
    assert small.call("ls").code == 0


def test_a_backup_of_another_coordinator_is_refused(small: Home, tmp_path: Path) -> None:
    """Its database would be signed for with another key; alone, without its keys, it is refused as well."""
    other = Home(tmp_path, "other")
    assert other.submit(TRUE, "--wait=30s").code == 0
    other.end()
    assert other.call("backup", tmp_path / "o.tar").code == 0
    assert other.call("db", "backup", tmp_path / "o.db").code == 0
    before = (small.path / "state.db").read_bytes()
    for file in ("o.tar", "o.db"):
        done = small.call("db", "restore", tmp_path / file)
        assert done.code == 78, file
        assert "nothing was changed" in done.err
    assert (small.path / "state.db").read_bytes() == before


def jobs_in(home: Path) -> int:
    """Return how many jobs a home has, after whatever is unfinished was finished."""
    paths = Paths.of(home)
    assert paths.has_database()
    assert check_file(paths.state_db) == []
    with Store.open(paths.state_db, write=False) as store:
        return store.jobs.count()


@pytest.mark.slow
def test_a_restore_that_is_killed_leaves_the_old_or_the_new(small: Home, tmp_path: Path) -> None:
    """At every change to the disk: two jobs or one, keys and all, and the next attempt succeeds."""
    backup = tmp_path / "b.tar"
    assert small.call("backup", backup).code == 0
    assert small.submit(TRUE, "--wait=30s").code == 0
    settle(small)
    (small.path / "keys/node-gone").write_text("a key that nobody needs")
    counted = Paths.of(copy_home(small.path, tmp_path / "counted"))
    total = changes(lambda: restore(counted, backup))
    seen = []
    for step in steps_of(total):
        copy = copy_home(small.path, tmp_path / f"copy{step}")
        killed_at(step, lambda: restore(Paths.of(copy), backup))  # noqa: B023 - called at once
        seen.append(jobs_in(copy))
        if step % 10 == 0:
            restore(Paths.of(copy), backup)
            assert jobs_in(copy) == 1
        shutil.rmtree(copy)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {1, 2}


@pytest.mark.slow
def test_a_salvage_that_is_killed_leaves_the_old_or_the_new(small: Home, tmp_path: Path) -> None:
    """At every change to the disk: the damaged database as it was, or the sound one."""
    page = pages_of(small.path / "state.db", "report")[0]
    with (small.path / "state.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    before = (small.path / "state.db").read_bytes()
    counted = Paths.of(copy_home(small.path, tmp_path / "counted"))
    total = changes(lambda: salvage(counted))
    seen = []
    for step in steps_of(total):
        copy = copy_home(small.path, tmp_path / f"copy{step}")
        killed_at(step, lambda: salvage(Paths.of(copy)))  # noqa: B023 - called at once
        assert Paths.of(copy).has_database()
        seen.append((copy / "state.db").read_bytes() == before)
        assert seen[-1] or check_file(copy / "state.db") == []
        shutil.rmtree(copy)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {True, False}


def test_who_held_the_old_database_open_writes_nothing_into_it(small: Home, tmp_path: Path) -> None:
    """A process that goes on after a restore finds out before it writes."""
    backup = tmp_path / "b.tar"
    assert small.call("backup", backup).code == 0
    with Store.open(small.path / "state.db") as store:
        restore(Paths.of(small.path), backup)
        with pytest.raises(TryAgainError, match="another database"), writer(store):
            pass
