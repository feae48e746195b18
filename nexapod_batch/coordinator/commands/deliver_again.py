"""`results --deliver`: the next try of deliveries that failed, made now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.delivery.deliver import deliver
from nexapod_batch.errors import NotFoundError
from nexapod_batch.model.reason import Reason
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["deliver_again"]


def deliver_again(c: Coordinator, jobs: Sequence[int]) -> tuple[list[str], list[Reason]]:
    """Deliver these jobs now if they have ended; return where their results lie, and why others' do not.

    Raises:
        NotFoundError: The results of one are wanted nowhere else.

    """
    for job in jobs:
        if c.store.deliveries.find(job) is None:
            raise NotFoundError(f"job {job} has no [results] to", hint=f"its results: nexapod-batch results {job}")
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        for job in jobs:
            c.store.deliveries.at_once(job)
    deliver(c, waits=True)  # else the last fault would be told, and another process deliver meanwhile
    rows = [row for row in map(c.store.deliveries.find, jobs) if row is not None]
    done = [row.place for row in rows if row.place and not row.reason]
    return done, list(filter(None, [Reason.parse(row.reason) for row in rows]))
