"""Who used how much: sums by user, account and site, of what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexapod_batch.coordinator.queries.accounting import usage
from nexapod_batch.store.repositories.accounting import JobUse, Submitted

HOUR = 3_600_000.0


def job(number: int, user: str = "ann", cpus: int = 1, account: str = "", accepted: int = 1) -> Submitted:
    """Return a submitted job of two tasks; its account is one for the site alpha."""
    sites = json.dumps([["alpha", [["account", account]]]] if account else [])
    return Submitted(job=number, user=user, cpus=cpus, sites=sites, n_tasks=2, n_accepted=accepted)


def use(number: int, site: str = "alpha", wall_h: float = 2.0, **values: Any) -> JobUse:
    """Return what a job used on a site: two executions, of which one was needed, with nothing measured but time."""
    usual = {"executions": 2, "needed_ms": wall_h / 2 * HOUR, "n_cpu": 0, "cpu_ms": 0.0}
    usual |= {"gpu_ms": 0.0, "n_gpus": 0, "n_energy": 0, "energy_mj": 0.0}
    return JobUse(job=number, site=site, wall_ms=wall_h * HOUR, **(usual | values))


def test_core_hours_are_wall_time_by_cpus_and_overhead_what_was_not_needed() -> None:
    """Two executions of one hour on four CPUs, of which one was needed."""
    (row,) = usage([job(1, cpus=4)], [use(1)], "user", {})
    assert (row["user"], row["core_hours"], row["overhead_core_hours"], row["overhead"]) == ("ann", 8.0, 4.0, 2.0)
    assert (row["jobs"], row["tasks"], row["accepted"], row["executions"]) == (1, 2, 1, 2)


def test_what_was_not_measured_is_not_known() -> None:
    """None is no zero; what was measured has its unit."""
    (unknown,) = usage([job(1)], [use(1)], "user", {})
    assert [unknown[name] for name in ("cpu_hours", "gpu_hours", "gpu_energy_kwh")] == [None, None, None]
    measured = use(1, n_cpu=2, cpu_ms=HOUR, n_gpus=2, gpu_ms=4 * HOUR, n_energy=1, energy_mj=3.6e9)
    (row,) = usage([job(1)], [measured], "user", {})
    assert [row[name] for name in ("cpu_hours", "gpu_hours", "gpu_energy_kwh")] == [1.0, 4.0, 1.0]


def test_nothing_accepted_is_no_ratio() -> None:
    """All of it was overhead, and nothing can be divided by."""
    (row,) = usage([job(1, accepted=0)], [use(1, needed_ms=0.0)], "user", {})
    assert (row["overhead_core_hours"], row["overhead"]) == (2.0, None)


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("user", {"ann": 5.0, "bob": 2.0}),
        ("account", {"phys": 2.0, "chem": 2.0, "(default)": 3.0}),
        ("site", {"alpha": 4.0, "beta": 3.0}),
    ],
)
def test_use_is_counted_once_for_whom_it_is(by: str, wanted: dict[str, float]) -> None:
    """A job's account counts on the site that it names it for; else the site's own, else the scheduler's."""
    jobs = [job(1, "ann", account="phys"), job(2, "bob"), job(3, "ann")]
    used = [use(1), use(2), use(1, "beta", 1.0), use(3, "beta")]
    found = {row[by]: row["core_hours"] for row in usage(jobs, used, by, {"alpha": "chem"})}
    assert found == wanted


@pytest.mark.parametrize(("by", "who"), [("user", "ann"), ("account", "phys"), ("site", "(none yet)")])
def test_a_job_that_did_not_run_is_counted(by: str, who: str) -> None:
    """It was submitted, and used nothing."""
    (row,) = usage([job(1, account="phys")], [], by, {})
    assert (row[by], row["jobs"], row["executions"], row["core_hours"]) == (who, 1, 0, 0.0)


def test_who_used_most_comes_first() -> None:
    """Whoever is looked for in a long list is at its top."""
    rows = usage([job(1, "ann"), job(2, "bob")], [use(1, wall_h=1), use(2, wall_h=9)], "user", {})
    assert [row["user"] for row in rows] == ["bob", "ann"]
