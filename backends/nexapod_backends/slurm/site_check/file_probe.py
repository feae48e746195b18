"""The site file beside what Slurm says of itself, in pure functions: what is promised and not there."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

from nexapod_backends.slurm.cli.hostlist import NOTHING, expand_hosts, read_gpus
from nexapod_backends.slurm.site_check.probe_text import clock_words
from nexapod_batch.plugins import Finding, Mark

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow, PartitionRow
    from nexapod_batch.model.site import Partition, Site

__all__ = ["all_down", "arrays", "launcher", "partitions", "polling"]

#: States in which a host takes no job; a `*` behind any says that it does not answer.
_DOWN = re.compile(r"(?:down|drain|drng|fail|unk|inval|not_resp|no_resp)|.*\*", re.IGNORECASE)


def partitions(
    site: Site,
    rows: Sequence[PartitionRow],
    hosts: Sequence[HostRow],
    account: str | None = None,
    *,
    hidden: Collection[str] = (),
) -> Iterator[Finding]:
    """Yield one finding for each partition of the file, then one for what the file does not see.

    `hidden` is what Slurm does not show to everybody (PrivateData).
    """
    if "partition" in site.scheduler.skip_directives:
        names = ", ".join(one.name for one in site.partitions)
        text = f"{names}: not compared with Slurm's, since no job names one (skip_directives): the site chooses"
        yield Finding(mark=Mark.OK, probe="partitions", text=text)
        return
    there = {one.name: one for one in rows}
    account = account or site.scheduler.account
    for one in site.partitions:
        if one.name in there:
            mine = [row for row in hosts if row.partition == one.name]
            yield _compared(one, there[one.name], mine, account, hidden)
        else:
            yield _not_there(one.name, there, hidden)
    yield from _shared(site, rows, hosts)


def _not_there(name: str, known: Collection[str], hidden: Collection[str]) -> Finding:
    """Return what is to be said of a partition that Slurm does not show."""
    if "partitions" in hidden:
        return Finding(
            mark=Mark.WARN, probe=f"partition {name}",
            text="Slurm does not show it to you (PrivateData=partitions): what the file says of it is not compared",
            hint="check as a user who may use it, or ask who runs the cluster",
        )  # fmt: skip
    text = f"Slurm has none of this name; it has: {', '.join(known) or 'none'}"
    return Finding(mark=Mark.FAIL, probe=f"partition {name}", text=text, hint="correct the file")


def _compared(
    partition: Partition, real: PartitionRow, rows: Sequence[HostRow], account: str | None, hidden: Collection[str]
) -> Finding:
    """Return what is to be said of a partition of the file beside Slurm's."""
    name = f"partition {partition.name}"
    count = len(_hosts(rows)) or real.total_nodes
    closed = [*_closed(real, account)]
    wrong = [*closed, *_promised(partition, real, rows)]
    if wrong:
        mark = Mark.FAIL if closed else Mark.WARN
        hint = "correct the file, or ask who runs the cluster"
        return Finding(mark=mark, probe=name, text="; ".join(wrong), hint=hint)
    if rows:
        text = f"{count} host{'s' * (count != 1)}, and no more is promised than there is"
    else:
        why = " (PrivateData=nodes)" if "nodes" in hidden else ""
        text = f"Slurm shows you none of its {count} hosts{why}: CPUs and memory are not compared"
    return Finding(mark=Mark.OK, probe=name, text=text)


def _closed(real: PartitionRow, account: str | None) -> Iterator[str]:
    """Yield why no job of ours gets into a partition."""
    if real.state != "UP":
        yield f"it is {real.state}"
    if real.accounts and account is not None and account not in real.accounts:
        yield f"only for accounts {', '.join(real.accounts[:10])}, not {account}"


def _promised(partition: Partition, real: PartitionRow, rows: Sequence[HostRow]) -> Iterator[str]:
    """Yield what the file says of a partition and Slurm does not."""
    there = _hosts(rows)
    if down := all_down(rows):
        yield f"all {down} hosts are down or drained now: jobs wait until some are back"
    promised: list[tuple[str, int, int | None]] = [
        ("hosts", partition.hosts, len(there) or None),
        ("max_nodes", partition.max_nodes or 0, real.max_nodes),
        ("max_cpus", partition.max_cpus, _least([row.cpus for row in rows], real.max_cpus_per_node)),
        ("max_mem (MiB)", partition.max_mem_mib, _least([row.mem_mib for row in rows], real.max_mem_mib_per_node)),
        ("gpus", partition.gpus, _least([sum(read_gpus(row.gres).values()) for row in rows], None)),
    ]
    for key, says, has in promised:
        if has is not None and says > has:
            yield f"{key} = {says}, but Slurm has {has}"
    yield from _promised_time(partition, real)


