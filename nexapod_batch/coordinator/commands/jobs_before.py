"""What can be known at submit of the jobs that go before: that they are there, and may have the outputs it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import DescriptorError, NotFoundError, Problem
from nexapod_batch.files.output_files import has_glob, matches
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.job_source import JobSource, is_job_source, parse_job_source
from nexapod_batch.model.placeholders import expand, names_in, task_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job

__all__ = ["check_before"]

#: Faults of one input that are named.
_NAMED = 3


def check_before(c: Coordinator, job: Job) -> None:
    """Check the jobs that a job follows.

    Raises:
        NotFoundError: One of them does not exist.
        DescriptorError: What it needs of them can never be there.

    """
    for dependency in job.schedule.depends_on:
        if c.store.jobs.find(dependency.job) is None:
            raise NotFoundError(
                f"schedule.depends_on or a source names job {dependency.job}, which does not exist",
                hint="nexapod-batch ls lists the jobs",
            )
    problems = [
        Problem(f"inputs[{number}].source", text)
        for number, job_input in enumerate(job.inputs)
        if not job_input.sha256 and is_job_source(job_input.source)
        for text in _faults(c, job, parse_job_source(job_input.source))
    ]
    if problems:
        counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DescriptorError(f"job {job.name!r} cannot follow: {counted}", problems=tuple(problems))


def _faults(c: Coordinator, job: Job, source: JobSource) -> Iterator[str]:
    """Yield why a source can never be there, for a few of the tasks that want it."""
    row = c.store.jobs.get(source.job)
    lost = [state for state in (TaskState.FAILED, TaskState.INCONCLUSIVE, TaskState.CANCELLED) if row.counts[state]]
    if lost and not row.n_waiting + row.n_active:
        again = f"nexapod-batch retry {source.job}"
        yield f"tasks of job {source.job} are {lost[0].value}, so that it has no accepted outputs ({again})"
        return
    before = c.job(source.job)
    told: dict[str, None] = {}
    for wanted in _wanted(job, source):
        text = _fault(before, wanted)
        if text and text not in told:
            told[text] = None
            yield text
        if len(told) == _NAMED:
            return


def _wanted(job: Job, source: JobSource) -> Iterator[JobSource]:
    """Yield what each task wants, or what all of them do."""
    if not names_in(source.task + source.path):
        yield source
        return
    for index in job.task_indexes():
        values = task_values(job, index, job.parameters(index))
        yield JobSource(source.job, expand(source.task, values), expand(source.path, values))


def _fault(before: Job, source: JobSource) -> str:
    """Return why a job can have no such output; "" where it may."""
    if source.task and not _has_task(before, source.task):
        return f"job {source.job} has no task {source.task}"
    if has_glob(source.path):
        return ""
    if not before.outputs:
        return "" if source.path == "stdout" else f"job {source.job} has no [[outputs]]: its only one is stdout"
    tasks = [int(source.task)] if source.task else before.task_indexes()
    for index in tasks:
        values = task_values(before, index, before.parameters(index))
        declared = [expand(output.path, values) for output in before.outputs]
        if not any(matches(source.path, pattern) for pattern in declared):
            return f"job {source.job} declares no output {source.path!r}: it has {', '.join(declared[:_NAMED])}"
    return ""


def _has_task(before: Job, task: str) -> bool:
    if not (task.isascii() and task.isdigit()) or len(task) > 15:
        return False
    index = int(task)
    return index in before.array if before.array is not None else index == 0
