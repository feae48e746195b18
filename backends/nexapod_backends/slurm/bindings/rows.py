"""pyslurm's records in the words of Slurm's commands, so that the same readers read both. Pure.

Names are those of pyslurm 22.5 to 25.11. It takes a number that is 0 for one that is not set, and names people where
the commands print their numbers.
"""

from __future__ import annotations

import pwd
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.parse import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ended", "hosts", "queued", "release"]


def queued(jobs: Iterable[Any], wanted: frozenset[int]) -> Iterator[str]:
    """Yield a row for each of the wanted jobs, of pyslurm's objects; other people's are not even looked at.

    As squeue does it, elements that are pending on their own stand in the row of the others of their array.
    """
    found = [_row(job) for job in jobs if job.id in wanted or job.array_id in wanted]
    for row in _gathered(found):
        yield SEPARATOR.join(" ".join(cell.split("\n")) for cell in row.cells())


def _gathered(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows with pending elements put into the row of the others of their array, where there is one."""
    found = list(rows)
    shared = {row.alike: position for position, row in enumerate(rows) if row.pending and row.several}
    for row in rows:
        if row.alone and row.alike in shared:
            position = shared[row.alike]
            found[position] = found[position].with_element(row)
    return [row for row in found if not (row.alone and row.alike in shared)]


class _Row(Struct, frozen=True, kw_only=True):
    """What one record of the controller says, in squeue's words."""

    job: str  # the array's id, or the job's
    indexes: str
    several: bool  # it stands for all elements that have no record of their own yet
    state: str
    submit: str
    start: str
    hosts: str
    reason: str
    name: str
    partition: str

    @property
    def pending(self) -> bool:
        """Say whether it has not started."""
        return self.state == "PENDING"

    @property
    def alone(self) -> bool:
        """Say whether it is one element, or one job, that has not started."""
        return self.pending and not self.several

    @property
    def alike(self) -> tuple[str, str, str]:
        """Return what elements have in common that squeue puts into one row."""
        return self.job, self.name, self.partition

    def with_element(self, other: _Row) -> _Row:
        """Return this row with one more element; a reason that is new is added."""
        reason = self.reason if other.reason in self.reason else f"{self.reason},{other.reason}"
        return replace(self, indexes=f"{self.indexes},{other.indexes}", reason=reason)

    def cells(self) -> tuple[str, ...]:
        """Return the columns of `parse.SQUEUE`."""
        return (
            self.job, self.indexes, self.state, self.submit, self.start, self.hosts, self.reason, self.name,
        )  # fmt: skip


def _row(job: Any) -> _Row:  # noqa: ANN401 - pyslurm has no types
    waiting, array = job.array_tasks_waiting, job.array_id
    # pyslurm takes the 0 of the first element for a number that is not set
    index = "N/A" if array is None else waiting or str(job.array_task_id or 0)
    return _Row(
        job=str(job.id if array is None else array),
        indexes=index,
        several=bool(waiting),
        state=job.state or "",
        submit=_time(job.submit_time),
        start=_time(job.start_time),
        hosts=job.allocated_nodes or "",
        reason=job.state_reason or "None",
        name=job.name or "",
        partition=job.partition or "",
    )


def _time(seconds: int | None) -> str:
    return "N/A" if seconds is None else str(seconds)


def ended(jobs: Iterable[Any]) -> Iterator[str]:
    """Yield a row of `parse.SACCT` for each record of the accounting; which of them have ended its reader tells."""
    for job in jobs:
        # pyslurm says of both numbers that they are not set where an element is the first of its array
        name = str(job.id) if not job.array_id else f"{job.array_id}_{job.array_task_id or 0}"
        if job.array_tasks_waiting:
            name = f"{job.array_id}_[{_indexes(job.array_tasks_waiting)}]"
        code = f"{job.exit_code or 0}:{job.exit_code_signal or 0}"
        times = [_time(job.submit_time), _time(job.start_time), _time(job.end_time)]
        cells = [name, _end_word(job), code, *times, job.nodelist or "", job.name or ""]
        yield SEPARATOR.join(" ".join(cell.split("\n")) for cell in cells)


def _indexes(text: str) -> str:
    """Return the indexes of elements that never started: the accounting keeps them as the bits of a number."""
    if not re.fullmatch(r"0x[0-9A-Fa-f]{1,100000}", text, re.ASCII):
        return text
    bits = int(text, 16)
    return ",".join([str(index) for index in range(bits.bit_length()) if bits >> index & 1])


def _end_word(job: Any) -> str:  # noqa: ANN401 - pyslurm has no types
    """Return the state of a job in the accounting; of one that was cancelled, by which number."""
    if job.state == "CANCELLED":
        with suppress(KeyError):  # pyslurm raises it itself where nobody has that number
            return f"CANCELLED by {pwd.getpwnam(job.cancelled_by or '').pw_uid}"
    return job.state or ""


def hosts(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield a line of `scontrol --oneliner show node` for each host, with what is read of it."""
    for node in nodes:
        yield (
            f"NodeName={node.name} CPUEfctv={_number(node.effective_cpus)} CPUTot={_number(node.total_cpus)} "
            f"AvailableFeatures={_list(node.available_features)} RealMemory={_number(node.real_memory)} "
            f"MemSpecLimit={_number(node.memory_reserved_for_system)} Partitions={_list(node.partitions)}"
        )


def _number(value: int | None) -> int:
    return value or 0


def _list(values: Sequence[str] | None) -> str:
    return ",".join(values or ()) or "(null)"


def release(version: str) -> tuple[int, int] | None:
    """Return (25, 11) of "25.11.2"; pyslurm writes 22.5 where Slurm writes 22.05. None for what is no version."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})(?:[.-].*)?", version, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None
