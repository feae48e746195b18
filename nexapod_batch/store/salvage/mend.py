"""Making salvaged rows agree with one another: what follows from others is made again, what hangs in the air goes.

The caller has opened a transaction and taken the triggers away.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.document import digest, digests, from_document
from nexapod_batch.store.migrations import statements
from nexapod_batch.store.queries import parse
from nexapod_batch.store.salvage.replicas import make_again
from nexapod_batch.trust.statement_decoder import decode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nexapod_batch.store.salvage.replicas import ColumnsOf

    IsIntact: TypeAlias = "Callable[[SignedReport], bool]"

__all__ = ["IsIntact", "SignedReport", "mend"]

_Lost = list[tuple[str, dict[str, Any]]]
_Sql = dict[str, str]


def mend(
    connection: sqlite3.Connection, names: Mapping[str, str], is_intact: IsIntact, columns_of: ColumnsOf
) -> tuple[list[tuple[int, int]], list[int], _Lost]:
    """Return the tasks that are to be decided anew, the jobs that are lost, and the rows that hang in the air."""
    sql = parse(_text("steps.sql"), "steps.sql")
    _nodes_from_keys(connection, sql, names)
    _jobs_from_bundles(connection, sql)
    _jobs_from_statements(connection, sql)
    make_again(connection, sql, columns_of)
    lost: _Lost = _drop_damaged_reports(connection, sql, is_intact)
    jobs_lost = _jobs_without_document(connection, sql)
    _tasks_from_documents(connection, sql)
    lost += _drop_orphans(connection)
    for statement in statements(_text("mend.sql")):
        connection.execute(statement)
    reopened = connection.execute("SELECT job_id, idx FROM reopened ORDER BY job_id, idx").fetchall()
    connection.execute("DROP TABLE reopened")
    return reopened, jobs_lost, lost


def _text(file: str) -> str:
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "sql", "salvage", file)
    with open(path, encoding="utf-8") as stream:
        return stream.read()


class SignedReport(NamedTuple):
    """A stored statement, and what it takes to check it."""

    packed: bytes
    dictionary: bytes
    payload_sha256: bytes
    signature: bytes
    delegation: bytes | None  # payload of what the node signed for the key of the launch
    first_key: bytes  # of the node: it signed the statements of launches without a delegation


def _drop_damaged_reports(connection: sqlite3.Connection, sql: _Sql, is_intact: IsIntact) -> _Lost:
    """Take out statements that can no longer be checked, or are not what was signed."""
    bad: list[tuple[int, int, SignedReport]] = []
    for number, replica, *rest in connection.execute(sql["reports"]):
        report = SignedReport(*rest)
        if not is_intact(report):
            bad.append((number, replica, report))
    connection.executemany(sql["report_delete"], [(number,) for number, _, _ in bad])
    return [("report", {"id": number, "replica_id": replica, **report._asdict()}) for number, replica, report in bad]


def _jobs_from_bundles(connection: sqlite3.Connection, sql: _Sql) -> None:
    """Make jobs and documents again that a signed bundle of an open launch still has."""
    envelopes = [row[0] for row in connection.execute(sql["envelopes"])]
    for job, uuid, document in _bundles(envelopes):
        body = document.encode()
        known = connection.execute(sql["digest_of"], (job,)).fetchone()
        if known is None:
            _make_job(connection, sql, job, uuid, body)
        elif known[0] != digest(body):
            continue
        connection.execute(sql["document_insert"], (job, body))


def _jobs_from_statements(connection: sqlite3.Connection, sql: _Sql) -> None:
    """Make jobs again whose documents are there, by what nodes signed of them."""
    for job, body, payload in connection.execute(sql["jobs_by_statement"]).fetchall():
        try:
            said, known = decode(payload), digests(body)
        except (VerificationError, ValueError, KeyError, TypeError):
            continue
        if said.replica.job == job and said.job_digest in known:
            _make_job(connection, sql, job, said.job_uuid, body)


def _bundles(envelopes: Sequence[bytes]) -> Iterator[tuple[int, str, str]]:
    """Yield (job, uuid, document) of every bundle that is kept."""
    for envelope in envelopes:
        try:
            job = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["job"]
            yield int(job["id"]), str(job["uuid"]), str(job["document"])
        except (ValueError, KeyError, TypeError):
            continue


def _make_job(connection: sqlite3.Connection, sql: _Sql, job: int, uuid: str, body: bytes) -> None:
    """Make the row of a job again, as far as its document tells; who submitted it, and where, is lost."""
    try:
        pinned = from_document(json.loads(body))
    except (ValueError, KeyError, TypeError):
        return
    row = (job, uuid, pinned.name, digest(body), pinned.schedule.priority, pinned.n_tasks)
    connection.execute(sql["job_insert"], row)


def _jobs_without_document(connection: sqlite3.Connection, sql: _Sql) -> list[int]:
    """Take out jobs of which nobody knows what they run any more, and whose documents are not the pinned ones."""
    found = connection.execute(sql["documents"]).fetchall()
    lost = [job for job, pinned, body in found if body is None or digest(body) != pinned]
    for job in lost:
        connection.execute(sql["document_delete"], (job,))
        connection.execute(sql["job_delete"], (job,))
    without_row = [row[0] for row in connection.execute(sql["documents_without_job"])]
    return sorted({*lost, *without_row})


def _nodes_from_keys(connection: sqlite3.Connection, sql: _Sql, names: Mapping[str, str]) -> None:
    """Make rows of nodes again whose keys are known: what else they were is lost, so they get nothing to do."""
    for node, key, public, since in connection.execute(sql["keys_without_node"]).fetchall():
        connection.execute(sql["node_insert"], (node, names.get(key, f"lost-{node}"), key, public, since))
    connection.execute(sql["keys_of_nodes"])


def _tasks_from_documents(connection: sqlite3.Connection, sql: _Sql) -> None:
    """Make the tasks of each job again that are missing; they are decided by the replicas that are left."""
    for job, body in connection.execute(sql["jobs_without_tasks"]).fetchall():
        missing = [(job, index) for index in from_document(json.loads(body)).task_indexes()]
        connection.executemany(sql["task_insert"], missing)


def _drop_orphans(connection: sqlite3.Connection) -> _Lost:
    """Take out rows that refer to rows that are gone, until none is left; the schema says what refers to what."""
    lost: _Lost = []
    tables = [row[1] for row in connection.execute("PRAGMA table_list") if row[2] == "table"]
    again = True
    while again:
        again = False
        for table in tables:
            for condition in _references(connection, table):
                rows = connection.execute(f'DELETE FROM "{table}" WHERE {condition} RETURNING *')  # noqa: S608
                columns = [column[0] for column in rows.description]
                gone = [(table, dict(zip(columns, row, strict=True))) for row in rows.fetchall()]
                lost += gone
                again = again or bool(gone)
    return lost


def _references(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    """Yield, for each foreign key of a table, what is true of rows whose parent is gone."""
    keys: dict[int, tuple[str, list[tuple[str, str]]]] = {}
    for number, _, parent, child_column, parent_column, *_ in connection.execute(f'PRAGMA foreign_key_list("{table}")'):
        keys.setdefault(number, (parent, []))[1].append((child_column, parent_column or child_column))
    for parent, pairs in keys.values():
        given = " AND ".join(f'"{table}"."{child}" IS NOT NULL' for child, _ in pairs)
        same = " AND ".join(f'parent."{of_parent}" = "{table}"."{child}"' for child, of_parent in pairs)
        yield f'{given} AND NOT EXISTS (SELECT 1 FROM "{parent}" AS parent WHERE {same})'  # noqa: S608
