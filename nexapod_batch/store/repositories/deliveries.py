"""Results that are wanted elsewhere: where they went, and what keeps those back that did not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.store.database import Database

__all__ = ["Deliveries", "DeliveryRow"]


class DeliveryRow(Row, frozen=True):
    """How far the delivery of one job is."""

    job_id: int
    made: int  # deliveries that were completed
    of_finish: int | None  # the end of the job that the last one is of
    place: str  # where it lies
    digest: bytes | None  # SHA-256 of what names everything in it
    tries: int  # that failed since
    next_at: int  # when it is tried again
    reason: str  # why the last try failed, as JSON; "" for none


class Deliveries:
    """The deliveries of all jobs that ask for one."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "deliveries")

    def insert(self, job: int) -> None:
        """Note that the results of a job are wanted elsewhere."""
        self._sql.run("delivery_insert", job=job)

    def find(self, job: int) -> DeliveryRow | None:
        """Return how far the delivery of a job is; None where it asks for none."""
        return self._sql.find(DeliveryRow, "delivery", job=job)

    def due(self, now: int) -> list[DeliveryRow]:
        """Return what can be delivered now: the jobs ended, their results are published, and no try is too recent."""
        return self._sql.all(DeliveryRow, "deliveries_due", now=now)

    def any_untried(self, jobs: Sequence[int]) -> bool:
        """Say whether one of these jobs has ended, and its delivery was not tried yet."""
        return bool(self._sql.value(int, "delivery_untried", jobs=json.dumps(jobs)))

    def failing(self) -> list[tuple[int, str]]:
        """Return job and reason of each delivery whose last try failed."""
        return [(job, reason) for job, reason in self._sql.tuples("deliveries_failing")]

    def done(self, job: int, *, finished: int | None, place: str, digest: bytes) -> None:
        """Note that the results of a job that finished then lie at a place."""
        self._sql.run("delivery_done", job=job, finished=finished, place=place, digest=digest)

    def failed(self, job: int, *, next_at: int, reason: str) -> None:
        """Note why a try failed, and when the next one is."""
        self._sql.run("delivery_failed", job=job, next_at=next_at, reason=reason)

    def at_once(self, job: int) -> None:
        """Let the next try wait no longer."""
        self._sql.run("delivery_at_once", job=job)
