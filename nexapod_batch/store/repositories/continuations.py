"""Replicas that go on from what an earlier one of their task left when it was stopped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nexapod_batch.model.replica import Continuation
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.model.replica import ReplicaName
    from nexapod_batch.store.database import Database

__all__ = ["Continuations"]


class _Stored(Row, frozen=True):
    """A continuation as it is stored."""

    number: int
    files: str


class Continuations:
    """All continuations."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "continuations")

    def of(self, replica: int) -> Continuation | None:
        """Return from where a replica, by its row id, goes on; None where it begins at the beginning."""
        row = self._sql.find(_Stored, "continuation_of", replica=replica)
        if row is None:
            return None
        return Continuation(number=row.number, files=tuple(sorted(json.loads(row.files).items())))

    def pairs(self, job: int, tasks: Iterable[int]) -> list[tuple[int, int]]:
        """Return (the earlier replica, the one that goes on from it) of these tasks, by their row ids."""
        found = self._sql.tuples("continued", job=job, tasks=json.dumps(sorted(tasks)))
        return [(before, replica) for before, replica in found]

    def digests_of_launch(self, launch: int) -> set[str]:
        """Return the SHA-256 of every file from which the replicas of a launch go on."""
        return self._digests(self._sql.tuples("continuation_files_of_launch", launch=launch))

    def digests_out(self) -> set[str]:
        """Return the SHA-256 of every file from which a replica goes on that may still run."""
        return self._digests(self._sql.tuples("continuation_files_out"))

    def insert(self, replica: ReplicaName, before: int, continues: Continuation) -> None:
        """Note that a replica goes on from what the one of row id `before` left."""
        files = json.dumps(dict(continues.files), sort_keys=True)
        self._sql.run(
            "continuation_insert", job=replica.job, task=replica.task, number=replica.number, before=before,
            files=files,
        )  # fmt: skip

    @staticmethod
    def _digests(rows: Iterable[tuple[str]]) -> set[str]:
        return {digest for (files,) in rows for digest in json.loads(files).values()}
