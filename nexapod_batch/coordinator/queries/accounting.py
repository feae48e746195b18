"""Who submitted what, and what it cost: jobs, executions, core-hours, GPU-hours and energy by user, account or site.

What was not measured is left out of a sum, and a sum of nothing is None: no number here is a guess.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.store.repositories.accounting import JobUse, Submitted

    # of a job on a site ("" where it used nothing): who it is charged to
    Whose: TypeAlias = Callable[[Submitted, str], str]

__all__ = ["GROUPS", "usage"]

#: What use can be told by.
GROUPS = ("user", "account", "site")
#: The scheduler's own account, where neither job nor site names one.
_OWN = "(default)"
_HOUR_MS = 3_600_000.0


class _Sum(Struct):
    """What one user, account or site used so far."""

    jobs: set[int] = field(default_factory=set)
    tasks: int = 0
    accepted: int = 0
    executions: int = 0
    core_ms: float = 0.0
    needed_core_ms: float = 0.0
    n_cpu: int = 0
    cpu_ms: float = 0.0
    n_gpus: int = 0
    gpu_ms: float = 0.0
    n_energy: int = 0
    energy_mj: float = 0.0


def usage(
    jobs: Sequence[Submitted], used: Sequence[JobUse], by: str, accounts: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a document for each user, account or site, who used most first; `by` is one of `GROUPS`. Pure.

    `accounts` are those that sites charge where a job names none. Core-hours are wall time by the CPUs that a replica
    occupied; `overhead_core_hours` are those beyond one valid execution of each accepted task: what trust cost, and
    what failed. A job that ran on several sites counts for each of them; one that did not run yet is nobody's site's.
    """
    sums: dict[str, _Sum] = {}
    known = {job.job: job for job in jobs}
    whose = _whose(by, accounts)
    for one in used:
        job = known[one.job]
        _add_use(_joined(sums, whose(job, one.site), job), job, one)
    ran = {one.job for one in used}
    for job in jobs:
        if job.job not in ran:
            _joined(sums, whose(job, ""), job)
    rows = [_document(by, name, found) for name, found in sums.items()]
    return sorted(rows, key=lambda row: (-row["core_hours"], row[by]))


def _whose(by: str, accounts: Mapping[str, str]) -> Whose:
    """Return what tells whom a job's use on a site is counted for."""
    if by == "user":
        return lambda job, site: job.user  # noqa: ARG005 - the same on every site
    if by == "site":
        return lambda job, site: site or "(none yet)"  # noqa: ARG005 - whoever submitted it
    return lambda job, site: _account(job, site) or accounts.get(site) or _OWN


def _account(job: Submitted, site: str) -> str:
    """Return the account that a job names for a site; for a job that did not run, the first that it names."""
    for name, settings in json.loads(job.sites):
        for key, value in settings:
            if key == "account" and site in {name, ""}:
                return str(value)
    return ""


def _joined(sums: dict[str, _Sum], name: str, job: Submitted) -> _Sum:
    """Return the sum of a name, with a job counted in it once."""
    found = sums.setdefault(name, _Sum())
    if job.job not in found.jobs:
        found.jobs.add(job.job)
        found.tasks += job.n_tasks
        found.accepted += job.n_accepted
    return found


def _add_use(found: _Sum, job: Submitted, used: JobUse) -> None:
    found.executions += used.executions
    found.core_ms += used.wall_ms * job.cpus
    found.needed_core_ms += used.needed_ms * job.cpus
    found.n_cpu += used.n_cpu
    found.cpu_ms += used.cpu_ms
    found.n_gpus += used.n_gpus
    found.gpu_ms += used.gpu_ms
    found.n_energy += used.n_energy
    found.energy_mj += used.energy_mj


def _document(by: str, name: str, found: _Sum) -> dict[str, Any]:
    core_hours, needed = found.core_ms / _HOUR_MS, found.needed_core_ms / _HOUR_MS
    return {
        by: name,
        "jobs": len(found.jobs),
        "tasks": found.tasks,
        "accepted": found.accepted,
        "executions": found.executions,
        "core_hours": round(core_hours, 6),
        "cpu_hours": round(found.cpu_ms / _HOUR_MS, 6) if found.n_cpu else None,
        "gpu_hours": round(found.gpu_ms / _HOUR_MS, 6) if found.n_gpus else None,
        "gpu_energy_kwh": round(found.energy_mj / 3.6e9, 6) if found.n_energy else None,
        "overhead_core_hours": round(core_hours - needed, 6),
        "overhead": round(core_hours / needed, 3) if needed else None,
    }
