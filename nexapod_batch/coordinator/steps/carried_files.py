"""Files that came with reports, written where results are put together.

They were compared with what was signed before they were stored. Most of the time goes into the file system, so
helpers write many of them side by side.
"""

from __future__ import annotations

import base64
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

import orjson

from nexapod_batch.coordinator.side_by_side import helpers_for, side_by_side
from nexapod_batch.files import umask
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.reports import CarriedFiles

__all__ = ["WrittenTask", "fresh_folder", "partial_folder", "write_carried"]

#: Tasks that are worth another process, and how many it writes before it says so.
_WORTH_ONE, _TOGETHER = 150, 50
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class WrittenTask(NamedTuple):
    """A task whose carried files were written to its partial folder, or could not be."""

    job: int
    task: int
    number: int  # of the replica whose files they are
    paths: list[str]
    fault: Reason | None  # None: all of them are there


class _Carried(NamedTuple):
    """What is to be written of one task."""

    job: int
    task: int
    folder: str  # of the results of its job
    without: frozenset[str]  # logs that are left out where they are empty
    came: CarriedFiles


def write_carried(
    c: Coordinator, carried: Mapping[tuple[int, int], CarriedFiles]
) -> Iterator[WrittenTask]:
    """Write what came with the reports of tasks; nothing of it is durable yet."""
    wanted, results = [], str(c.paths.results)
    # Without [[outputs]] stdout is the output.
    without = {job: frozenset({"stderr", "stdout"} if c.job(job).outputs else {"stderr"}) for job, _ in carried}
    for (job, task), came in carried.items():
        wanted.append(_Carried(job, task, f"{results}/{job}", without[job], came))
    parts = [wanted[first : first + _TOGETHER] for first in range(0, len(wanted), _TOGETHER)]
    helpers = helpers_for(len(wanted), _WORTH_ONE)
    for written in side_by_side(_write_some, parts, list[WrittenTask], helpers):
        if isinstance(written, OSError):
            raise written
        yield from written


def _write_some(several: Sequence[_Carried]) -> list[WrittenTask]:
    """Write the files of several tasks; what cannot be written says so."""
    found = []
    with umask.as_given():
        for one in several:
            try:
                paths, fault = _write(one), None
            except OSError as error:
                paths, fault = [], Reason(code=Code.UNPUBLISHED_WRITE, parameters={"error": Reason.of_error(error)})
            found.append(WrittenTask(one.job, one.task, one.came.number, paths, fault))
    return found


def _write(one: _Carried) -> list[str]:
    """Write the files of one task to its partial folder; return their paths."""
    folder = fresh_folder(one.folder, one.task)
    made = []
    for name, text in orjson.loads(one.came.files).items():
        if not text and name in one.without:
            continue  # an empty log says nothing
        path = f"{folder}/{name}"
        if "/" in name:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, _NEW, 0o666)
        try:
            data = memoryview(base64.b64decode(text))
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        made.append(path)
    return made


def partial_folder(folder: str, task: int) -> str:
    """Return where the results of a task are put together, in the folder of those of its job."""
    return f"{folder}/.{task}.partial"


def fresh_folder(folder: str, task: int) -> str:
    """Return a new empty partial folder for a task; what a crash left of an earlier one goes."""
    partial = partial_folder(folder, task)
    try:
        os.mkdir(partial)
    except FileExistsError:
        shutil.rmtree(partial)
        os.mkdir(partial)
    return partial
