"""An input that is an output of another job, compared with what that job's statement and verdicts say today."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_verdicts
from nexapod_batch.errors import NexapodError
from nexapod_batch.lifecycle import Execution, Validation
from nexapod_batch.model.job_source import parse_job_source

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Input
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["input_faults"]


def input_faults(c: Coordinator, job_input: Input) -> list[str]:
    """Return where an input is not what the job before made, or its verdict not one that was reached there."""
    if not job_input.sha256:
        return ["it is not there yet"]
    source = parse_job_source(job_input.source)
    task = c.store.tasks.find(source.job, int(source.task or 0))
    if task is None or task.published_from is None:
        return [f"{source.job}_{source.task} has published nothing"]
    try:
        verdicts = {hashlib.sha256(one.payload).hexdigest() for one in stored_verdicts(c, source.job, task.idx)}
        manifest = c.store.tasks.manifest(source.job, task.idx)
        signed = [listed(statement_of(c, row.id), manifest) or {} for row in _standing_for(c, task)]
    except (NexapodError, ValueError) as error:
        return [f"the job before cannot be read: {error}"]
    faults = []
    if job_input.verdict not in verdicts:
        faults.append(f"the verdict that it names was never reached on {source.job}_{source.task}")
    if not any(files.get(source.path) == job_input.sha256 for files in signed):
        faults.append(f"{source.job}_{source.task} did not sign {source.path} with sha256 {job_input.sha256}")
    return faults


def _standing_for(c: Coordinator, task: TaskRow) -> list[ReplicaRow]:
    """Return the replica whose files a task published; where it was decided anew since, those that are valid now."""
    rows = c.store.replicas.of_task(task.job_id, task.idx)
    if task.published:
        return [row for row in rows if row.number == task.published_from]
    return [row for row in rows if row.validation == Validation.VALID and row.execution == Execution.REPORTED]
