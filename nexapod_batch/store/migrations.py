"""Versions of the schema.

Migration n brings a database from version n - 1 to n; `schema.sql` is the first. Each one commits together with its
record, which is SQLite's own `user_version`, so that a killed process leaves the old version or the new one.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.store.file_header import APPLICATION_ID, BUSY_S
from nexapod_batch.store.lock import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["MIGRATIONS", "Migration", "migrate", "statements"]


class Migration(Struct, frozen=True, kw_only=True):
    """One step of the schema."""

    name: str  # for people
    sql: str  # statements, without BEGIN and COMMIT


def _file(name: str) -> str:
    """Return the text of a file of the schema."""
    with open(os.path.join(os.path.dirname(__file__), "sql", "schema", name), encoding="utf-8") as stream:
        return stream.read()


MIGRATIONS: tuple[Migration, ...] = (
    Migration(name="first schema", sql=_file("schema.sql")),
    Migration(name="signed hardware profiles, and the use of GPUs", sql=_file("hardware.sql")),
    Migration(name="jobs of somebody else", sql=_file("foreign.sql")),
    Migration(name="kinds of failure", sql=_file("failures.sql")),
    Migration(
        name="the machines that replicas ran on",  # as they signed it: boot, machine, since and until in ms
        sql="ALTER TABLE replica ADD COLUMN machine TEXT NOT NULL DEFAULT '';\n",
    ),
    Migration(name="keys of launches, and what nodes signed for them", sql=_file("delegation.sql")),
    Migration(name="verdicts that can be recomputed", sql=_file("evidence.sql")),
    Migration(name="replicas that are still to be stopped", sql=_file("stops.sql")),
    Migration(
        name="which jobs are somebody else's, at a glance",
        sql='CREATE INDEX job_foreign ON job (id) WHERE "foreign" = 1;\n',
    ),
    Migration(
        name="bad reports that were not kept",  # how many of each node came when as many as are kept were there
        sql="ALTER TABLE node ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;\n",
    ),
    Migration(name="reasons of verdicts as data", sql=_file("reasons.sql")),
    Migration(name="reasons of replicas as data, and schedulers' words", sql=_file("replica_reasons.sql")),
    Migration(name="reasons of faults, bad reports and what is not published as data", sql=_file("fault_reasons.sql")),
    Migration(name="a ledger of what happened", sql=_file("ledger.sql")),
    Migration(name="launches that never began, by node", sql=_file("start_failures.sql")),
    Migration(name="what is out has no end", sql=_file("out.sql")),
    Migration(
        name="which cluster a node is, and who made its key",
        sql="ALTER TABLE node ADD COLUMN made_by TEXT NOT NULL DEFAULT '';\n"
        "ALTER TABLE node ADD COLUMN cluster TEXT NOT NULL DEFAULT '';\n"
        "ALTER TABLE node ADD COLUMN cluster_at INTEGER NOT NULL DEFAULT 0;\n",
    ),
    Migration(name="verdicts as they were signed", sql=_file("verdicts.sql")),
    Migration(name="where publications stand in the ledger", sql=_file("publications.sql")),
    Migration(name="people who use the coordinator from elsewhere", sql=_file("people.sql")),
    Migration(name="ranges of keys", sql=_file("keys.sql")),
    Migration(name="jobs by their user", sql="CREATE INDEX job_of ON job (user, id);\n"),
    Migration(name="trails of logs", sql=_file("trails.sql")),
    Migration(
        name="verdicts that were signed anew",  # the entry that revoked the key by which they were signed before
        sql="ALTER TABLE verdict ADD COLUMN confirmed INTEGER;\n",
    ),
    Migration(name="results that are wanted elsewhere", sql=_file("deliveries.sql")),
    Migration(name="replicas that go on where an earlier one stopped", sql=_file("continuations.sql")),
    Migration(name="what nodes committed themselves to report", sql=_file("commitments.sql")),
    Migration(name="states that are checked one by one", sql=_file("checks.sql")),
    Migration(name="what people may have", sql=_file("quotas.sql")),
    Migration(
        name="verdicts under other rules",  # 1: of outputs that were judged again, beside the job's own verdict
        sql="ALTER TABLE verdict ADD COLUMN again INTEGER NOT NULL DEFAULT 0;\n"
        "CREATE INDEX verdict_again ON verdict (job_id, task) WHERE again = 1;\n",
    ),
    Migration(
        name="networks that nodes have called from",  # with blanks between
        sql="ALTER TABLE node ADD COLUMN networks TEXT NOT NULL DEFAULT '';\n",
    ),
    Migration(name="epochs of coordinators that took over", sql=_file("epochs.sql")),
    Migration(name="owners that are approved", sql=_file("owners.sql")),
    Migration(name="inputs that documents share", sql=_file("input_lists.sql")),
)


def statements(script: str) -> Iterator[str]:
    """Split a script into statements, whole triggers included; comments stay where they are.

    Raises:
        ValueError: The last statement has no end.

    """
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if any(line.strip() and not line.strip().startswith("--") for line in pending.splitlines()):
        raise ValueError(f"unfinished statement at the end of the script: {pending.strip()[:80]!r}")


def migrate(connection: sqlite3.Connection, path: Path | str, migrations: Sequence[Migration]) -> None:
    """Bring the database up to date, while nobody else writes; CorruptStoreError when it is newer or not ours."""
    with exclusive(path, wait_s=BUSY_S):
        bring_up(connection, path, migrations)


def bring_up(connection: sqlite3.Connection, path: Path | str, migrations: Sequence[Migration]) -> None:
    """Apply what is missing of the migrations; whoever calls this knows that nobody else writes."""
    while (version := _version(connection, path, len(migrations))) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # executescript() would commit first, and the record would no longer be in the same transaction.
            for statement in statements(migrations[version].sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection, path: Path | str, newest: int) -> int:
    """Return the version of the database: 0 for an empty one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    stamp = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if stamp != APPLICATION_ID and not (empty and version == 0):
        raise CorruptStoreError(
            f"{path} is a database of another program",
            got=f"application id {stamp:#x}",
            wanted=f"{APPLICATION_ID:#x}",
            hint="move it away, or set NEXAPOD_HOME to another folder",
        )
    if version > newest:
        raise CorruptStoreError(
            f"{path} was written by a newer nexapod-batch",
            got=f"schema {version}",
            wanted=f"at most {newest}",
            hint="update nexapod-batch, or put back a backup made by this version",
        )
    return version
