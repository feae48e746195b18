"""Outputs of earlier jobs that a job was made with, directly or through others, and that are accepted no longer.

A verdict may be taken back when its outputs were used already: a key is revoked, a task is retried. What was made with
them stays; whoever looks at it is told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from nexapod_batch.coordinator.evidence.given_inputs import input_faults
from nexapod_batch.lifecycle import TaskState
from nexapod_batch.model.job_source import is_job_source, parse_job_source
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["sources_that_differ", "withdrawn_sources"]

#: Tasks that are named.
_TOLD = 20


class _Task(NamedTuple):
    """A task of a job before; None stands for all tasks of the job that is asked about."""

    job: int
    number: int | None


def withdrawn_sources(store: Store, job_id: int, task: int | None = None) -> list[dict[str, Any]]:
    """Return the tasks whose outputs a job, or a task of it, was made with and that are not accepted now, or in doubt.

    They are 20 at most. Each has `task`, its `state`, and `doubt`, why its quorum is no longer met.
    """
    suspects = set(store.views.jobs_before_that_may_not_hold(job_id))
    if not suspects:
        return []
    found: list[dict[str, Any]] = []
    for before in _tasks_before(store, _Task(job_id, task)):
        row = store.tasks.find(before.job, before.number or 0) if before.job in suspects else None
        if row is not None and not _holds(row):
            found.append(_told(row))
        if len(found) >= _TOLD:
            break
    return sorted(found, key=lambda told: [int(part) for part in told["task"].split("_")])


def sources_that_differ(c: Coordinator, job_id: int, task: int | None = None) -> list[str]:
    """Return the tasks before a job, or a task of it, that were accepted anew since, with other outputs: 20 at most."""
    anew: dict[_Task, bool] = {}
    found: dict[str, None] = {}
    for job_input in c.job(job_id).inputs:
        if not (job_input.sha256 and is_job_source(job_input.source) and _is_of(job_input.only, task)):
            continue
        source = parse_job_source(job_input.source)
        before = _Task(source.job, int(source.task or 0))
        if before not in anew:
            anew[before] = _was_accepted_anew(c, before)
        if anew[before] and input_faults(c, job_input):
            found[f"{before.job}_{before.number}"] = None
        if len(found) >= _TOLD:
            break
    return list(found)


def _was_accepted_anew(c: Coordinator, task: _Task) -> bool:
    index = task.number or 0
    row = c.store.tasks.find(task.job, index) if len(c.store.verdicts.of_task(task.job, index)) > 1 else None
    return row is not None and _holds(row)


def _is_of(only: int | None, task: int | None) -> bool:
    """Say whether an input, of one task or of all, is one of a task, or of any."""
    return only is None or task is None or only == task


def _tasks_before(store: Store, of: _Task) -> Iterator[_Task]:
    """Yield the tasks whose outputs fed a job, and those that fed these, each once."""
    inputs: dict[int, list[tuple[int | None, _Task]]] = {}
    waiting, seen = [of], {of}
    while waiting:
        task = waiting.pop()
        if task.job not in inputs:
            inputs[task.job] = _inputs(store, task.job)
        for only, source in inputs[task.job]:
            if source not in seen and _is_of(only, task.number):
                seen.add(source)
                waiting.append(source)
                yield source


def _inputs(store: Store, job_id: int) -> list[tuple[int | None, _Task]]:
    """Return, for each input of a job that it has from another one, its task where it has but one, and the other's."""
    document = json.loads(store.jobs.document(job_id) or b"{}")
    found = []
    for one in document.get("inputs", ()):
        if one["sha256"] and is_job_source(one["source"]):
            source = parse_job_source(one["source"])
            found.append((one.get("only"), _Task(source.job, int(source.task or 0))))
    return found


def _holds(row: TaskRow) -> bool:
    return row.state == TaskState.ACCEPTED and not row.doubt


def _told(row: TaskRow) -> dict[str, Any]:
    doubt = sentence(json.loads(row.doubt)) if row.doubt else ""
    return {"task": f"{row.job_id}_{row.idx}", "state": row.state, "doubt": doubt}
