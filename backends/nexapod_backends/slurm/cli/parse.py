"""Slurm's printed answers as frozen objects: squeue, sacct, scontrol show config and partition, sinfo, host lists.

Beside each parser stands the argv whose output it reads; the formats are explicit and exist from Slurm 20.11 on. With
`ENVIRONMENT` times come as seconds since the epoch and array indexes are not cut. The parsers are pure and never
raise: a line that makes no sense is counted as unreadable, and every expansion is bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, field

from nexapod_backends.slurm.cli.hostlist import (
    MAX_INDEXES,
    NOTHING,
    expand_hosts,
    expand_indexes,
    read_duration,
    read_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import tzinfo

__all__ = [
    "ENVIRONMENT",
    "SACCT",
    "SCONTROL_CONFIG",
    "SCONTROL_PARTITIONS",
    "SEPARATOR",
    "SINFO",
    "SQUEUE",
    "ClusterConfig",
    "HostRow",
    "JobRow",
    "Listing",
    "PartitionRow",
    "by_element",
    "read_config",
    "read_partitions",
    "read_sacct",
    "read_sinfo",
    "read_squeue",
]

Row = TypeVar("Row")

#: Between two columns; free text stands in the last one.
SEPARATOR = "~|~"
#: Must be set for every call: times as seconds since the epoch, indexes of an array in full.
ENVIRONMENT = {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}

#: To be followed by `--jobs=`. One row for each started element, and one for all that are still pending.
SQUEUE = ("squeue", "--noheader", "--states=all", "--format=" + SEPARATOR.join("%" + c for c in "FKTVSNrj"))
#: To be followed by `--jobs=` and `--starttime=`. A job that was requeued shows its newest run.
SACCT = (
    "sacct",
    "--noheader",
    "--parsable2",
    "--allocations",
    f"--delimiter={SEPARATOR}",
    "--format=JobID,State,ExitCode,Submit,Start,End,NodeList,JobName",
)
SCONTROL_CONFIG = ("scontrol", "show", "config")
SCONTROL_PARTITIONS = ("scontrol", "--oneliner", "show", "partition")
SINFO = ("sinfo", "--noheader", "--exact", "--format=" + SEPARATOR.join("%" + c for c in "RNcmTGf"))

_SAMPLES = 20  # unreadable lines that are kept
_SAMPLE = 200  # characters of each


class JobRow(Struct, frozen=True, kw_only=True):
    """One row of squeue or sacct: a job, one array element, or the elements of an array that are still pending."""

    job: int  # the array's job id, or the job's
    indexes: tuple[int, ...] | None  # array elements; None for a job that is no array
    cut: bool = False  # the row stands for more elements than Slurm printed
    state: str  # Slurm's word
    reason: str = ""
    submit_s: int | None = None  # seconds since the epoch
    start_s: int | None = None  # the estimated start of a pending job
    end_s: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    hosts: str = ""  # host list, not expanded
    name: str = ""


class HostRow(Struct, frozen=True, kw_only=True):
    """Hosts of one partition that are alike."""

    partition: str
    hosts: tuple[str, ...]
    cpus: int  # of one host
    mem_mib: int  # of one host
    state: str  # Slurm's word with its suffix
    gres: str = ""
    features: tuple[str, ...] = ()


class PartitionRow(Struct, frozen=True, kw_only=True):
    """One partition as scontrol shows it; None means that there is no limit."""

    name: str
    hosts: str = ""  # host list, not expanded
    state: str = "UP"
    default: bool = False
    hidden: bool = False
    root_only: bool = False
    exclusive: bool = False  # jobs get whole hosts
    max_time_s: int | None = None
    max_nodes: int | None = None
    max_cpus_per_node: int | None = None
    max_mem_mib_per_node: int | None = None
    max_mem_mib_per_cpu: int | None = None
    total_nodes: int = 0
    accounts: tuple[str, ...] = ()  # that may use it; empty: all
    groups: tuple[str, ...] = ()  # likewise


class ClusterConfig(Struct, frozen=True, kw_only=True):
    """What scontrol says of the whole cluster; None or "" where it does not say."""

    version: str = ""
    cluster: str = ""
    accounting: bool = False
    max_array: int | None = None  # MaxArraySize: the largest index is one less
    min_job_age_s: int | None = None  # how long squeue knows a job that ended
    kill_wait_s: int | None = None  # between TERM and KILL
    max_job_count: int | None = None
    memory_is_counted: bool = False  # SelectTypeParameters names memory
    values: Mapping[str, str] = field(default_factory=dict)  # everything, as it was printed

    @property
    def identity(self) -> str:
        """Return what names the cluster: its name and where its controller listens; "" where that is not said.

        A controller that calls itself a loopback is told from others of that kind by when it started.
        """
        hosts = (self.values.get(name, "") for name in ("SlurmctldHost[0]", "SlurmctldHost", "ControlMachine"))
        host = next(filter(None, hosts), "")
        if not self.cluster or not host:
            return ""
        named = f"{self.cluster}@{host}:{self.values.get('SlurmctldPort', '')}"
        if host.startswith(_LOOPBACKS):
            named += f" since {self.values.get('BOOT_TIME', '')}"
        return named

    @property
    def hidden(self) -> frozenset[str]:
        """Return what is not shown to everybody (PrivateData): partitions, nodes, jobs ..."""
        return frozenset(one.strip().lower() for one in self.values.get("PrivateData", "").split(",")) - {"", "none"}


class Listing(Struct, Generic[Row], frozen=True, kw_only=True):
    """What was read, and what could not be."""

    rows: tuple[Row, ...] = ()
    unreadable: int = 0  # lines
    samples: tuple[str, ...] = ()  # the first unreadable lines, cut


def read_squeue(text: str, zone: tzinfo | None = None) -> Listing[JobRow]:
    """Read the output of `SQUEUE`; `zone` is that of the cluster, for times which come without one."""
    budget = _Budget()

    def row(line: str) -> JobRow | None:
        cells = line.split(SEPARATOR, 7)
        if len(cells) != 8:
            return None
        array, index, state, submit, start, hosts, reason, name = (cell.strip() for cell in cells)
        if not (_number(array) and state):
            return None
        single = index in NOTHING
        expanded = None if single else expand_indexes(index)
        if not single and (expanded is None or not budget.take(len(expanded[0]))):
            return None
        return JobRow(
            job=int(array),
            indexes=expanded[0] if expanded else None,
            cut=bool(expanded and expanded[1]),
            state=state,
            reason="" if reason in NOTHING else reason,
            submit_s=read_time(submit, zone),
            start_s=read_time(start, zone),
            hosts="" if hosts in NOTHING else hosts,
            name=name,
        )

    return _listing(text, row)


_JOB_ID = re.compile(r"(\d{1,10})(?:_(\d{1,10}|\[[^\]]*\]?))?", re.ASCII)
_EXIT = re.compile(r"(\d{1,5}):(\d{1,5})", re.ASCII)


def read_sacct(text: str, zone: tzinfo | None = None) -> Listing[JobRow]:
    """Read the output of `SACCT`; `by_element` picks from several rows of one element."""
    budget = _Budget()

    def row(line: str) -> JobRow | None:
        cells = line.split(SEPARATOR, 7)
        if len(cells) != 8:
            return None
        job, state, code, submit, start, end, hosts, name = (cell.strip() for cell in cells)
        found, code_found = _JOB_ID.fullmatch(job), _EXIT.fullmatch(code)
        if not found or not state:
            return None
        expanded = expand_indexes(found[2]) if found[2] else None
        if found[2] and (expanded is None or not budget.take(len(expanded[0]))):
            return None
        return JobRow(
            job=int(found[1]),
            indexes=expanded[0] if expanded else None,
            cut=bool(expanded and expanded[1]),
            state=state,
            submit_s=read_time(submit, zone),
            start_s=read_time(start, zone),
            end_s=read_time(end, zone),
            exit_code=int(code_found[1]) if code_found else None,
            exit_signal=int(code_found[2]) if code_found else None,
            hosts="" if hosts in NOTHING else hosts,
            name=name,
        )

    return _listing(text, row)


def by_element(rows: Iterable[JobRow]) -> dict[tuple[int, int | None], JobRow]:
    """Return the newest row of each element (job id, index; None for a job that is no array).

    An element has several rows when it was requeued, or when Slurm gave its id out again: the one that was submitted
    last counts, and of those that do not say when, the last one.
    """
    found: dict[tuple[int, int | None], JobRow] = {}
    for row in rows:
        for index in (None,) if row.indexes is None else row.indexes:
            earlier = found.get((row.job, index))
            if earlier is None or (earlier.submit_s or 0) <= (row.submit_s or earlier.submit_s or 0):
                found[row.job, index] = row
    return found


def read_sinfo(text: str) -> Listing[HostRow]:
    """Read the output of `SINFO`. A count with a `+` is the least of several hosts."""
    budget = _Budget()

    def row(line: str) -> HostRow | None:
        cells = line.split(SEPARATOR)
        if len(cells) != 7:
            return None
        partition, names, cpus, mem, state, gres, features = (cell.strip() for cell in cells)
        hosts = expand_hosts(names)
        counts = [cell.removesuffix("+") for cell in (cpus, mem)]
        if not (partition and hosts and all(map(_number, counts)) and budget.take(len(hosts))):
            return None
        return HostRow(
            partition=partition,
            hosts=hosts,
            cpus=int(counts[0]),
            mem_mib=int(counts[1]),
            state=state,
            gres="" if gres in NOTHING else gres,
            features=() if features in NOTHING else tuple(one for one in features.split(",") if one),
        )

    return _listing(text, row)


def read_partitions(text: str) -> Listing[PartitionRow]:
    """Read the output of `SCONTROL_PARTITIONS`."""

    def row(line: str) -> PartitionRow | None:
        cells = dict(cell.split("=", 1) for cell in line.split() if "=" in cell)
        name = cells.get("PartitionName", "")
        if not name or not line.startswith("PartitionName="):
            return None
        hosts = cells.get("Nodes", "")
        whole = cells.get("OverSubscribe") == "EXCLUSIVE" or cells.get("Exclusive") in {"NODE", "TOPO"}
        return PartitionRow(
            name=name,
            hosts="" if hosts in NOTHING else hosts,
            state=cells.get("State", "UP"),
            default=cells.get("Default") == "YES",
            hidden=cells.get("Hidden") == "YES",
            root_only=cells.get("RootOnly") == "YES",
            exclusive=whole,
            max_time_s=read_duration(cells.get("MaxTime", "")),
            max_nodes=_limit(cells.get("MaxNodes")),
            max_cpus_per_node=_limit(cells.get("MaxCPUsPerNode")),
            max_mem_mib_per_node=_limit(cells.get("MaxMemPerNode")),
            max_mem_mib_per_cpu=_limit(cells.get("MaxMemPerCPU")),
            total_nodes=_limit(cells.get("TotalNodes")) or 0,
            accounts=_allowed(cells.get("AllowAccounts", "ALL")),
            groups=_allowed(cells.get("AllowGroups", "ALL")),
        )

    return _listing(text, row)


_LOOPBACKS = ("localhost", "127.", "ip6-localhost", "::1")
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9_/()\[\] -]{0,63}?)\s*= ?(.*)", re.ASCII)


def read_config(text: str) -> ClusterConfig:
    """Read the output of `SCONTROL_CONFIG`; of a setting that is printed twice the first one counts."""
    values: dict[str, str] = {}
    for line in _lines(text):
        found = _SETTING.fullmatch(line)
        if found and len(values) < 10_000:
            values.setdefault(found[1], found[2].strip()[:4_096])
    return ClusterConfig(
        version=values.get("SLURM_VERSION", ""),
        cluster=values.get("ClusterName", ""),
        accounting=values.get("AccountingStorageType", "").rpartition("/")[2] == "slurmdbd",
        max_array=_limit(values.get("MaxArraySize")),
        min_job_age_s=_limit(values.get("MinJobAge")),
        kill_wait_s=_limit(values.get("KillWait")),
        max_job_count=_limit(values.get("MaxJobCount")),
        memory_is_counted="MEMORY" in values.get("SelectTypeParameters", "").upper(),
        values=values,
    )


class _Budget:
    """How many expanded names one answer may still hold."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_INDEXES

    def take(self, number: int) -> bool:
        """Take some; False when there are not so many left."""
        if number > self._left:
            return False
        self._left -= number
        return True


