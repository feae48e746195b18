"""Verdicts as the coordinator signed them, each with the number of its entry in the ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.store.database import Database

__all__ = ["NewVerdict", "VerdictRow", "Verdicts"]


class VerdictRow(Row, frozen=True):
    """A signed verdict as it is kept."""

    entry: int  # of the ledger
    packed: bytes  # the payload, deflated; with the job's first one as dictionary, unless it is that
    signature: bytes
    confirmed: int | None  # entry by which a later key of the coordinator signs it; None: by its own


class NewVerdict(NamedTuple):
    """A signed verdict, in the order of the statement that stores it."""

    entry: int
    job_id: int
    task: int
    packed: bytes
    signature: bytes
    again: bool = False  # under other rules than those of the job


class Verdicts:
    """The signed verdicts of all tasks."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "verdicts")

    def insert(self, verdicts: Iterable[NewVerdict]) -> None:
        """Keep verdicts."""
        self._sql.many("verdict_insert", verdicts)

    def first(self, job: int) -> tuple[int, bytes] | None:
        """Return entry and deflated payload of the first verdict on a task of a job; None for none."""
        rows = self._sql.tuples("verdict_first", job=job)
        return (rows[0][0], rows[0][1]) if rows else None

    def of_task(self, job: int, task: int, *, again: bool = False) -> list[VerdictRow]:
        """Return the verdicts on a task, the latest last: a retry makes another one.

        With `again` those under other rules than the job's own.
        """
        return self._sql.all(VerdictRow, "verdicts_of", job=job, task=task, again=again)

    def every_again(self) -> list[tuple[int, int, int, bytes | None]]:
        """Return entry, job, task and the ledger's bytes of every verdict under other rules than the job's own."""
        return self._sql.tuples("verdicts_again")

    def between(self, since: int, until: int) -> list[tuple[int, int, int]]:
        """Return entry, job and task of every verdict with an entry from one to before another."""
        return self._sql.tuples("verdicts_between", since=since, until=until)

    def confirm(self, entry: int, by: int, signature: bytes) -> None:
        """Give a verdict the signature of a later key of the coordinator: that of the time of entry `by`."""
        self._sql.run("verdict_confirmed", entry=entry, by=by, signature=signature)

    def statements(self, job: int, tasks: Sequence[int]) -> list[tuple[int, int, bytes]]:
        """Return task, number and SHA-256 of every statement of some tasks, by task and number."""
        return self._sql.tuples("statements_of_tasks", job=job, tasks=json.dumps(tasks))
