"""What was published of a task, compared with what the ledger says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.verification.ledger_facts import publication_of
from nexapod_batch.coordinator.verification.signed_verdict import event_at
from nexapod_batch.ledger.events import Kind
from nexapod_batch.lifecycle import TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.tasks import TaskRow

__all__ = ["publication_differences", "publication_faults"]

#: Fields of an entry, and what people call them.
_NAMES = {"id": "the task", "replica": "the replica", "sha256": "the statement that lists the files, by its SHA-256,"}


def publication_faults(c: Coordinator, task: TaskRow) -> list[str]:
    """Return where the ledger says otherwise of what was published of a task; its statement names the files."""
    number = task.published_from
    if not c.store.ledger.size():
        return []
    entry = c.store.ledger.of_publication(task.job_id, task.idx)
    if number is None:
        if entry is not None:
            return ["the database says where the ledger has its publication, and not which replica was published"]
        return []
    if not task.published and task.state == TaskState.ACCEPTED and not task.unpublished:
        return ["it was published before, and is not now: nexapod-batch reconcile"]
    event = event_at(c, entry)
    if Kind.PUBLISHED not in {event.get("kind"), event.get("fact")}:
        return ["the ledger has no publication of it where the database says that it stands"]
    statement = c.store.ledger.statements_of(task.job_id, [task.idx]).get((task.idx, number))
    return publication_differences(event, publication_of(f"{task.job_id}_{task.idx}", number, statement))


def publication_differences(event: Mapping[str, str | int], wanted: Mapping[str, str | int]) -> list[str]:
    """Return where an entry says another publication than the one that is wanted."""
    return [
        f"the ledger says {_NAMES[name]} is {event[name]}, and it is {value}"
        for name, value in wanted.items()
        if name in event and event[name] != value  # what was imported names no statement
    ]
