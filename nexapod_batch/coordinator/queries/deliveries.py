"""How far the delivery of a job's results is, for people and scripts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from nexapod_batch.store import Store

__all__ = ["delivery_of"]


def delivery_of(store: Store, job: int) -> dict[str, Any]:
    """Return where the results of a job are wanted, where they lie, and why they do not lie there yet.

    `state` is `waiting`, `delivered` or `failing`; of a job that was retried since, it is that of the next delivery.
    """
    row, job_row = store.deliveries.find(job), store.jobs.get(job)
    if row is None:
        return {}
    document = json.loads(store.jobs.document(job) or b"{}")
    state = "waiting"
    if row.reason:
        state = "failing"
    elif row.of_finish is not None and row.of_finish == job_row.finished_at:
        state = "delivered"
    return {
        "to": document.get("results", {}).get("to", ""),
        "state": state,
        "place": row.place,
        "sha256": "" if row.digest is None else row.digest.hex(),
        "tries": row.tries,
        "next": _time(row.next_at) if row.reason else None,
        "reason": sentence(json.loads(row.reason)) if row.reason else "",
    }


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))