def _promised_time(partition: Partition, real: PartitionRow) -> Iterator[str]:
    """Yield that the file lets jobs run for longer than Slurm does."""
    if real.max_time_s is None:
        return
    if partition.max_time_s is None or partition.max_time_s > real.max_time_s:
        told = "no max_time" if partition.max_time_s is None else f"max_time = {clock_words(partition.max_time_s)}"
        yield f"{told}, but Slurm allows {clock_words(real.max_time_s)}"


def all_down(rows: Sequence[HostRow]) -> int:
    """Return how many hosts there are, where all of them are down or drained; else 0."""
    there = _hosts(rows)
    down = _hosts([row for row in rows if _DOWN.match(row.state)])
    return len(there) if there == down else 0


def _hosts(rows: Sequence[HostRow]) -> set[str]:
    return {host for row in rows for host in row.hosts}


def _least(values: Sequence[int], limit: int | None) -> int | None:
    return min([*values, *([] if limit is None else [limit])], default=None)


def _shared(site: Site, rows: Sequence[PartitionRow], hosts: Sequence[HostRow]) -> Iterator[Finding]:
    """Yield a finding for each pair of nodes that are the same machines."""
    of = {node: _hosts_of({one.name for one in members}, rows, hosts) for node, members in site.groups().items()}
    for left, right in combinations(of, 2):
        both = sorted(of[left] & of[right])
        if both:
            shown = ", ".join(both[:5]) + (" ..." if len(both) > 5 else "")
            yield Finding(
                mark=Mark.FAIL, probe="hosts",
                text=f"nodes {left} and {right} share {shown}: what agrees on both would not be independent",
                hint="give their partitions the same node word",
            )  # fmt: skip


def _hosts_of(names: Collection[str], rows: Sequence[PartitionRow], hosts: Sequence[HostRow]) -> set[str]:
    """Return the hosts of partitions, as sinfo and as scontrol tell them."""
    found = _hosts([row for row in hosts if row.partition in names])
    for row in rows:
        if row.name in names:
            found.update(expand_hosts(row.hosts) or ())
    return found


def arrays(site: Site, config: ClusterConfig) -> Iterator[Finding]:
    """Yield what is to be said of array lengths and job counts."""
    limits = site.limits
    if config.max_array is None:
        yield Finding(mark=Mark.WARN, probe="arrays", text="Slurm does not say its MaxArraySize")
    elif limits.max_array > config.max_array:
        yield Finding(
            mark=Mark.FAIL, probe="arrays",
            text=f"limits.max_array = {limits.max_array}, but MaxArraySize allows {config.max_array}",
            hint=f"set max_array = {config.max_array} or less",
        )  # fmt: skip
    else:
        text = f"limits.max_array = {limits.max_array} of {config.max_array} (MaxArraySize)"
        yield Finding(mark=Mark.OK, probe="arrays", text=text)
    if config.max_job_count is not None and limits.max_jobs > config.max_job_count:
        yield Finding(
            mark=Mark.WARN, probe="queue",
            text=f"limits.max_jobs = {limits.max_jobs}, but Slurm holds {config.max_job_count} in all (MaxJobCount)",
            hint="set max_jobs to a part of that",
        )  # fmt: skip


def polling(site: Site, config: ClusterConfig) -> Finding:
    """Return whether a job that ended can be missed between two looks at the queue."""
    age, every = config.min_job_age_s, site.limits.poll_interval_s
    stay = "?" if age is None else age
    text = f"poll_interval = {every} s, ended jobs stay {stay} s in the queue (MinJobAge)"
    looked_up = config.accounting and site.scheduler.accounting != "squeue"
    if age is None or every < age:
        return Finding(mark=Mark.OK, probe="polling", text=text)
    if looked_up:
        return Finding(mark=Mark.OK, probe="polling", text=f"{text}, later in the accounting")
    return Finding(
        mark=Mark.FAIL, probe="polling", text=f"{text}: how they ended would be missed",
        hint=f"set poll_interval below {age} s",
    )  # fmt: skip


def launcher(site: Site, config: ClusterConfig) -> Finding:
    """Return whether ranks that the site's launcher starts would find each other."""
    words = " ".join(site.scheduler.launcher)
    kind = config.values.get("MpiDefault", "none")
    kind = "none" if kind in NOTHING else kind
    if site.scheduler.launcher[:1] != ("srun",) or "--mpi" in words:
        return Finding(mark=Mark.OK, probe="launcher", text=f"{words} starts jobs of several tasks")
    if kind == "none":
        return Finding(
            mark=Mark.WARN, probe="launcher",
            text="srun tells ranks nothing of each other (MpiDefault = none): each rank of Open MPI would run alone",
            hint='set launcher = ["srun", "--mpi=pmix"] in [scheduler], or what `srun --mpi=list` shows; or "mpiexec"',
        )  # fmt: skip
    return Finding(mark=Mark.OK, probe="launcher", text=f"{words} starts jobs of several tasks, by {kind} (MpiDefault)")
