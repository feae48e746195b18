"""Notes of what replicas wrote to their logs while they ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from nexapod_batch.store.database import Database

__all__ = ["TrailedReplica", "Trails"]


class TrailedReplica(Row, frozen=True):
    """What it takes to check the notes of a replica."""

    id: int
    node_id: int
    nonce: str
    secret: bytes | None  # of the log trails of its launch; None: it was launched by a version without


class Trails:
    """The notes of all replicas."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "trails")

    def replica(self, job: int, task: int, number: int) -> TrailedReplica | None:
        """Return what checks the notes of a replica; None where there is no such replica."""
        return self._sql.find(TrailedReplica, "trailed_replica", job=job, task=task, number=number)

    def of(self, replica: int) -> list[tuple[int, bytes]]:
        """Return the notes of a replica as they came, in order of the numbers that they are kept by."""
        return [(number, note) for number, note in self._sql.tuples("trail_of", replica=replica)]

    def newest(self, replica: int) -> bytes | None:
        """Return the note of a replica with the largest number; None where there is none."""
        return self._sql.value(bytes, "trail_newest", replica=replica)

    def note(self, replica: int, number: int) -> bytes | None:
        """Return the note of a number; None where it did not come."""
        return self._sql.value(bytes, "trail_note", replica=replica, number=number)

    def insert(self, replica: int, number: int, note: bytes) -> None:
        """Keep a note; one that is there already stays as it is."""
        self._sql.run("trail_insert", replica=replica, number=number, note=note)
