"""The program that asks pyslurm in our place, and that may end for it.

`python -I -m nexapod_backends.slurm.bindings.child ID,ID,... FOLDER` loads it from the folder where whoever asks has
found it, after those that any interpreter has, and prints what the queue knows of these jobs exactly as the
command `parse.SQUEUE` prints it, one row for all elements of an array that are still pending included. libslurm ends
the process that loads it where it finds no configuration, and crashes where pyslurm was built for another Slurm: so
nothing but this program ever imports pyslurm. Names are those of pyslurm 22.5 to 25.11.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from nexapod_backends.slurm.cli.parse import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["NO_ANSWER", "UNFIT", "lines", "main", "release"]

#: Exit codes beside 0 (every row was printed); any other one means that pyslurm broke.
UNFIT = 3  # made for another Slurm than the cluster's: what is on stderr says so
NO_ANSWER = 4  # the controller did not answer


def main(argv: Sequence[str]) -> int:
    """Print the rows of the jobs that the first argument names; return the exit code."""
    wanted = frozenset(map(int, argv[0].split(",")))
    sys.path += argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the rows
    pyslurm: Any = importlib.import_module("pyslurm")  # may end the process
    try:
        cluster = _cluster_version(pyslurm)
        if release(cluster) is None or release(cluster) != release(pyslurm.__version__):
            sys.stderr.write(f"pyslurm {pyslurm.__version__} is not made for Slurm {cluster}\n")
            return UNFIT
        jobs = pyslurm.Jobs.load()
    except pyslurm.PyslurmError as error:
        sys.stderr.write(f"pyslurm {pyslurm.__version__}: {str(error) or type(error).__name__}\n")
        return NO_ANSWER
    text = "".join(f"{line}\n" for line in lines(jobs.values(), wanted))
    with open(out, "wb") as stream:
        stream.write(text.encode("utf-8", "replace"))
    return 0


def lines(jobs: Iterable[Any], wanted: frozenset[int]) -> Iterator[str]:
    """Yield a row for each of the wanted jobs, of pyslurm's objects; other people's are not even looked at.

    As squeue does it, elements that are pending on their own stand in the row of the others of their array.
    """
    rows = [_row(job) for job in jobs if job.id in wanted or job.array_id in wanted]
    for row in _gathered(rows):
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


def _cluster_version(pyslurm: Any) -> str:  # noqa: ANN401 - a module without types
    """Return the version of the controller that answers, "25.11.2"."""
    config = pyslurm.slurmctld.Config.load()
    if hasattr(config, "version"):
        return str(config.version)
    return str(pyslurm.config().get()["version"])  # before pyslurm 25.5


def release(version: str) -> tuple[int, int] | None:
    """Return (25, 11) of "25.11.2"; pyslurm writes 22.5 where Slurm writes 22.05. None for what is no version."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})(?:[.-].*)?", version, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