def _lines(text: str) -> Iterator[str]:
    """Yield lines that hold something, one at a time; only a newline ends a line."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end].strip()
        if line and not line.startswith("CLUSTER: "):  # a heading where one client serves several
            yield line
        start = end + 1


def _listing(text: str, read: Callable[[str], Row | None]) -> Listing[Row]:
    rows: list[Row] = []
    samples: list[str] = []
    unreadable = 0
    for line in _lines(text):
        row = read(line) if len(line) <= 1_000_000 else None
        if row is not None:
            rows.append(row)
            continue
        unreadable += 1
        if unreadable <= _SAMPLES:
            samples.append("".join(char if char.isprintable() else "?" for char in line[:_SAMPLE]))
    return Listing(rows=tuple(rows), unreadable=unreadable, samples=tuple(samples))


def _number(text: str) -> bool:
    return bool(re.fullmatch(r"\d{1,15}", text, re.ASCII))


def _limit(text: str | None) -> int | None:
    """Return the number at the beginning of `300 sec`; None for UNLIMITED."""
    found = re.match(r"\d{1,15}\b", text or "", re.ASCII)
    return int(found[0]) if found else None


def _allowed(text: str) -> tuple[str, ...]:
    return () if text in {"ALL", *NOTHING} else tuple(one for one in text.split(",") if one)
