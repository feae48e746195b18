"""The database: opening, refusing, statements and transactions, on real files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.errors import ConfigError, CorruptStoreError, NotFoundError, TryAgainError
from nexapod_batch.store import Holder, Store, writer
from nexapod_batch.store.database import SCHEMA_VERSION
from nexapod_batch.store.migrations import MIGRATIONS, Migration, statements
from nexapod_batch.store.repositories.operations import LeaseRow
from nexapod_batch.store.repositories.replicas import ReplicaRow
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.store import Filesystem, Value


def local(_path: Path) -> tuple[str, bool]:
    """Stand in for a local disk."""
    return "ext4", False


def network(_path: Path) -> tuple[str, bool]:
    """Stand in for a network file system."""
    return "nfs4", True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database goes: a folder that does not exist, with characters that mean something in a URI."""
    return tmp_path / "a b?c#d%20é" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Return a new, empty store."""
    with Store.open(path, create=True, filesystem=local) as opened:
        yield opened


def lease(store: Store, host: str = "alpha", taken_at: int = 1) -> None:
    """Write a row: the lease table is the simplest one there is."""
    store.operations.take_lease(host=host, boot="b", pid=7, taken_at=taken_at)


def host_of(store: Store) -> str | None:
    """Return the host in the row that `lease` writes."""
    row = store.operations.lease()
    return None if row is None else row.host


def fail_inside(store: Store, host: str, error: BaseException) -> None:
    """Write a row and raise, in one transaction."""
    with store.atomic():
        lease(store, host)
        raise error


def test_a_new_store_is_private_and_complete(store: Store, path: Path) -> None:
    """Folder and file belong to this account alone, whatever the umask; the schema is there; a local disk has a WAL."""
    lease(store)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}
    assert store.journal == "wal"
    assert store.check() == []


def test_the_schema_version_is_the_number_of_migrations() -> None:
    """The cheap constant that opening compares with cannot drift from the list."""
    assert len(MIGRATIONS) == SCHEMA_VERSION


def test_a_missing_database_is_not_made_by_readers(path: Path) -> None:
    """Without `create` nothing appears on the disk."""
    with pytest.raises(NotFoundError, match="submit a job"):
        Store.open(path, write=False, filesystem=local)
    assert not path.parent.exists()


def test_an_empty_file_is_completed(path: Path) -> None:
    """A process killed between making the file and filling it leaves an empty one, which the next one fills."""
    path.parent.mkdir()
    path.touch()
    with Store.open(path, filesystem=local) as store:
        assert store.check() == []


def test_a_reader_cannot_write(store: Store, path: Path) -> None:
    """`write=False` is enforced by SQLite, and told as what it is."""
    lease(store)
    with Store.open(path, write=False, filesystem=local) as reader:
        assert host_of(reader) == "alpha"
        with pytest.raises(ConfigError):
            lease(reader)


def test_a_network_file_system_gets_a_rollback_journal(path: Path) -> None:
    """No WAL there, and none of its files."""
    with Store.open(path, create=True, filesystem=network) as store:
        lease(store)
        assert store.journal == "delete"
        assert [file.name for file in path.parent.glob("*-wal")] == []


def test_a_database_that_moved_changes_its_journal(path: Path) -> None:
    """A store copied to a network file system, and back, is converted by its next writer and keeps its rows."""
    for filesystem, expected in ((local, "wal"), (network, "delete"), (local, "wal")):
        with Store.open(path, create=True, filesystem=filesystem) as store:
            lease(store, host=expected)
            assert store.journal == expected


FULL, NORMAL = 2, 1


@pytest.mark.parametrize(("filesystem", "inside"), [(local, NORMAL), (network, FULL)], ids=["a WAL", "none"])
def test_what_a_power_cut_may_take_waits_for_no_disk(path: Path, filesystem: Filesystem, inside: int) -> None:
    """Where only this host has the database; the next transaction is durable again, whatever became of this one."""
    with Store.open(path, create=True, filesystem=filesystem) as store:
        connection = store._database.connection

        def level() -> int:
            return int(connection.execute("PRAGMA synchronous").fetchone()[0])

        with store.passing():
            lease(store, "passing")
            assert level() == inside
        with pytest.raises(CorruptStoreError), store.passing():
            raise CorruptStoreError
        assert (level(), host_of(store)) == (FULL, "passing")
        with store.atomic(), store.passing():
            assert level() == FULL


def test_a_wal_in_use_on_a_network_file_system_is_refused(store: Store, path: Path) -> None:
    """The conversion needs the file alone; it says so instead of going on with a WAL."""
    with store.view():
        lease_before = host_of(store)
        with pytest.raises(TryAgainError):
            Store.open(path, filesystem=network, busy_s=0.05)
    assert lease_before is None


def test_a_newer_database_is_refused(store: Store, path: Path) -> None:
    """A version from the future is named, and nothing is changed."""
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CorruptStoreError, match=rf"got schema 99, wanted at most {SCHEMA_VERSION}[\s\S]*update nexapod-batch"):
        Store.open(path, filesystem=local)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A database that is not ours keeps its tables as they are."""
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    with pytest.raises(CorruptStoreError, match="another program"):
        Store.open(path, filesystem=local)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("precious",)]
    connection.close()


