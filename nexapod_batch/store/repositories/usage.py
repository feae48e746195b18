"""What the replicas of a job used, added up by the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from nexapod_batch.store.database import Database

__all__ = ["GpuUsage", "Usage", "UsageRow"]


class UsageRow(Row, frozen=True):
    """What all replicas of a job used that were measured; of those that ended well alone, what ends in `_well`."""

    n: int
    wall_ms: float
    max_wall_ms: int | None
    output_bytes: float
    n_cpu: int  # of how many the CPU time is known
    cpu_ms: float
    timed_ms: float  # wall time of those whose CPU time is known
    max_rss_kib: int | None
    max_wall_ms_well: int | None
    cpu_ms_well: float
    timed_ms_well: float
    max_rss_kib_well: int | None


class GpuUsage(Row, frozen=True):
    """What all replicas of a job used of GPUs, one row of theirs for each GPU."""

    n: int
    wall_ms: float
    time_ms: float | None  # that GPUs were busy; None: not measured
    timed_ms: float | None  # wall time of those whose GPU time is known
    peak_mib: int | None
    energy_mj: float | None


class Usage:
    """Sums over the replicas of a job."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "usage")

    def of_job(self, job: int) -> UsageRow:
        """Return what all replicas of a job used."""
        (row,) = self._sql.all(UsageRow, "usage", job=job)
        return row

    def of_gpus(self, job: int) -> GpuUsage:
        """Return what all replicas of a job used of GPUs."""
        (row,) = self._sql.all(GpuUsage, "usage_gpus", job=job)
        return row

    def elsewhere(self, job: int, limit: int) -> list[str | None]:
        """Return what schedulers call the launches of measured replicas on sites; None where that is not known."""
        return [native for (native,) in self._sql.tuples("usage_elsewhere", job=job, limit=limit)]

    def states(self, job: int) -> dict[tuple[str, str], int]:
        """Return how many replicas of a job there are, by execution and validation."""
        return {(execution, validation): n for execution, validation, n in self._sql.tuples("usage_states", job=job)}
