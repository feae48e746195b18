"""A job and all those whose outputs it was fed with, verified one after the other, with what binds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.given_inputs import input_faults
from nexapod_batch.coordinator.verification import job_evidence
from nexapod_batch.model.job_source import is_job_source, parse_job_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.verification.job_evidence import Evidence

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
                    evidence.add("input", f"{job}: {job_input.target}", input_faults(c, job_input))
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
