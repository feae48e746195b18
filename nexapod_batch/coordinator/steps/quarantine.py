"""Quarantine: lines that were refused are kept, as many as tell what goes on, and change nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.store.repositories.reports import BadLine

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.report_reader import Refused
    from nexapod_batch.model.node import Node

__all__ = ["quarantine"]

#: Bad lines kept for each node: enough to see what goes on, not enough to fill a disk.
MAX_QUARANTINED = 1_000


def quarantine(c: Coordinator, node: Node, path: Path, refused: list[Refused]) -> None:
    """Keep bad lines of a segment, as long as there is room; the others are counted."""
    log.warning(
        __name__, "lines refused", node=node.name, segment=path.name, lines=len(refused), first=refused[0].reason,
    )  # fmt: skip
    reports, now = c.store.reports, c.now()
    room = max(0, MAX_QUARANTINED - reports.count_quarantined(node.id))
    if len(refused) > room:
        reports.note_dropped(node.id, len(refused) - room)
    kept = [BadLine(node.id, path.name, line.position, line.reason, line.line, now) for line in refused[:room]]
    reports.quarantine(kept)
    c.store.ledger.append([_event(node, line) for line in kept])


def _event(node: Node, line: BadLine) -> bytes:
    return event(
        Kind.QUARANTINED, line.created_at, node=node.name, segment=line.segment, position=line.position,
        sha256=digest_of(line.line),
    )  # fmt: skip
