"""A job and all those whose outputs it was fed with, verified one after the other, with what binds them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.published_results import listed
from nexapod_batch.coordinator.evidence.replica_outputs import statement_of
from nexapod_batch.coordinator.evidence.signed_verdicts import stored_verdicts
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.job_source import is_job_source, parse_job_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.verification.job_evidence import Evidence
    from nexapod_batch.model.job import Input

__all__ = ["verify_chain"]


def verify_chain(c: Coordinator, job_id: int, advance: Callable[[int], None] = lambda _: None) -> dict[int, Evidence]:
    """Verify a job and those that it was fed by, those first; each input from a job is a check of its own.

    Args:
        c: The coordinator.
        job_id: The last job of the chain.
        advance: Hears of tasks.

    Raises:
        NotFoundError: No statement of one of them has come in yet.

    """
    found: dict[int, Evidence] = {}
    for job in _in_order(c, job_id):
        evidence = found[job] = job_evidence.verify(c, job, advance)
        if evidence.checks[0]["ok"]:
            for job_input in c.job(job).inputs:
                if is_job_source(job_input.source):
                    evidence.add("input", f"{job}: {job_input.target}", _faults(c, job_input))
    return found


def _in_order(c: Coordinator, job_id: int) -> list[int]:
    """Return the jobs of a chain, each behind those that fed it."""
    ordered: list[int] = []
    waiting = [(job_id, False)]
    while waiting:
        job, fed = waiting.pop()
        if job in ordered:
            continue
        if fed:
            ordered.append(job)
            continue
        waiting.append((job, True))
        sources = {parse_job_source(one.source).job for one in c.job(job).inputs if is_job_source(one.source)}
        # Jobs follow older ones: a document that says otherwise is no way round in a circle.
        waiting += [(before, False) for before in sorted(sources, reverse=True) if before < job]
    return ordered


def _faults(c: Coordinator, job_input: Input) -> list[str]:
    """Return where an input is not what the job before made, or its verdict not one that was reached there."""
    if not job_input.sha256:
        return ["it is not there yet"]
    source = parse_job_source(job_input.source)
    task = c.store.tasks.find(source.job, int(source.task or 0))
    if task is None or task.published_from is None:
        return [f"{source.job}_{source.task} has published nothing"]
    try:
        verdicts = {hashlib.sha256(one.payload).hexdigest() for one in stored_verdicts(c, source.job, task.idx)}
        (row,) = [one for one in c.store.replicas.of_task(source.job, task.idx) if one.number == task.published_from]
        files = listed(statement_of(c, row.id), c.store.tasks.manifest(source.job, task.idx)) or {}
    except (NexapodError, ValueError) as error:
        return [f"the job before cannot be read: {error}"]
    faults = []
    if job_input.verdict not in verdicts:
        faults.append(f"the verdict that it names was never reached on {source.job}_{source.task}")
    if files.get(source.path) != job_input.sha256:
        faults.append(f"{source.job}_{source.task} did not sign {source.path} with sha256 {job_input.sha256}")
    return faults
