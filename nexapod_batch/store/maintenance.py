"""Backup, check and upkeep: rare, so this is where sqlite-utils is used, and only here is it imported."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from nexapod_batch.errors import CorruptStoreError, NexapodError, TryAgainError, UsageError
from nexapod_batch.store.faults import disk_faults, explain, raise_explained
from nexapod_batch.store.lock import exclusive

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.store.repositories.operations import Operations

__all__ = ["backup", "check", "optimise"]

_SHOWN = 100  # problems of each kind


def backup(connection: sqlite3.Connection, destination: Path) -> None:
    """Copy the database into one file that can be used as it is; UsageError when `destination` exists."""
    if os.path.lexists(destination):
        raise UsageError(f"{destination} exists", hint="name a new file; a backup never overwrites one")
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        with disk_faults(destination):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            _copy(connection, temporary)
        except sqlite3.Error as error:
            raise_explained(error, destination)
        with disk_faults(destination):
            _sync(temporary)
            temporary.replace(destination)
            _sync(destination.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(connection: sqlite3.Connection, destination: Path) -> None:
    """Copy page by page, leave no WAL beside the copy, and read it once."""
    copy = sqlite3.connect(destination, isolation_level=None)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        if (found := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise CorruptStoreError("the copy is damaged, so the database is", got=found, hint="nexapod-batch db check")
    finally:
        copy.close()


def check(operations: Operations, connection: sqlite3.Connection) -> list[str]:
    """Return the damage of pages, of references and of counters, each as one line."""
    problems: list[str] = []
    try:
        for row in connection.execute(f"PRAGMA integrity_check({_SHOWN})"):
            if row[0] != "ok":
                problems.extend(f"damaged: {line}" for line in str(row[0]).splitlines())
        problems.extend(
            f"table {row[0]}, row {row[1]}: refers to a missing row of {row[2]}"
            for row in connection.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN)
        )
        problems.extend(f"job {job}: its counters contradict its tasks" for job in operations.miscounted_jobs())
        problems.extend(
            f"replica {job}_{task}.{number}: reported, but its report is missing"
            for job, task, number in operations.replicas_without_report()
        )
        problems.extend(
            f"task {job}_{task}: accepted without a valid replica" for job, task in operations.accepted_without_valid()
        )
    except (sqlite3.DatabaseError, NexapodError) as error:
        problems.append(f"cannot be read to the end: {error}".splitlines()[0])
    return problems


def optimise(connection: sqlite3.Connection, path: Path) -> None:
    """Analyse and vacuum, while nobody else writes."""
    import sqlite_utils  # noqa: PLC0415 - 69 ms

    with exclusive(path):
        database = sqlite_utils.Database(connection)
        try:
            database.analyze()
            database.vacuum()
        except sqlite3.Error as error:
            raise explain(error, path) or TryAgainError(f"{path} cannot be vacuumed now", got=error) from error
