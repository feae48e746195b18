"""Replicas and launches that are lost, made again of what nodes signed.

A statement names its replica and says all that the row had of it; the delegation that covers its nonce names launch and
node. What only the database knew, when the replica was placed, is taken to be when it started.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, TypeAlias

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.delegation import decode_delegation
from nexapod_batch.trust.dsse import MAX_ENVELOPE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.store.salvage.file_format import Value
    from nexapod_batch.trust.delegation import Delegation

    # (payload of a statement, document of its job) -> the columns of its replica; None for another job's
    ColumnsOf: TypeAlias = Callable[[bytes, bytes], Mapping[str, Value] | None]

__all__ = ["ColumnsOf", "make_again"]


def make_again(connection: sqlite3.Connection, sql: Mapping[str, str], columns_of: ColumnsOf) -> None:
    """Make replicas of reports that have none, and launches of replicas that have none."""
    connection.execute(sql["made_again"])
    orphans = connection.execute(sql["reports_without_replica"]).fetchall()
    unlaunched = connection.execute(sql["replicas_without_launch"]).fetchall()
    if not orphans and not unlaunched:
        return
    given = _delegations(connection, sql)
    by_nonce = {nonce: launch for launch, (one, _) in given.items() for nonce in one.nonces}
    dictionaries = connection.execute(sql["dictionaries"]).fetchall()
    for replica, packed, sha256, received_at in orphans:
        columns = _columns(packed, sha256, dictionaries, columns_of)
        launch = None if columns is None else by_nonce.get(str(columns["nonce"]))
        if columns is None or launch is None:
            continue
        delegation, node = given[launch]
        ends = {"deadline": delegation.not_after * 1000, "ended_at": received_at}
        row = {**columns, "id": replica, "node_id": node, "launch_id": launch, **ends}
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        connection.execute(f"INSERT OR IGNORE INTO replica ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608
        connection.execute(sql["made_again_insert"], (columns["job_id"], columns["task"]))
    for launch, node, job, created_at in connection.execute(sql["replicas_without_launch"]).fetchall():
        if launch in given:
            connection.execute(sql["launch_insert"], (launch, given[launch][0].launch, node, job, created_at))


def _delegations(connection: sqlite3.Connection, sql: Mapping[str, str]) -> dict[int, tuple[Delegation, int]]:
    """Return what was delegated to each launch, and by which node."""
    found = {}
    for launch, payload, node in connection.execute(sql["delegations"]):
        try:
            found[launch] = decode_delegation(payload), node
        except VerificationError:
            continue
    return found


def _columns(
    packed: bytes, sha256: bytes, dictionaries: Sequence[tuple[int, bytes, bytes]], columns_of: ColumnsOf
) -> Mapping[str, Value] | None:
    """Return the columns of the replica of a statement, which was deflated with the dictionary of one of the jobs."""
    for _, dictionary, document in dictionaries:
        try:
            payload = zlib.decompressobj(-15, dictionary).decompress(packed, MAX_ENVELOPE)
        except zlib.error:
            continue
        if hashlib.sha256(payload).digest() == sha256:
            return columns_of(payload, document)
    return None
