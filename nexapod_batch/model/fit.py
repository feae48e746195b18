"""Which partition a job fits in, and what of it does not fit. Pure: nouns in, nouns out.

A replica of N hosts is spread evenly: each host carries its share of tasks, memory and GPUs. Where a job does not say
how many hosts, one task stays on one host, and several tasks take as few hosts as can hold them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.model.job import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import Job, Resources
    from nexapod_batch.model.site import Partition

__all__ = ["Excess", "excesses", "job_at", "partition_for", "words_at"]

_NUMBERS = frozenset({"nodes", "ntasks", "cpus_per_task", "mem_mib", "gpus", "time_s", "disk_mib", "gpu_mem_mib"})


class Excess(Struct, frozen=True, kw_only=True):
    """One thing that a job asks for and a partition does not have."""

    key: str  # field of Resources
    got: int | str  # what one host of the replica needs (for nodes and time: the replica), or a word
    limit: int | str  # what the partition has


def words_at(job: Job, site: str) -> dict[str, str]:
    """Return what the job tells one site: partition, account, qos ..., and resources that differ there, as text."""
    return dict(next((words for name, words in job.sites if name == site), ()))


def job_at(job: Job, site: str) -> Job:
    """Return the job with the resources that it asks for on one site."""
    words = words_at(job, site)
    numbers = {key: int(value) for key, value in words.items() if key in _NUMBERS}
    changed = replace(job.resources, **numbers)
    if "gpu_type" in words:
        changed = replace(changed, gpu_type=words["gpu_type"])
    if changed != job.resources:
        return replace(job, resources=changed)
    return job


def partition_for(partitions: Sequence[Partition], job: Job, wanted: str | None = None) -> Partition | None:
    """Return the first partition, in the file's order, that can run a replica of the job; None when none can.

    `wanted` limits the choice to the names in it (commas between them). What a job asks for on one site only is taken
    into account when it comes through `job_at`.
    """
    named = wanted.split(",") if wanted is not None else None
    for partition in partitions:
        if (named is None or partition.name in named) and not excesses(partition, job.resources):
            return partition
    return None


def excesses(partition: Partition, asked: Resources) -> tuple[Excess, ...]:
    """Return everything that a replica asks for beyond what the partition has."""
    found = []
    if asked.tier not in (Tier.ANY, partition.tier):
        found.append(Excess(key="tier", got=asked.tier.value, limit=partition.tier.value))
    if partition.max_time_s is not None and (asked.time_s or 0) > partition.max_time_s:
        found.append(Excess(key="time_s", got=asked.time_s or 0, limit=partition.max_time_s))
    limit = min(partition.hosts, partition.max_nodes or partition.hosts)
    hosts = _hosts(partition, asked)
    if hosts > limit:
        found.append(Excess(key="nodes" if asked.nodes else "ntasks", got=hosts, limit=limit))
    return (*found, *_on_one_host(partition, asked, hosts), *_of_gpus(partition, asked))


def _on_one_host(partition: Partition, asked: Resources, hosts: int) -> list[Excess]:
    """Return what the share of one of `hosts` hosts is beyond what each has."""
    each = asked.cpus_per_task or 1
    cpus = _share(asked.ntasks or 1, hosts) * each if asked.nodes else each
    shares = (
        ("cpus_per_task", cpus, partition.max_cpus),
        ("mem_mib", _share(asked.mem_mib or 0, hosts), partition.max_mem_mib),
        ("gpus", _share(asked.gpus, hosts), partition.gpus),
    )
    return [Excess(key=key, got=got, limit=most) for key, got, most in shares if got > most]


def _of_gpus(partition: Partition, asked: Resources) -> list[Excess]:
    """Return the type or the memory of GPUs that the partition has not."""
    found = []
    if asked.gpu_type is not None and asked.gpu_type not in partition.gpu_types:
        found.append(Excess(key="gpu_type", got=asked.gpu_type, limit=", ".join(partition.gpu_types) or "none"))
    if partition.gpu_mem_mib is not None and (asked.gpu_mem_mib or 0) > partition.gpu_mem_mib:
        found.append(Excess(key="gpu_mem_mib", got=asked.gpu_mem_mib or 0, limit=partition.gpu_mem_mib))
    return found


def _hosts(partition: Partition, asked: Resources) -> int:
    """Return how many hosts a replica takes in this partition."""
    if asked.nodes:
        return asked.nodes
    tasks = asked.ntasks or 1
    if tasks == 1:
        return 1
    by_cpus = _share(tasks, max(1, partition.max_cpus // (asked.cpus_per_task or 1)))
    by_mem = _share(asked.mem_mib or 0, partition.max_mem_mib)
    by_gpus = _share(asked.gpus, partition.gpus) if partition.gpus else 1
    return min(tasks, max(1, by_cpus, by_mem, by_gpus))  # a host without a task is of no use


def _share(amount: int, parts: int) -> int:
    return -(-amount // parts)
