"""What a person may have: jobs and tasks that have not ended, core-hours in 30 days, bytes of results.

All of it is counted from the database, here and nowhere else. Core-hours are those that replicas took, and those that
open jobs may still take by the time that they ask for: so a quota holds however much is submitted at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import UsageError
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["Quota", "Standing", "change", "check", "of_person", "standing"]

_DAYS = 30
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000.0


class Quota(Struct, frozen=True, kw_only=True):
    """What one person may have."""

    open_jobs: int = 1_000
    open_tasks: int = 1_000_000
    core_hours: float | None = None  # in 30 days; None: as many as they like
    stored_bytes: int | None = None  # of published results; None: as many as they like


class Standing(Struct, frozen=True, kw_only=True):
    """What one person has, beside what they may have."""

    person: str
    quota: Quota
    open_jobs: int
    open_tasks: int
    core_hours: float  # that replicas took in the last 30 days
    promised_core_hours: float  # that open jobs may still take
    stored_bytes: int

    def rows(self) -> list[dict[str, Any]]:
        """Return for each kind what is there, the most that may be, and what is left; None: no bound."""
        quota, hours = self.quota, self.core_hours + self.promised_core_hours
        found: list[tuple[str, float, float | None]] = [
            ("jobs", self.open_jobs, quota.open_jobs), ("tasks", self.open_tasks, quota.open_tasks),
            ("core_hours", round(hours, 6), quota.core_hours), ("bytes", self.stored_bytes, quota.stored_bytes),
        ]  # fmt: skip
        return [
            {"person": self.person, "what": what, "used": used, "most": most, "left": _left(used, most)}
            for what, used, most in found
        ]


def _left(used: float, most: float | None) -> float | None:
    return None if most is None else max(0, most - used)


def of_person(c: Coordinator, person: str, usual: Quota) -> Quota:
    """Return what a person may have: what was set for them, else what is usual."""
    row = c.store.people.quota(person)
    if row is None:
        return usual
    return Quota(
        open_jobs=usual.open_jobs if row.jobs is None else row.jobs,
        open_tasks=usual.open_tasks if row.tasks is None else row.tasks,
        core_hours=usual.core_hours if row.core_hours is None else row.core_hours,
        stored_bytes=usual.stored_bytes if row.bytes is None else row.bytes,
    )  # fmt: skip


def standing(c: Coordinator, person: str, usual: Quota) -> Standing:
    """Return what a person has and may have."""
    jobs, tasks = c.store.people.open_of(person)
    used, promised = c.store.people.core_ms_of(person, c.now() - _DAYS * _DAY_MS)
    return Standing(
        person=person, quota=of_person(c, person, usual), open_jobs=jobs, open_tasks=tasks, core_hours=used / _HOUR_MS,
        promised_core_hours=promised / _HOUR_MS, stored_bytes=c.store.people.bytes_of(person),
    )  # fmt: skip


def change(
    c: Coordinator, person: str, *, jobs: int | None, tasks: int | None, core_hours: float | None, stored: int | None,
    reset: bool,
) -> None:  # fmt: skip
    """Set what a person may have; None leaves a value as it is. With `reset` all others are as usual again."""
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        if reset:
            c.store.people.remove_quota(person)
        c.store.people.put_quota(person=person, jobs=jobs, tasks=tasks, core_hours=core_hours, stored=stored)


def check(c: Coordinator, person: str, usual: Quota, job: Job | None) -> None:
    """Refuse a job with which a person would have more than they may; None: what they have, with one just stored.

    Raises:
        UsageError: It is too much; what is there, what is asked for and what is left are told.

    """
    quota = of_person(c, person, usual)
    jobs, tasks = c.store.people.open_of(person)
    more_jobs, more_tasks = (0, 0) if job is None else (1, job.n_tasks)
    _check_open("jobs", person, jobs, more_jobs, quota.open_jobs)
    _check_open("tasks", person, tasks, more_tasks, quota.open_tasks)
    if quota.core_hours is not None:
        _check_hours(c, person, quota.core_hours, job)
    if quota.stored_bytes is not None:
        stored = c.store.people.bytes_of(person)
        if stored >= quota.stored_bytes:
            wanted = f"less than {quota.stored_bytes} bytes"
            hint = "ask whoever runs the coordinator: nexapod-batch token quota"
            what = f"the results of {person} fill their quota"
            raise _QuotaError(what, got=f"{stored} bytes", wanted=wanted, hint=hint)


def _check_open(what: str, person: str, number: int, more: int, most: int) -> None:
    if number + more <= most:
        return
    got = f"{number} and {more} more" if more else f"{number}"
    hint = f"{max(0, most - number)} left: wait for some to end, or ask whoever runs the coordinator"
    raise _QuotaError(f"too many {what} of {person} have not ended", got=got, wanted=f"at most {most}", hint=hint)


def _check_hours(c: Coordinator, person: str, most: float, job: Job | None) -> None:
    used, promised = (value / _HOUR_MS for value in c.store.people.core_ms_of(person, c.now() - _DAYS * _DAY_MS))
    more = 0.0
    if job is not None:
        resources = job.resources
        if resources.time_s is None:
            hint = 'say how long it takes at most: resources.time = "10m"'
            raise _QuotaError(f"the core-hours of {person} are counted", got="a job without a time", hint=hint)
        more = job.n_tasks * job.quorum.replicas * resources.time_s * resources.cpus / 3600
    if used + promised + more <= most:
        return
    got = f"{used:.6g} used in {_DAYS} days, {promised:.6g} that open jobs may take, and {more:.6g} more"
    left = f"{max(0.0, most - used - promised):.6g} left: wait, ask for less time, or ask whoever runs the coordinator"
    raise _QuotaError(f"too many core-hours of {person}", got=got, wanted=f"at most {most:g}", hint=left)


class _QuotaError(UsageError):
    """A person has as much as they may have."""

    http_status = 409
