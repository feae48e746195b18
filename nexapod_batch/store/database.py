"""One connection to the coordinator's database.

Guarantees:

- A transaction is committed whole or not at all, also when the process is killed, and is durable when `atomic()`
  returns: what happens outside the database follows its intent row, so the row must survive a power cut
  (`synchronous=FULL`).
- On a local disk the journal is a WAL, so that readers never wait. On a network file system, where a WAL corrupts,
  it is a rollback journal.
- A database of a newer version, of another program, or a damaged one is refused before anything is written.
- Only this account can read the file: it holds digests of tasks that are not decided yet.

The file itself is never opened except by SQLite: closing any descriptor of it would drop SQLite's locks.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from nexapod_batch.errors import NotFoundError, TryAgainError
from nexapod_batch.store.faults import disk_faults, raise_explained
from nexapod_batch.store.file_header import APPLICATION_ID, BUSY_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.store.migrations import Migration

__all__ = ["SCHEMA_VERSION", "Database", "Filesystem", "Value"]

SCHEMA_VERSION = 34  # the number of the last migration

# Bytes and NULL go to SQLite as they are. Without an adapter each of them is first asked in vain whether it has one,
# which takes a twentieth of the time in which a report is stored.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), lambda nothing: nothing)

Value: TypeAlias = str | int | float | bytes | None
Filesystem: TypeAlias = "Callable[[Path], tuple[str, bool]]"  # path -> (type, is it on the network?)


class Database:
    """One connection: statements as they are, and transactions. Use `Database.open`."""

    __slots__ = ("_depth", "_file_id", "connection", "file", "guard")

    def __init__(self, connection: sqlite3.Connection, path: Path | str) -> None:
        """Wrap a connection that `open` has prepared."""
        self.connection = connection
        self.file = str(path)
        self.guard: Callable[[], None] | None = None  # called at the beginning of every transaction
        self._depth = 0
        self._file_id = _file_id(self.file)

    @classmethod
    def open(
        cls, path: Path | str, *, write: bool = True, create: bool = False, filesystem: Filesystem | None = None,
        migrations: Sequence[Migration] | None = None, busy_s: float = BUSY_S,
    ) -> Self:  # fmt: skip
        """Open `path`, bringing an older database up to date; `create` makes it and its folder where there is none.

        `filesystem` tells what the path lies on; `busy_s` is how long another connection's transaction is waited for.

        Raises NotFoundError (no database), CorruptStoreError (damaged, newer, or not ours), ConfigError (folder or
        file unusable), TryAgainError (disk full, or in use for longer than the busy time).
        """
        if create:
            _prepare(str(path))
        elif not os.path.exists(path):
            raise NotFoundError(f"no database at {path}", hint="submit a job to make one, or check NEXAPOD_HOME")
        connection = None
        try:
            try:
                connection = connect(path, busy_s=busy_s)
                _settle(connection, path, write=write, filesystem=filesystem, migrations=migrations)
            except sqlite3.OperationalError:
                if write:
                    raise
                if connection is not None:
                    connection.close()
                from nexapod_batch.store import readonly  # noqa: PLC0415 - only where nothing can be written

                connection = readonly.connect(str(path))
                _settle(connection, path, write=False, filesystem=filesystem, migrations=migrations)
            if not write:
                connection.execute("PRAGMA query_only = ON")
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise_explained(error, path)
            raise
        return cls(connection, path)

    @classmethod
    def in_memory(cls) -> Self:
        """Return an empty database that lies nowhere, and is gone when it is closed."""
        from nexapod_batch.store import migrations as module  # noqa: PLC0415

        connection = sqlite3.connect(":memory:", isolation_level=None)
        module.bring_up(connection, ":memory:", module.MIGRATIONS)
        return cls(connection, ":memory:")

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self.connection.close()

    @property
    def is_replaced(self) -> bool:
        """Say whether another database lies in the place of this one since it was opened."""
        return self._file_id != _file_id(self.file)

    # Statements ------------------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Mapping[str, Value]) -> sqlite3.Cursor:
        """Run a statement; what a person can do something about is raised as an error that says so."""
        try:
            return self.connection.execute(sql, params)
        except sqlite3.Error as error:
            raise_explained(error, self.file)

    def fetch(self, cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
        """Return what is left of a query's rows; errors as those of `execute`."""
        try:
            return cursor.fetchall()
        except sqlite3.Error as error:
            raise_explained(error, self.file)

    def execute_many(self, sql: str, rows: Iterable[Mapping[str, Value] | Sequence[Value]]) -> int:
        """Run a statement for every row; return how many rows changed in all.

        All or none: in a transaction of its own, or as part of the one around it. A savepoint for it would make every
        row cost twice as much.
        """
        if not self._depth:
            with self.atomic():
                return self.execute_many(sql, rows)
        try:
            return self.connection.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            raise_explained(error, self.file)

    # Transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Make everything inside one transaction; any exception, KeyboardInterrupt too, rolls it back.

        Inside another one it is a savepoint: only its own changes are undone when it fails.
        """
        mark = f"depth_{self._depth}"
        self._control(f"SAVEPOINT {mark}" if self._depth else "BEGIN IMMEDIATE")
        self._depth += 1
        try:
            if self._depth == 1 and self.guard is not None:
                self.guard()
            yield
            self._control(f"RELEASE {mark}" if self._depth > 1 else "COMMIT")
        except BaseException:
            # SQLite rolls back by itself on some faults (disk full): then there is nothing left to undo.
            if self.connection.in_transaction:
                self._control(f"ROLLBACK TO {mark}" if self._depth > 1 else "ROLLBACK")
                if self._depth > 1:
                    self._control(f"RELEASE {mark}")
            raise
        finally:
            self._depth -= 1

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Do as `atomic` for what a power cut may take back: where there is a WAL, nobody waits for the disk.

        What is committed after it is durable only together with it.
        """
        if self._depth or self.journal != "wal":
            with self.atomic():
                yield
            return
        self._control("PRAGMA synchronous = NORMAL")
        try:
            with self.atomic():
                yield
        finally:
            self._control("PRAGMA synchronous = FULL")

    @property
    def journal(self) -> str:
        """The journal mode in use."""
        return str(self.connection.execute("PRAGMA journal_mode").fetchone()[0])

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Make everything inside part of the transaction around it, or a transaction where there is none.

        No savepoint: inside one, every statement that runs a trigger takes twice as long. What fails inside must end
        the transaction.
        """
        if self._depth:
            yield
            return
        with self.atomic():
            yield

    @contextmanager
    def view(self) -> Iterator[None]:
        """Let all reads inside see one moment of the database, whatever is written meanwhile."""
        if self._depth:
            yield
            return
        self._control("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self._control("ROLLBACK")

    def _control(self, sql: str) -> None:
        """Run a statement that begins or ends something."""
        try:
            self.connection.execute(sql)
        except sqlite3.Error as error:
            raise_explained(error, self.file)


def _file_id(path: str) -> tuple[int, int]:
    """Return what tells one file from another of the same name."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def connect(path: Path | str, *, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """Return a bare connection to an existing file: autocommit, rows by name, foreign keys, durable commits."""
    quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    absolute = quoted if quoted.startswith("/") else os.path.join(os.getcwd(), quoted)
    connection = sqlite3.connect(
        f"file:{absolute}?mode=rw", uri=True, timeout=busy_s, isolation_level=None, cached_statements=256
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    # A transaction over thousands of rows must fit into the cache, or its pages are written more than once.
    connection.execute("PRAGMA cache_size = -65536")  # KiB, taken only as needed
    connection.execute("PRAGMA wal_autocheckpoint = 8000")  # pages
    connection.execute("PRAGMA secure_delete = FAST")  # what is forgotten is overwritten where that costs no writing
    return connection


def _prepare(path: str) -> None:
    """Make the folder and an empty file that only this account can read, where they are missing."""
    if os.path.exists(path):
        return
    from pathlib import Path  # noqa: PLC0415 - once in the life of a database

    from nexapod_batch.files.own import own_folder  # noqa: PLC0415

    folder = Path(path).parent
    with disk_faults(folder):
        own_folder(folder)
    with disk_faults(path):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return  # another process was faster


def _settle(
    connection: sqlite3.Connection,
    path: Path | str,
    *,
    write: bool,
    filesystem: Filesystem | None,
    migrations: Sequence[Migration] | None,
) -> None:
    """Bring version and journal mode to what they must be; costs two reads when they are."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    newest = SCHEMA_VERSION if migrations is None else len(migrations)
    stamped = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    current = version == newest and stamped
    if write or not current:
        _choose_journal(connection, path, filesystem)
    if not current:
        from nexapod_batch.store import migrations as module  # noqa: PLC0415 - once in the life of a version

        module.migrate(connection, path, module.MIGRATIONS if migrations is None else migrations)


def _choose_journal(connection: sqlite3.Connection, file: Path | str, filesystem: Filesystem | None) -> None:
    """Use a WAL on a local disk and a rollback journal on a network file system."""
    if filesystem is None:
        from nexapod_batch.files.filesystem_type import filesystem_of  # noqa: PLC0415 - readers do without

        filesystem = filesystem_of
    from pathlib import Path  # noqa: PLC0415 - readers do without

    path = Path(file)
    kind, is_network = filesystem(path)
    wanted = "delete" if is_network else "wal"
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == wanted:
        return
    from nexapod_batch.store.lock import exclusive  # noqa: PLC0415 - once in the life of a database

    with exclusive(path, wait_s=BUSY_S):
        mode = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
    if mode != wanted and is_network:
        raise TryAgainError(
            f"{path} lies on a network file system ({kind}) and is still in its local mode",
            got=f"journal mode {mode}",
            wanted=wanted,
            hint="stop the other nexapod-batch processes and try again",
        )
