"""What the jobs of each user used, by site: sums for an administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from nexapod_batch.store.database import Database

__all__ = ["Accounting", "Given", "JobUse", "Submitted"]


class Submitted(Row, frozen=True):
    """A job that was submitted in a period."""

    job: int
    user: str
    cpus: int  # that one replica of it occupies
    sites: str  # JSON: what it says to the schedulers of sites, [[site, [[key, value], ...]], ...]
    n_tasks: int
    n_accepted: int


class JobUse(Row, frozen=True):
    """What the replicas of one job used on one site, of those that were measured; times in milliseconds."""

    job: int
    site: str
    executions: int
    wall_ms: float
    needed_ms: float  # wall time of one valid replica for each accepted task, the first
    n_cpu: int  # of how many the CPU time is known
    cpu_ms: float
    gpu_ms: float  # wall time, once for each GPU that a replica had
    n_gpus: int
    n_energy: int  # of how many of those the energy is known
    energy_mj: float


class Given(Row, frozen=True):
    """What one node gave in one period, of what was measured; times in milliseconds."""

    node: str
    period: str  # as in `2026-11`; "" for all of it
    tasks: int
    replicas: int
    valid: float  # replicas whose answer was accepted
    core_ms: float  # wall time, once for each CPU that a replica occupied
    n_cpu: int  # of how many the CPU time is known
    cpu_ms: float
    gpu_ms: float  # wall time, once for each GPU that a replica had
    n_gpus: int
    n_energy: int  # of how many of those the energy is known
    energy_mj: float


class Accounting:
    """Sums over all jobs of a period."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "accounting")

    def submitted(self, since_ms: int) -> list[Submitted]:
        """Return the jobs that were submitted since."""
        return self._sql.all(Submitted, "accounting_jobs", since=since_ms)

    def used(self, since_ms: int) -> list[JobUse]:
        """Return what those jobs used until now, a row for each job and site."""
        return self._sql.all(JobUse, "accounting_use", since=since_ms)

    def given(self, form: str, since_ms: int, node: str = "") -> list[Given]:
        """Return what nodes, or one of them, gave since; `form` makes a period of a time, as strftime reads it."""
        return self._sql.all(Given, "accounting_given", form=form, since=since_ms, node=node)
