"""A site file from what Slurm says of itself: a first version that its admin reads, corrects and completes. Pure.

Partitions that share hosts get the same `node` word, because they are one group of machines. Where the hosts of a
partition differ, the smallest counts, and a comment says so. Only names that a site file may hold are written; of
everything else a comment is left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_backends.slurm.cli.hostlist import expand_hosts, read_gpus
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow, PartitionRow
    from nexapod_batch.model.site import Scheduler

__all__ = ["site_file"]

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}", re.ASCII)
_YEAR_S = 365 * 86_400
_MAX_ARRAY = 1_000  # elements of one array that we want at most
_LIST_MAX = 100  # entries of a list in a site file
_HOSTS_MAX, _CPUS_MAX, _MIB_MAX, _GPUS_MAX = 1_000_000, 100_000, 1024**3, 1_000  # numbers in a site file
_PARTITIONS_MAX = 1_000


class _Found(Struct, frozen=True, kw_only=True):
    """One partition and its hosts."""

    partition: PartitionRow
    rows: tuple[HostRow, ...]
    hosts: frozenset[str]


def site_file(
    config: ClusterConfig,
    partitions: Sequence[PartitionRow],
    hosts: Sequence[HostRow],
    *,
    name: str = "",
    reached: Scheduler | None = None,
    here: str = "",
) -> str:
    """Return the text of a site file, TOML with comments; `name` is the site's, else the cluster's.

    `reached` says where the commands were found, for the file to say it too; `here` is the name of this machine, one
    of its login nodes.

    SchedulerError when there is no partition that a site file could hold.
    """
    name = _trimmed(name or config.cluster, r"[^A-Za-z0-9_-]", 32) or "cluster"
    usable, left_out = _chosen(partitions, hosts)
    if not usable:
        hint = "run it as a user who may submit jobs there, or write the site file by hand"
        if "partitions" in config.hidden:
            hint = f"Slurm hides partitions from who may not use them (PrivateData=partitions): {hint}"
        got = "; ".join(left_out[:10]) or "none"
        raise SchedulerError("the cluster shows no partition that can be used", got=got, hint=hint)
    lines = [*_head(config, name, reached, here), *(f"# {line}" for line in left_out)]
    for one, word in _grouped(usable):
        lines += _partition(one, word)
    return "\n".join([*lines, ""])


def _chosen(partitions: Sequence[PartitionRow], hosts: Sequence[HostRow]) -> tuple[list[_Found], list[str]]:
    """Return the partitions that the file can hold, and why others are left out."""
    usable: dict[str, _Found] = {}
    left_out: list[str] = []
    for one in partitions:
        why = _why_not(one)
        if one.name in usable:
            why = "there is another one of this name"
        if len(usable) >= _PARTITIONS_MAX:
            why = f"a site file holds {_PARTITIONS_MAX}"
        if why:
            left_out.append(f"partition {_comment(one.name)} is left out: {why}")
        else:
            usable[one.name] = _gather(one, hosts)
    return list(usable.values()), left_out


def _head(config: ClusterConfig, name: str, reached: Scheduler | None, here: str) -> Iterator[str]:
    title = _comment(config.cluster) or name
    yield f"# What Slurm {_comment(config.version)} says of cluster {title}. Read it, correct it, and complete what is"
    yield f"# commented out; then: nexapod-batch site check {name}"
    yield from ("schema = 1", "", "[site]", f'name = "{name}"', f'title = "{_toml(title)}"')
    yield '# contact = "support@example.org"'
    if _HOST.fullmatch(here):
        yield f'hostnames = ["{here}"]  # login nodes, this one and which else? No local node is made there unasked'
    else:
        yield f'# hostnames = ["login*.{name}.example.org"]  # login nodes: no local node is made there unasked'
    yield from ("", "[scheduler]", 'type = "slurm"')
    for key, value in (("bin", reached.bin), ("conf", reached.conf)) if reached else ():
        if value:
            yield f'{key} = "{_toml(value)}"'
    if not config.memory_is_counted:
        yield "# Slurm does not count memory here (SelectTypeParameters); it is asked for all the same"
    yield 'memory = "per-node"  # or per-cpu, or none where the site forbids --mem'
    yield _accounting(config)
    yield '# account = "..."  # charged where a job names none'
    yield "# account_required = true"
    yield from ("", "[limits]")
    elements = config.max_array if config.max_array is not None else _MAX_ARRAY
    yield f"max_array = {max(1, min(_MAX_ARRAY, elements))}  # Slurm allows {elements} (MaxArraySize)"
    if not config.accounting and config.min_job_age_s is not None:
        yield f"poll_interval = {_quoted_s(max(1, min(30, config.min_job_age_s // 3)))}  # MinJobAge is short"
    yield from ("", "[runner]", '# python = "/path/to/python"  # on the compute nodes, with nexapod-batch installed')
    yield from ("", "[filesystem]", '# work_dir = "/shared/{user}/nexapod"  # seen by login and compute nodes', "")


def _accounting(config: ClusterConfig) -> str:
    """Return the line that says where the ends of jobs are looked up."""
    if config.accounting:
        return 'accounting = "sacct"'
    known_s = config.min_job_age_s or "?"
    return f'accounting = "squeue"  # no accounting: ended jobs are known for {known_s} s only'


def _why_not(partition: PartitionRow) -> str:
    """Say why a partition cannot stand in the file; "" when it can."""
    if not _WORD.fullmatch(partition.name):
        return "its name has characters that scripts may not hold"
    if partition.root_only:
        return "only root may use it"
    if partition.hidden:
        return "it is hidden"
    return "" if partition.state == "UP" else f"it is {_comment(partition.state)}"


def _gather(partition: PartitionRow, hosts: Sequence[HostRow]) -> _Found:
    rows = tuple(row for row in hosts if row.partition == partition.name)
    names = frozenset(name for row in rows for name in row.hosts) or frozenset(expand_hosts(partition.hosts) or ())
    return _Found(partition=partition, rows=rows, hosts=names)


def _grouped(partitions: Sequence[_Found]) -> Iterator[tuple[_Found, str]]:
    """Yield the partitions with the word of their group; "" for all where there is one group only."""
    groups = _sharing_hosts(partitions)
    word_of: dict[int, str] = {}  # by position
    for positions in groups:
        stem = _trimmed(partitions[positions[0]].partition.name, r"[^A-Za-z0-9_-]", 28) or "group"
        word, number = stem, 2
        while word in word_of.values():
            word, number = f"{stem}-{number}", number + 1
        word_of.update(dict.fromkeys(positions, word))
    for position, found in enumerate(partitions):
        yield found, word_of[position] if len(groups) > 1 else ""


def _sharing_hosts(partitions: Sequence[_Found]) -> list[list[int]]:
    """Return the positions of partitions that share hosts, directly or through others, as groups in order."""
    groups: list[tuple[set[str], list[int]]] = []
    for position, found in enumerate(partitions):
        hosts, positions = set(found.hosts), [position]
        for group in [group for group in groups if group[0] & found.hosts]:
            hosts |= group[0]
            positions += group[1]
            groups.remove(group)
        groups.append((hosts, sorted(positions)))
    return sorted(positions for _, positions in groups)


def _partition(found: _Found, word: str) -> Iterator[str]:
    partition, rows = found.partition, found.rows
    yield from ("", "[[partitions]]", f'name = "{partition.name}"' + ("  # the default" if partition.default else ""))
    if word:
        yield f'node = "{word}"  # partitions that share hosts carry the same word'
    yield from _admission(partition)
    yield 'tier = "hpc"  # or consumer-gpu, cpu'
    hosts = max(1, min(_HOSTS_MAX, len(found.hosts) or partition.total_nodes))
    down = sum(len(row.hosts) for row in rows if re.match(r"down|drain|fail|unk|inval", row.state, re.IGNORECASE))
    yield f"hosts = {hosts}" + (f"  # down or drained now: {down}" if down else "")
    if partition.max_time_s is None:
        yield "# no max_time: Slurm has no limit here"
    else:
        yield f'max_time = "{_clock(max(1, min(_YEAR_S, partition.max_time_s)))}"'
    if partition.max_nodes:
        yield f"max_nodes = {min(partition.max_nodes, hosts)}"
    yield from _sizes(partition, rows)
    yield from _features(rows)


def _admission(partition: PartitionRow) -> Iterator[str]:
    """Yield comments on whose jobs a partition takes, and whether they share hosts."""
    if partition.accounts or partition.groups:
        accounts, groups = _some(partition.accounts) or "of all", _some(partition.groups) or "of all"
        yield f"# only for accounts {accounts}, groups {groups}"
    if partition.exclusive:
        yield "# every job gets whole hosts"


def _features(rows: Sequence[HostRow]) -> Iterator[str]:
    """Yield the features that hosts have, and which have them where not all do."""
    features = _names(feature for row in rows for feature in row.features)
    if features == "[]":
        return
    yield f"features = {features}"
    kinds: dict[tuple[str, ...], int] = {}
    for row in rows:
        kinds[row.features] = kinds.get(row.features, 0) + len(row.hosts)
    if len(kinds) > 1:
        counts = "; ".join(f"{count} with {_some(kind) or 'none'}" for kind, count in list(kinds.items())[:10])
        yield f"# hosts differ in features: {counts}"


def _sizes(partition: PartitionRow, rows: Sequence[HostRow]) -> Iterator[str]:
    """Yield CPUs, memory and GPUs of one host: the smallest where hosts differ."""
    if not rows:
        yield "# sinfo shows no hosts (PrivateData=nodes?): CPUs and memory of one host must be filled in"
        return
    cpus, mems = {row.cpus for row in rows}, {row.mem_mib for row in rows}
    limit = min(cpus) if partition.max_cpus_per_node is None else min(*cpus, partition.max_cpus_per_node)
    yield f"max_cpus = {max(1, min(_CPUS_MAX, limit))}" + _differ(cpus, "CPUs")
    memory = min(mems) if partition.max_mem_mib_per_node is None else min(*mems, partition.max_mem_mib_per_node)
    if memory > 1:
        yield f'max_mem = "{_size(min(_MIB_MAX, memory))}"' + _differ(mems, "MiB")
    else:
        yield '# max_mem = "..."  # Slurm does not know how much memory the hosts have'
    if partition.max_mem_mib_per_cpu:
        yield f"# at most {partition.max_mem_mib_per_cpu} MiB for each CPU"
    yield from _gpus(rows)


def _gpus(rows: Sequence[HostRow]) -> Iterator[str]:
    """Yield number and types of the GPUs of one host, where there are any."""
    kinds = [read_gpus(row.gres) for row in rows]
    counts = {sum(kind.values()) for kind in kinds}
    if max(counts):
        yield f"gpus = {min(_GPUS_MAX, *counts)}" + _differ(counts, "GPUs")
        yield f"gpu_types = {_names(name for kind in kinds for name in kind)}"


def _differ(values: set[int], unit: str) -> str:
    return f"  # hosts differ: {min(values)} to {max(values)} {unit}; the smallest counts" if len(values) > 1 else ""


def _names(names: Iterable[str]) -> str:
    """Return a TOML list of the words that a site file may hold, each once, sorted."""
    kept = sorted({word for word in names if _WORD.fullmatch(word)})[:_LIST_MAX]
    return "[" + ", ".join(f'"{word}"' for word in kept) + "]" if kept else "[]"


def _some(names: Sequence[str]) -> str:
    return _comment(", ".join(names[:10])) + (" ..." if len(names) > 10 else "")


def _comment(text: str) -> str:
    """Return a foreign text that can stand in a comment."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])


def _toml(text: str) -> str:
    """Return a text that can stand in a TOML string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _trimmed(text: str, unwanted: str, length: int) -> str:
    """Return a text with every unwanted character as a dash, none of them first."""
    return re.sub(unwanted, "-", text, flags=re.ASCII).lstrip("-_")[:length]


def _quoted_s(seconds: int) -> str:
    return f'"{seconds}s"'


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def _size(mib: int) -> str:
    return f"{mib // 1024}GiB" if mib % 1024 == 0 else f"{mib}MiB"