@pytest.mark.parametrize("content", [b"not a database at all, only text" * 64, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Text or a damaged header is told with what to do next, and left as it is."""
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="db check"):
        Store.open(path, filesystem=local)
    assert path.read_bytes() == content


def test_an_unusable_home_is_a_configuration_error(tmp_path: Path) -> None:
    """A home below a file, or where nothing can be made, is told with the way out."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "state.db", tmp_path / "file" / "deep" / "state.db"):
        with pytest.raises(ConfigError, match="NEXAPOD_HOME"):
            Store.open(path, create=True, filesystem=local)
    with pytest.raises(ConfigError, match="NEXAPOD_HOME"):
        Store.open(tmp_path, filesystem=local)


def test_an_older_database_is_brought_up_to_date(store: Store, path: Path) -> None:
    """A migration runs once, for a reader too, and keeps the rows."""
    lease(store)
    store.close()
    more = (*MIGRATIONS, Migration(name="extra", sql="CREATE TABLE extra (x);\nINSERT INTO extra VALUES (1);"))
    for write in (False, True):
        with Store.open(path, write=write, filesystem=local, migrations=more) as again:
            assert host_of(again) == "alpha"
            assert [row[0] for row in again._database.connection.execute("SELECT x FROM extra")] == [1]


def test_a_failing_migration_leaves_the_old_version(store: Store, path: Path) -> None:
    """The steps of a migration and its record commit together or not at all."""
    store.close()
    broken = (*MIGRATIONS, Migration(name="broken", sql="CREATE TABLE extra (x);\nINSERT INTO nowhere VALUES (1);"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        Store.open(path, filesystem=local, migrations=broken)
    with Store.open(path, filesystem=local) as again:
        assert again.check() == []
        tables = [row[0] for row in again._database.connection.execute("SELECT name FROM sqlite_schema")]
        assert "extra" not in tables


def test_statements_keeps_triggers_whole() -> None:
    """The semicolons inside a trigger end nothing; a script that stops in the middle is refused."""
    script = "CREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n DELETE FROM a;\nEND;\n-- the end\n"
    assert [part.split()[1] for part in statements(script)] == ["TABLE", "TRIGGER"]
    with pytest.raises(ValueError, match="unfinished"):
        list(statements("CREATE TABLE a (x"))


def test_atomic_keeps_all_or_nothing(store: Store) -> None:
    """Any exception, an interrupt too, undoes the block; without one everything is kept."""
    with store.atomic():
        lease(store, "kept")
    with pytest.raises(KeyboardInterrupt):
        fail_inside(store, "lost", KeyboardInterrupt())
    assert host_of(store) == "kept"


def test_an_inner_atomic_undoes_only_itself(store: Store) -> None:
    """A failed inner block may be caught; the outer one goes on."""
    with store.atomic():
        lease(store, "outer")
        with pytest.raises(ZeroDivisionError):
            fail_inside(store, "inner", ZeroDivisionError())
        assert host_of(store) == "outer"
        with store.atomic():
            lease(store, "second")
    assert host_of(store) == "second"


def test_run_tells_how_many_rows_moved(store: Store) -> None:
    """A compare-and-set that does not apply is 0."""
    lease(store, taken_at=5)
    run = Statements(store._database, "operations").run
    assert run("lease_release", host="alpha", boot="b", pid=7, taken_at=4) == 0
    assert run("lease_release", host="alpha", boot="b", pid=7, taken_at=5) == 1


def test_many_is_one_transaction(store: Store) -> None:
    """A bad row in the middle undoes the ones before it; `each` and `all` see what a good run left."""
    rows: list[dict[str, Value]] = [{"host": "h", "boot": "b", "pid": pid, "taken_at": 1} for pid in range(5)]
    sql = Statements(store._database, "operations")
    assert sql.many("lease_take", rows) == 5
    with pytest.raises(sqlite3.IntegrityError):
        sql.many("lease_take", [rows[0], {**rows[1], "host": None}])
    assert [row.pid for row in sql.each(LeaseRow, "lease")] == [row.pid for row in sql.all(LeaseRow, "lease")] == [4]


def test_a_row_has_the_columns_of_its_query(store: Store) -> None:
    """A query that gives other columns, or others first, is a mistake that shows when it is first run."""

    class Short(Row, frozen=True):
        host: str
        boot: str

    class Swapped(Row, frozen=True):
        boot: str
        host: str
        pid: int
        taken_at: int
        released: bool

    sql = Statements(store._database, "operations")
    for kind in (Short, Swapped):
        with pytest.raises(TypeError, match=f"query lease gives host, boot, pid, taken_at, released; {kind.__name__} has"):
            sql.find(kind, "lease")


def test_a_flag_is_a_bool(store: Store) -> None:
    """What SQLite keeps as 0 and 1 is True and False outside, in fields of a base class as well."""
    lease(store)
    row = store.operations.lease()
    assert row is not None
    assert row.released is False
    store.operations.release_lease(host="alpha", boot="b", pid=7, taken_at=1)
    row = store.operations.lease()
    assert row is not None
    assert row.released is True
    assert {"voided", "cleaned"} == ReplicaRow.flags()


def test_a_view_sees_one_moment(store: Store, path: Path) -> None:
    """What another connection commits in between appears only after the view."""
    lease(store, "before")
    with Store.open(path, write=False, filesystem=local) as reader:
        with reader.view():
            assert host_of(reader) == "before"
            lease(store, "after")
            assert host_of(reader) == "before"
        assert host_of(reader) == "after"


def test_a_busy_database_asks_to_try_again(store: Store, path: Path) -> None:
    """A transaction that another connection keeps open ends the waiting."""
    with (
        Store.open(path, filesystem=local, busy_s=0.05) as other,
        store.atomic(),
        pytest.raises(TryAgainError, match="in use"),
        other.atomic(),
    ):
        pytest.fail("entered")


def test_a_full_disk_undoes_the_transaction(store: Store) -> None:
    """SQLite's own limit of pages is a full disk: the error says so, nothing is half done, and the store goes on."""
    lease(store, "before")
    pages = store._database.connection.execute("PRAGMA page_count").fetchone()[0]
    store._database.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(TryAgainError, match="no space left"), store.atomic():
        lease(store, "x" * 1_000_000)
    assert host_of(store) == "before"
    store._database.connection.execute("PRAGMA max_page_count = 1000000")
    lease(store, "x" * 1_000_000)
    assert store.check() == []


def test_enumerations_and_references_are_checked(store: Store) -> None:
    """An illegal row is refused by the schema itself, and stays visible as a mistake of the program."""
    with pytest.raises(sqlite3.IntegrityError):
        store._database.connection.execute("INSERT INTO task (job_id, idx) VALUES (1, 0)")
    with pytest.raises(sqlite3.IntegrityError):
        store._database.connection.execute("INSERT INTO lease VALUES (2, 'h', 'b', 1, 1, 0)")


WRITER = """
import sys
from pathlib import Path
from nexapod_batch.store import Holder, Store, writer
path, start = Path(sys.argv[1]), int(sys.argv[2])
with Store.open(path, create=True, filesystem=lambda _: ("ext4", sys.argv[3] == "network")) as store:
    with writer(store, holder=Holder("alpha", "boot-1", 1)):
        for number in range(start, start + 1_000_000):
            with store.atomic():
                store._database.connection.execute("INSERT INTO fault VALUES (?, 'first', 1, 1)", (f"{number}a",))
                store._database.connection.execute("INSERT INTO fault VALUES (?, 'second', 1, 1)", (f"{number}b",))
            print(number, flush=True)
"""


@pytest.mark.parametrize("kind", ["local", "network"])
def test_kill_9_of_a_writer_loses_nothing_that_was_committed(path: Path, kind: str) -> None:
    """What was committed is there, nothing is there by half, and lock and lease are free at once on the same host."""
    filesystem = network if kind == "network" else local
    start = 0
    for lines in (1, 30, 77):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(start), kind], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            last = max(map(int, process.stdout.read().split()), default=start + lines - 1)
        with Store.open(path, filesystem=filesystem) as store:
            assert store.check() == []
            with writer(store, holder=Holder("alpha", "boot-2", 2)):
                keys = {row[0] for row in store._database.connection.execute("SELECT key FROM fault")}
        assert {f"{number}{half}" for number in range(last + 1) for half in "ab"} <= keys
        assert len(keys) % 2 == 0
        start = len(keys) // 2


def test_processes_that_create_together_agree(path: Path) -> None:
    """Several first commands at once make one complete database."""
    script = (
        "import sys; from pathlib import Path; from nexapod_batch.store import Store\n"
        "sys.stdin.read()\n"
        "with Store.open(Path(sys.argv[1]), create=True, filesystem=lambda _: ('ext4', False)) as store:\n"
        "    print(store.check(), store.journal)"
    )
    read, write = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=read, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    os.close(read)
    os.close(write)  # all of them start now
    assert [process.communicate()[0] for process in processes] == ["[] wal\n"] * 4
