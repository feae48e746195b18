"""pyslurm's records of ended jobs and of hosts, in the words of sacct and scontrol: the same readers read both."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from nexapod_backends.slurm.bindings.rows import ended, hosts
from nexapod_backends.slurm.cli.parse import read_sacct
from nexapod_backends.slurm.jobs.capacity import Capacity, read_nodes


@dataclass
class Ended:
    """A record of the accounting as pyslurm shows it: a number that is 0 is not set."""

    id: int = 7
    array_id: int | None = None
    array_task_id: int | None = None
    array_tasks_waiting: str | None = None
    state: str | None = "COMPLETED"
    cancelled_by: str | None = None
    exit_code: int | None = 0
    exit_code_signal: int | None = None
    submit_time: int | None = 1_795_489_001
    start_time: int | None = 1_795_489_002
    end_time: int | None = 1_795_489_003
    nodelist: str | None = "n1"
    name: str | None = "nexapod-a"


class Nobody(Ended):
    """One that was cancelled by a number which is nobody's here: pyslurm raises."""

    @property
    def cancelled_by(self) -> str:
        """Raise as pyslurm does."""
        raise KeyError("getpwuid(): uid not found: 4711")

    @cancelled_by.setter
    def cancelled_by(self, value: object) -> None:
        """Take nothing."""


#: Record -> job, indexes, state, exit code and signal, hosts.
CASES = {
    "alone": (Ended(), (7, None, "COMPLETED", 0, 0, "n1")),
    "first of an array": (Ended(array_id=7), (7, (0,), "COMPLETED", 0, 0, "n1")),
    "another of it": (Ended(id=9, array_id=7, array_task_id=2, state="FAILED", exit_code=3), (7, (2,), "FAILED", 3, 0, "n1")),
    "by a signal": (Ended(exit_code=None, exit_code_signal=9, state="OUT_OF_MEMORY"), (7, None, "OUT_OF_MEMORY", 0, 9, "n1")),
    "cancelled": (Ended(state="CANCELLED", cancelled_by="root"), (7, None, "CANCELLED by 0", 0, 0, "n1")),
    "cancelled by somebody unknown": (Ended(state="CANCELLED", cancelled_by="nxnobody"), (7, None, "CANCELLED", 0, 0, "n1")),
    "cancelled by nobody's number": (Nobody(state="CANCELLED"), (7, None, "CANCELLED", 0, 0, "n1")),
    "never started": (Ended(array_id=7, array_tasks_waiting="0x10E", nodelist="None assigned", state="CANCELLED"), (7, (1, 2, 3, 8), "CANCELLED", 0, 0, "")),
    "as the queue writes them": (Ended(array_id=7, array_tasks_waiting="1-3,8"), (7, (1, 2, 3, 8), "COMPLETED", 0, 0, "n1")),
}  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), CASES.values(), ids=CASES)
def test_an_end(record: Ended, expected: tuple[object, ...]) -> None:
    """As sacct's reader understands it."""
    listing = read_sacct("".join(f"{line}\n" for line in ended([record])))
    (row,) = listing.rows
    assert (row.job, row.indexes, row.state, row.exit_code, row.exit_signal, row.hosts) == expected
    assert (row.submit_s, row.start_s, row.end_s, row.name) == (1_795_489_001, 1_795_489_002, 1_795_489_003, "nexapod-a")


def test_a_name_of_several_lines_is_one_row() -> None:
    """A name cannot make another row."""
    listing = read_sacct("".join(f"{line}\n" for line in ended([Ended(name="a\n8~|~FAILED~|~1:0~|~1~|~1~|~1~|~n~|~b")])))
    assert (len(listing.rows), listing.unreadable) == (1, 0)


@dataclass
class Host:
    """A host as pyslurm shows it."""

    name: str = "a1"
    total_cpus: int | None = 8
    effective_cpus: int | None = 6
    real_memory: int | None = 16_000
    memory_reserved_for_system: int | None = None
    available_features: list[str] | None = None
    partitions: list[str] | None = None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (Host(), Capacity(cpus=6, mem_mib=16_000, kept_cpus=2)),
        (Host(memory_reserved_for_system=1_000), Capacity(cpus=6, mem_mib=15_000, kept_cpus=2, kept_mib=1_000)),
        (Host(available_features=["fast", "new"], partitions=["short", "long"]), Capacity(cpus=6, mem_mib=16_000, kept_cpus=2, features=("fast", "new"), partitions=("short", "long"))),
        (Host(available_features=[], partitions=[], effective_cpus=8), Capacity(cpus=8, mem_mib=16_000)),
    ],
    ids=["plain", "memory that Slurm keeps", "features", "nothing kept"],
)
def test_a_host(host: Host, expected: Capacity) -> None:
    """As scontrol's reader understands it."""
    assert read_nodes("".join(f"{line}\n" for line in hosts([host]))) == {"a1": expected}
