"""Whether published results are still what was signed, as far as a look takes: for `doctor`.

The newest are read, up to a bound; of the others it is seen that their folders are there. `verify` reads everything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.verification.verdicts import results_faults
from nexapod_batch.errors import NexapodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.trust.statement import Statement

__all__ = ["results_checks"]

#: Bytes, and seconds, after which nothing more is read; tasks whose folders are looked for.
_BYTES, _SECONDS, _TASKS = 64 << 20, 3.0, 20_000
#: Faults that are named; more say no more.
_NAMED = 5


def results_checks(c: Coordinator) -> Iterator[tuple[str, str, str]]:
    """Yield (check, ok|fail, text): each result that is not as it was signed, then how many were read."""
    published = c.store.tasks.newest_published(_TASKS)
    if not published:
        return
    until, size, number_read, bad = time.monotonic() + _SECONDS, 0, 0, 0

    def read(more: int) -> None:
        nonlocal size
        size += more

    for job, task in published:
        if size < _BYTES and time.monotonic() < until:
            faults = _faults(c, job, task, read)
            number_read += 1
        else:
            folder = c.paths.results / str(job) / str(task)
            faults = [] if folder.is_dir() else [f"{folder} is gone"]
        if faults:
            bad += 1
            if bad <= _NAMED:
                yield "results", "fail", f"{job}_{task}: {faults[0]} -> nexapod-batch verify {job}"
    if bad > _NAMED:
        yield "results", "fail", f"and {bad - _NAMED} more tasks"
    if not bad:
        newest = "" if number_read == len(published) else f"the newest {number_read} of "
        yield "results", "ok", f"{newest}{len(published)} published tasks read, as they were signed"


def _faults(c: Coordinator, job: int, index: int, read: Callable[[int], None]) -> list[str]:
    """Return what is wrong with the published files of one task."""
    task = c.store.tasks.get(job, index)
    rows = c.store.replicas.of_task(job, index)
    statements: dict[int, list[Statement]] = {row.number: [] for row in rows}
    try:
        for row in rows:
            if row.number == task.published_from or (task.published_from is None and row.validation == "valid"):
                statements[row.number] = [statement_of(c, row.id)]
        return results_faults(c, task, rows, statements, read)
    except NexapodError as error:
        return [error.what]
