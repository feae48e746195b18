"""Tasks once more, with the files of today: a job of their own, for results of other inputs are other results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.commands.submit import submit
from nexapod_batch.coordinator.placement import kept_inputs
from nexapod_batch.coordinator.steps import following_jobs
from nexapod_batch.errors import DescriptorError, UsageError
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.job import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.commands.submit import Submitted
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["Fresh", "only", "resubmit"]

_AGAIN = frozenset({TaskState.FAILED, TaskState.INCONCLUSIVE, TaskState.CANCELLED})
Target = tuple[int, int | None]


class Fresh(NamedTuple):
    """A job that does some tasks of another one again."""

    submitted: Submitted
    tasks: tuple[str, ...]  # names of the tasks that it does again, in its order
    changed: tuple[str, ...]  # inputs, by their targets, that are other files now


def resubmit(c: Coordinator, targets: Sequence[Target]) -> list[Fresh]:
    """Submit tasks that ended without a result again, with the inputs as they are today; one new job for each job.

    UsageError where no task is of that kind, DescriptorError for a file that is gone.
    """
    wanted: dict[int, list[int]] = {}
    for job_id, task in targets:
        indexes = c.job(job_id).task_indexes() if task is None else [c.task(job_id, task).idx]
        ended = [index for index in indexes if c.task(job_id, index).state in _AGAIN]
        wanted[job_id] = sorted({*wanted.get(job_id, ()), *ended})
    if not any(wanted.values()):
        raise UsageError(
            "no task that failed, found no quorum or was cancelled", got=", ".join(map(str, wanted)) or "none",
            hint="a job that was accepted is done again by another submit",
        )
    return [_again(c, job_id, indexes) for job_id, indexes in wanted.items() if indexes]


def _again(c: Coordinator, job_id: int, indexes: Sequence[int]) -> Fresh:
    job, folder = c.job(job_id), kept_inputs.folder_of(c, job_id)
    _refuse_without_inputs(job_id, job, indexes)
    inputs = kept_inputs.todays(job, folder)
    changed = [new.target for old, new in zip(job.inputs, inputs, strict=True) if old.sha256 != new.sha256]
    schedule = job.schedule._replace(hold=False)
    new = replace(only(replace(job, inputs=inputs), indexes), schedule=schedule)
    done = submit(c, new, folder, {}, foreign=c.store.jobs.get(job_id).foreign)
    return Fresh(done, tuple(f"{job_id}_{index}" for index in indexes), tuple(changed))


def _refuse_without_inputs(job_id: int, job: Job, indexes: Sequence[int]) -> None:
    known = following_jobs.placeable(job)
    waiting = [] if known is None else [index for index in indexes if index not in known]
    if waiting:
        named = ", ".join([f"{job_id}_{index}" for index in waiting[:3]])
        hint = f"submit the job anew, or bring them back: nexapod-batch retry {job_id}"
        raise DescriptorError("tasks never got their inputs from the jobs before", got=named, hint=hint)


def only(job: Job, indexes: Sequence[int]) -> Job:
    """Return a job with some of its tasks. Pure.

    Numbers of an array by ids stay what they are, for commands use them; other tasks are counted anew from 0, with
    their parameters.
    """
    array = job.array
    if array is None:
        return job
    if array.ranges:
        kept = tuple(one for one in job.inputs if one.only is None or one.only in set(indexes))
        ranges = tuple((index, index, 1) for index in indexes)
        return replace(job, inputs=kept, array=replace(array, ranges=ranges), elements=None)
    rows = tuple(tuple(array.parameters(index).items()) for index in indexes)
    numbers: dict[int | None, int | None] = {index: number for number, index in enumerate(indexes)}
    numbers[None] = None
    inputs = tuple(one._replace(only=numbers[one.only]) for one in job.inputs if one.only in numbers)
    chosen = Array(values=rows, max_running=array.max_running)
    return replace(job, inputs=inputs, array=chosen, elements=None)
