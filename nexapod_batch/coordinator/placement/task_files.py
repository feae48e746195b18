"""Which files the replicas of some tasks need: those that all tasks get, and those of these tasks alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.placement.node_fetch import ask_for
from nexapod_batch.errors import TryAgainError
from nexapod_batch.model.job import TaskInputs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node

__all__ = ["digests_of_launch", "kept_files", "paths_of"]


#: The job that was asked for last, with its inputs: those of 1,000 tasks are not sorted for each launch anew.
_last: list[tuple[Job, TaskInputs]] = []


def _by_task(job: Job) -> TaskInputs:
    """Return the inputs of a job by who gets them."""
    if not _last or _last[0][0] is not job:
        _last[:] = [(job, TaskInputs(job.inputs))]
    return _last[0][1]


def digests_of(job: Job, tasks: Iterable[int]) -> frozenset[str]:
    """Return the SHA-256 of every input that one of these tasks gets."""
    by_task = _by_task(job)
    if by_task.alike:
        return frozenset(job_input.sha256 for job_input in job.inputs)
    return frozenset(job_input.sha256 for task in set(tasks) for job_input in by_task.of(task))


def digests_of_launch(c: Coordinator, job: Job, launch: int) -> frozenset[str]:
    """Return the same of a launch, and what its replicas go on from.

    Which tasks it holds is asked only where that makes a difference.
    """
    states = frozenset(c.store.continuations.digests_of_launch(launch) if job.checkpoint is not None else ())
    if _by_task(job).alike:
        return digests_of(job, ()) | states
    return digests_of(job, [task for _, task in c.store.launches.tasks(launch)]) | states


def kept_files(
    c: Coordinator, node: Node, job: Job, tasks: Iterable[int], *, without: Collection[str] = ()
) -> dict[str, Path] | None:
    """Return where the inputs of these tasks are kept here, by digest, `without` those that their `node` fetches.

    None where all that is missing is to be fetched here first; TryAgainError where one is not there, which every
    runner would find missing.
    """
    files = {digest: c.paths.inputs / digest for digest in digests_of(job, tasks).difference(without)}
    absent = {digest for digest, path in files.items() if not path.exists()}
    if absent:
        lacking = [job_input for job_input in job.inputs if job_input.sha256 in absent]
        if ask_for(c, node, lacking):
            return None
        missing = [job_input.target for job_input in lacking]
        raise TryAgainError(
            f"job {job.name!r} waits for kept inputs that are gone", got=", ".join(missing[:3]),
            hint="nexapod-batch retry copies them again where they are unchanged; or submit the job anew",
        )
    return files


def paths_of(
    job: Job, tasks: Iterable[int], staged: Mapping[str, str], states: Iterable[str] = ()
) -> Mapping[str, str]:
    """Return, of what is `staged` for many tasks, what these get: their inputs, an image, and these states."""
    if _by_task(job).alike:
        return staged
    wanted = {*digests_of(job, tasks), *states}
    if job.container is not None:
        wanted.add(job.container.sha256)
    return {digest: path for digest, path in staged.items() if digest in wanted}
