"""What happened to a job, as the ledger has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.ledger.events import parse_event
from nexapod_batch.wording.ledger import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.store import Store

__all__ = ["event_row", "events_of", "is_about"]

#: Entries that are looked at for one page, however few of them are of the job.
_LOOKED_AT, _STEP = 50_000, 1_000


def is_about(event: Mapping[str, str | int], target: str) -> bool:
    """Say whether an entry is of a job (`42`) or a task (`42_7`), or of what belongs to it."""
    name = str(event.get("id", ""))
    return name == target or name.startswith((f"{target}_", f"{target}."))


def event_row(number: int, event: Mapping[str, str | int]) -> dict[str, Any]:
    """Return an entry as it is shown: number, fields, and what it says as a sentence."""
    return {"entry": number, **event, "what": described(event)}


def events_of(
    store: Store, job: int, task: int | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return what happened to a job or task after an entry (-1: all), at most `limit` rows.

    The second value says after which entry the next page begins; None where the ledger ends here.
    """
    target = str(job) if task is None else f"{job}_{task}"
    begun, size = store.ledger.of_job(job), store.ledger.size()
    first = max(after + 1, begun or 0)
    found: list[dict[str, Any]] = []
    for start in range(first, min(size, first + _LOOKED_AT), _STEP):
        for number, entry in enumerate(store.ledger.entries(start, start + _STEP), start):
            event = parse_event(entry)
            if is_about(event, target):
                found.append(event_row(number, event))
                if len(found) == limit:
                    return found, number if number + 1 < size else None
    last = first + _LOOKED_AT - 1
    return found, last if last + 1 < size else None
