"""A job beside a site: what the site's policy forbids, and what its partitions do not have. Pure.

Faults name the key that must change: `site.X.resources.KEY` where the job says it for that site, else
`resources.KEY`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import Problem
from nexapod_batch.model.fit import excesses, job_at, partition_for, words_at
from nexapod_batch.runtimes import bind_allowed
from nexapod_batch.schema.kinds import nearest, show
from nexapod_batch.schema.units import show_duration, show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.model.fit import Excess
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.site import Partition, Site

__all__ = ["limit_problems", "policy_problems"]

_KEYS = {"mem_mib": "mem", "time_s": "time", "gpu_mem_mib": "gpu_mem"}
_SHOWN = 12  # partitions in one message


def policy_problems(site: Site, job: Job) -> tuple[Problem, ...]:
    """Return where a job asks for what the policy of a site forbids."""
    found = []
    policy, asked = site.policy, job_at(job, site.name).resources
    if policy.max_time_s is not None and (asked.time_s or 0) > policy.max_time_s:
        got, most = show_duration(asked.time_s or 0), show_duration(policy.max_time_s)
        found.append(_problem(site, job, "time_s", f"got {got}, wanted at most {most} (policy of the site)"))
    if job.quorum.agree < policy.min_agree:
        message = f"site {site.name}: got {job.quorum.agree}, wanted at least {policy.min_agree} (policy of the site)"
        found.append(Problem("quorum.agree", message))
    for bind in job.container.bind if job.container else ():
        if not bind_allowed(bind, site.container.bind):
            may = ", ".join(site.container.bind) or "none"
            message = f"site {site.name} does not let jobs have this folder: got {show(bind)}, wanted within: {may}"
            found.append(Problem("container.bind", message))
    return tuple(found)


def limit_problems(site: Site, job: Job) -> tuple[Problem, ...]:
    """Return where a job asks for what no partition of a site has, or not the one that it names."""
    words, at_site = words_at(job, site.name), job_at(job, site.name)
    found = list(_account(site, words))
    if not site.partitions:
        return tuple(found)
    wanted = words.get("partition")
    unknown = list(_unknown(site, at_site, wanted)) if wanted else []
    if unknown:
        return (*found, *unknown)
    if partition_for(site.partitions, at_site, wanted) is not None:
        return tuple(found)
    looked_at = [partition for partition in site.partitions if wanted is None or partition.name in wanted.split(",")]
    return (*found, *_too_much(site, job, looked_at, named=wanted is not None))


def _unknown(site: Site, at_site: Job, wanted: str) -> Iterator[Problem]:
    """Yield each partition in a list of names that a site does not have."""
    names = [partition.name for partition in site.partitions]
    for name in wanted.split(","):
        if name in names:
            continue
        fitting = _fitting(site.partitions, at_site) or "none of them can run this job"
        message = f"site {site.name} has no such partition: got {show(name)}, wanted one of {_listed(names)}"
        message += f" (these would do: {fitting})"
        if hint := nearest(name, names):
            message += f" ({hint})"
        yield Problem(f"site.{site.name}.resources.partition", message)


def _account(site: Site, scheduler_options: dict[str, str]) -> Iterator[Problem]:
    if site.scheduler.account_required and not (scheduler_options.get("account") or site.scheduler.account):
        key = f"site.{site.name}.resources.account"
        yield Problem(key, f"missing: site {site.name} runs nothing without an account, wanted one that you may charge")


def _too_much(site: Site, job: Job, partitions: Sequence[Partition], *, named: bool) -> Iterator[Problem]:
    """Yield the keys that must change so that one of these partitions can run the job."""
    at_site = job_at(job, site.name)
    over = {partition.name: excesses(partition, at_site.resources) for partition in partitions}
    would = _fitting(site.partitions, at_site)
    way = f"these would do: {would}" if would else f"no partition of site {site.name} would do"
    common = set.intersection(*({one.key for one in each} for each in over.values()))
    if not common:  # each lacks something else
        each = "; ".join(f"{name}: {', '.join(map(_words, lacks))}" for name, lacks in list(over.items())[:_SHOWN])
        key = f"site.{site.name}.resources.partition" if named else "resources"
        yield Problem(key, f"site {site.name}: no single partition has all that a replica wants ({each}); {way}")
        return
    for key in sorted(common):
        best_name, best = _largest(key, over)
        message = f"got {_amount(key, best.got)}, wanted {_most(key, best.limit)} (partition {best_name}); {way}"
        yield _problem(site, job, key, message)


def _largest(key: str, over: dict[str, tuple[Excess, ...]]) -> tuple[str, Excess]:
    """Return the partition that has the most of what none has enough of."""
    found = [(name, lack) for name, lacks in over.items() for lack in lacks if lack.key == key]
    return max(found, key=lambda pair: pair[1].limit if isinstance(pair[1].limit, int) else pair[1].limit != "none")


def _problem(site: Site, job: Job, key: str, message: str) -> Problem:
    name = _KEYS.get(key, key)
    path = f"site.{site.name}.resources.{name}" if key in words_at(job, site.name) else f"resources.{name}"
    return Problem(path, f"site {site.name}: {message}")


def _fitting(partitions: Sequence[Partition], at_site: Job) -> str:
    return _listed([partition.name for partition in partitions if not excesses(partition, at_site.resources)])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _words(lack: Excess) -> str:
    return f"{_KEYS.get(lack.key, lack.key)} {_plain(lack.key, lack.got)} instead of {_plain(lack.key, lack.limit)}"


def _most(key: str, limit: int | str) -> str:
    if key == "gpu_type":
        return f"one of: {limit}"
    if key == "tier":
        return str(limit)
    return f"at most {_plain(key, limit)}"


def _amount(key: str, amount: int | str) -> str:
    """Return what a replica needs, and of what, where the key alone does not say it."""
    of_what = {
        "nodes": " hosts",
        "ntasks": " hosts for its tasks",
        "cpus_per_task": " CPUs on one host",
        "mem_mib": " on one host",
        "gpus": " GPUs on one host",
    }
    return _plain(key, amount) + of_what.get(key, "")


def _plain(key: str, amount: int | str) -> str:
    """Return an amount as the key's author would write it."""
    if isinstance(amount, str):
        return amount
    units = {"time_s": show_duration, "mem_mib": show_size, "gpu_mem_mib": show_size}
    return units.get(key, str)(amount)
