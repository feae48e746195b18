"""States in the database: every one that there is, and no other, in a new database and in one that was brought up to date."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.lifecycle import Execution, TaskState, Validation
from nexapod_batch.store import queries
from nexapod_batch.store.database import Database
from nexapod_batch.store.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLUMNS: list[tuple[str, str, Iterable[str]]] = [
    ("replica", "execution", Execution), ("replica", "validation", Validation), ("task", "state", TaskState),
]  # fmt: skip
#: The number of the migration that wrote the checks anew.
WRITTEN_ANEW = [migration.name for migration in MIGRATIONS].index("states that are checked one by one")


def filled(path: Path, versions: int) -> sqlite3.Connection:
    """Return a database of so many versions with one task and one replica, brought up to date."""
    old = Database.open(path, create=True, migrations=MIGRATIONS[:versions])
    old.connection.execute("PRAGMA foreign_keys = OFF")
    old.connection.execute("INSERT INTO task (job_id, idx) VALUES (1, 7)")
    old.connection.execute(
        "INSERT INTO replica (job_id, task, number, node_id, nonce, created_at, deadline, vote) VALUES (1, 7, 1, 1, ?, 1, 2, x'00')",
        ("0" * 32,),
    )
    old.close()
    connection = Database.open(path).connection
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


@pytest.fixture(params=[WRITTEN_ANEW, len(MIGRATIONS)], ids=["of before", "new"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[sqlite3.Connection]:
    """Yield an up-to-date database that was made before the checks were written anew, or after."""
    connection = filled(tmp_path / "state.db", request.param)
    yield connection
    connection.close()


@pytest.mark.parametrize(("table", "column", "states"), COLUMNS, ids=[column for _, column, _ in COLUMNS])
def test_a_column_takes_every_state_and_nothing_else(
    database: sqlite3.Connection, table: str, column: str, states: Iterable[str]
) -> None:
    """Also none that is spelled otherwise, none of another column, and no NULL."""
    statement = f"UPDATE {table} SET {column} = ?"  # noqa: S608 - names of this file
    for state in states:
        database.execute(statement, (str(state),))
    for other in ("", "Reported", "reported ", "accepted' OR '1", "handed", None, 1):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement, (other,))
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize(
    ("subject", "name", "parameters"),
    [("replicas", "replica_insert", 9), ("replicas", "replica_reported", 18), ("tasks", "task_decided", 10)],
)
def test_what_is_written_for_every_replica_builds_no_table(
    database: sqlite3.Connection, subject: str, name: str, parameters: int
) -> None:
    """As SQLite does for IN with more than two values, anew for every row: a third of what it costs to store a report."""
    program = database.execute(f"EXPLAIN {queries.load(subject)[name]}", (1,) * parameters).fetchall()
    steps = [step[1] for step in program]
    assert "TypeCheck" in steps
    assert "OpenEphemeral" not in steps


def test_the_schema_is_the_same_however_old_a_database_is(tmp_path: Path) -> None:
    """And is no longer writable."""
    schemas = []
    for versions in (1, WRITTEN_ANEW, len(MIGRATIONS)):
        connection = filled_schema(tmp_path / f"{versions}.db", versions)
        schemas.append(connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall())
        with pytest.raises(sqlite3.OperationalError, match="may not be modified"):
            connection.execute("UPDATE sqlite_schema SET sql = ''")
        connection.close()
    assert schemas[0] == schemas[1] == schemas[2]


def filled_schema(path: Path, versions: int) -> sqlite3.Connection:
    """Return an empty database that was of so many versions, brought up to date."""
    Database.open(path, create=True, migrations=MIGRATIONS[:versions]).close()
    return Database.open(path).connection
