"""Signed reports as they came, the files that came with them, the segments that they came in, and bad lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.store.database import Database

__all__ = ["BadLine", "CarriedFiles", "NewReport", "QuarantinedLine", "ReportRow", "Reports"]


class ReportRow(Row, frozen=True):
    """A signed statement as it is kept."""

    payload_sha256: bytes
    packed: bytes  # the payload, deflated with the dictionary of its job
    signature: bytes
    received_at: int
    dictionary: bytes
    launch_id: int
    node_id: int


class CarriedFiles(Row, frozen=True):
    """The files that came with the report of a replica."""

    task: int
    number: int
    files: bytes  # JSON: name -> base64


class QuarantinedLine(Row, frozen=True):
    """A line of a segment that was refused."""

    node: str | None  # name; None where it is registered no longer
    segment: str
    position: int  # bytes from the beginning of the segment
    reason: str


class NewReport(NamedTuple):
    """A signed statement, in the order of the statement that stores it."""

    replica_id: int
    payload_sha256: bytes
    packed: bytes
    signature: bytes
    received_at: int


class BadLine(NamedTuple):
    """A line that is refused, in the order of the statement that stores it."""

    node_id: int
    segment: str
    position: int  # bytes from the beginning of the segment
    reason: str
    line: bytes  # its beginning
    created_at: int


class Reports:
    """What nodes reported."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "reports")

    def of(self, replica: int) -> list[ReportRow]:
        """Return the signed statements of a replica, in the order in which they came."""
        return self._sql.all(ReportRow, "reports_of", replica=replica)

    def insert(self, reports: Iterable[NewReport]) -> None:
        """Store signed statements; one that is stored already is no event."""
        self._sql.many("report_insert", reports)

    def dictionary(self, job: int) -> bytes | None:
        """Return with what the statements of a job are deflated; None before the first one."""
        return self._sql.value(bytes, "dictionary", job=job)

    def insert_dictionary(self, job: int, payload: bytes) -> None:
        """Keep with what the statements of a job are deflated from now on."""
        self._sql.run("dictionary_insert", job=job, payload=payload)

    # Files that came with reports ------------------------------------------------------------------------------

    def carried(self, replica: int) -> bytes | None:
        """Return the files that came with a replica's report, as JSON: name -> base64; None where none are kept."""
        return self._sql.value(bytes, "carried_of", replica=replica)

    def insert_carried(self, carried: Iterable[tuple[int, bytes]]) -> None:
        """Keep for each (replica, files) what came with its report."""
        self._sql.many("carried_insert", carried)

    def supply_carried(self, replica: int, files: bytes) -> None:
        """Keep files whose report came without them before, as long as they are wanted."""
        self._sql.run("carried_supplied", replica=replica, files=files)

    def carried_results(self, job: int, tasks: Sequence[int]) -> list[CarriedFiles]:
        """Return the files that are to be published of each of these tasks, where they came with a report.

        Not of a task that has a loser: it is to be compared with them.
        """
        return self._sql.all(CarriedFiles, "carried_results", job=job, tasks=json.dumps(tasks))

    def drop_carried_of_tasks(self, tasks: Iterable[tuple[int, int]]) -> None:
        """Forget the files that came with the reports of each (job, task)."""
        self._sql.many("task_uncarried", tasks)

    def drop_carried(self, replicas: Iterable[int]) -> None:
        """Forget the files that came with the reports of replicas."""
        self._sql.many("replica_uncarried", [(replica,) for replica in replicas])

    # Segments --------------------------------------------------------------------------------------------------

    def segments(self, node: int) -> dict[str, int]:
        """Return how far, in bytes, each segment of a node was read, by name."""
        return dict(self._sql.tuples("segments", node=node))

    def move_segment(self, node: int, name: str, position: int) -> None:
        """Note how far, in bytes, a segment was read; never backwards."""
        self._sql.run("segment_moved", node=node, name=name, position=position)

    def drop_segment(self, node: int, name: str) -> None:
        """Forget a segment that is gone."""
        self._sql.run("segment_gone", node=node, name=name)

    # Bad lines -------------------------------------------------------------------------------------------------

    def quarantine(self, lines: Iterable[BadLine]) -> None:
        """Keep lines that were refused."""
        self._sql.many("quarantine_insert", lines)

    def count_quarantined(self, node: int) -> int:
        """Return how many bad lines of a node are kept."""
        return self._sql.value(int, "quarantine_of", node=node) or 0

    def note_dropped(self, node: int, number: int) -> None:
        """Count bad lines of a node that are not kept."""
        self._sql.run("quarantine_dropped", node=node, n=number)

    def quarantined(self) -> tuple[int, int]:
        """Return how many bad lines are kept, and how many more there were."""
        ((kept, dropped),) = self._sql.tuples("quarantine_count")
        return kept, dropped

    def last_quarantined(self, limit: int) -> list[QuarantinedLine]:
        """Return the bad lines that came last, the last one first."""
        return self._sql.all(QuarantinedLine, "quarantine_last", limit=limit)
