"""Where an open job stands: how many come before it, how many nodes could ever run it, and why nothing runs yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement.eligibility import loads_of
from nexapod_batch.model.reason import Reason
from nexapod_batch.model.reason_codes import Code
from nexapod_batch.planner import unfit

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["queue_place", "waiting_reasons"]


def queue_place(c: Coordinator, job_id: int) -> Reason | None:
    """Return how many jobs are placed before one, and how many active nodes fit; None where nothing is to be placed."""
    row = c.store.jobs.get(job_id)
    if not row.n_want or row.held:
        return None
    job = c.job(job_id)
    active = [node for node in usable(c, Faults()) if node.active]
    fit = [load for load in loads_of(c, job, active, foreign=row.foreign) if unfit(job, load) is None]
    parameters = {"ahead": c.store.jobs.count_ahead(job_id), "nodes_fit": len(fit)}
    return Reason(code=Code.QUEUE_PLACE, parameters=parameters)


def waiting_reasons(c: Coordinator, job_id: int, limit: int) -> list[Reason]:
    """Return why nothing of an open job runs yet, at most so many reasons; none where something runs."""
    row, stored = c.store.jobs.get(job_id), list[str]()
    if row.held:
        return [Reason(code=Code.JOB_HELD, parameters={"job": job_id})]
    if row.blocked:
        stored.append(row.blocked)
    waits = c.store.views.waits_after_losses([job_id], c.now(), limit) + c.store.views.waits([job_id], c.now(), limit)
    stored += [text for _, text in waits]
    found = [reason for text in stored[:limit] if (reason := Reason.parse(text)) is not None]
    if row.n_want and not found:
        found.append(Reason(code=Code.JOB_IS_NEW))
    return found
