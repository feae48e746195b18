"""`results --pull` and `results --deliver`: deliveries brought back, and tried again at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexapod_batch.cli import selectors
from nexapod_batch.cli.context import reading, writing
from nexapod_batch.cli.rendering.render import output
from nexapod_batch.errors import NexapodError, NotFoundError, TryAgainError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["deliver_now", "pull_back"]


def pull_back(texts: tuple[str, ...], out: str | None, as_json: bool) -> int:
    """Bring one delivery into a folder: that of a job, or the one at a place.

    Raises:
        UsageError: Not one delivery is named.

    """
    from nexapod_batch.coordinator.delivery.pull import pull

    if len(texts) != 1:
        raise UsageError("one delivery at a time", got=" ".join(texts) or "none", wanted="42, s3://bucket/x or /x")
    (text,) = texts
    place = text if "/" in text else _place_of(text)
    found = pull(place, Path(out or place.rstrip("/").rpartition("/")[2]), {})
    output(as_json).document({"place": place, **found}, _pulled)
    return 0


def _place_of(selector: str) -> str:
    """Return where the results of a job were delivered."""
    from nexapod_batch.coordinator.queries.deliveries import delivery_of

    with reading() as store:
        (job,) = selectors.jobs_of([selectors.resolve_one(store, selector)])
        state = delivery_of(store, job)
    if not state:
        raise NotFoundError(f"job {job} has no [results] to: its results are here", hint=f"nexapod-batch results {job}")
    if not state["place"]:
        raise TryAgainError(f"the results of job {job} are not delivered yet", hint=f"nexapod-batch explain {job}")
    return str(state["place"])


def deliver_now(texts: tuple[str, ...], as_json: bool) -> int:
    """Deliver the results of jobs that failed to be delivered, without waiting for the next try.

    Raises:
        NexapodError: One cannot be delivered still.

    """
    from nexapod_batch.coordinator.commands.deliver_again import deliver_again
    from nexapod_batch.wording import sentence

    with writing() as c:
        jobs = selectors.jobs_of(selectors.resolve(c.store, texts))
        delivered, failed = deliver_again(c, jobs)
    output(as_json).document({"delivered": delivered}, lambda document: [f"{one}" for one in document["delivered"]])
    if failed:
        raise NexapodError("; ".join([sentence(reason) for reason in failed]))
    return 0


def _pulled(document: dict[str, Any]) -> Iterator[str]:
    yield document["folder"]
    yield f"  brought from {document['place']}; all of it is what was signed"
