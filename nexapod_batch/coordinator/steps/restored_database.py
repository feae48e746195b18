"""A database that was put back from a backup: what was under way by it is ended before anything is handed over.

What the database says of its open launches may be long over: their bundles were run, their reports taken in, their
claims forgotten. To hand them over again would run them twice. Beside the database lies the number of the newest
launch that was ever handed over; a database that does not know so many is an older one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.steps.epochs import begin_epoch, expect_words
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.files import atomic, careful
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["REASON", "end_what_was_restored", "mark"]

_LONGEST = 32  # bytes of a number
#: Why replicas of such launches are lost.
REASON = Reason(code=Code.RESTORED)


def mark(c: Coordinator) -> None:
    """Note the newest launch, before it is handed over."""
    newest = c.store.launches.newest()
    with suppress(OSError):  # where there is no room, nothing can be handed over either
        atomic.write(_file(c), b"%d\n" % newest, mode=0o600, durable=False)


def end_what_was_restored(c: Coordinator) -> int:
    """End open launches of a database that is older than what was handed over; return how many.

    Where nodes joined, a new epoch begins: they bring what this copy does not know, and their launches go on. The
    caller holds the writer's lock. Reports of such launches may still come, and count as any that come late.
    """
    try:
        handed = int(careful.read(_file(c), _LONGEST))
    except (OSError, ValueError):  # of the time before there was the file, or lost: then nothing can be told
        return 0
    if handed <= c.store.launches.newest():
        return 0
    joined, stored = {node.id for node in c.nodes() if node.joined}, REASON.stored()
    rows = [row for row in c.store.launches.all_open() if row.node_id not in joined]
    with c.store.atomic():
        c.store.ledger.append([event(Kind.RESTORED, c.now(), launches=len(rows))])
        if joined:
            begin_epoch(c)
        for row in rows:
            gone = c.store.launches.lose(row.id, execution=Execution.LOST.value, reason=stored, now=c.now())
            c.store.tasks.note_news(sorted(set(gone)))
            c.store.launches.end(launch_reason(row.id, REASON))
    if joined:
        expect_words(c)
    mark(c)
    return len(rows)


def _file(c: Coordinator) -> Path:
    return c.paths.home / "newest-launch"
