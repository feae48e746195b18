"""A stand-in takes over: from a copy of the database it begins a new epoch, which nodes follow; the old one is fenced.

The copy may be older than what the former leader did last. So numbers of jobs go on at a distance, and replicas of
older jobs are placed when nodes have said what they hold (`steps.adopt`): what they bring along keeps its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.steps import restored_database
from nexapod_batch.coordinator.steps.epochs import begin_epoch, expect_words
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.node import LOCAL
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.operations import EpochRow

__all__ = ["take_over"]

def take_over(c: Coordinator) -> EpochRow:
    """Begin a new epoch; the first entry of it names the last signed head that this copy holds. BusyError."""
    with writer(c.store, wait_s=PATIENCE_S, steal=True):  # the lease in a copy is that of a machine that is gone
        c.follow_key()
        with c.store.atomic():
            epoch = begin_epoch(c)
            _end_local(c)
        expect_words(c)
        restored_database.mark(c)
        restored_database.forget_head(c)
    log.warning(__name__, "took over", epoch=epoch.number, entries=epoch.entry)
    return epoch


def _end_local(c: Coordinator) -> None:
    """End what runs on the machine of the former leader: its files are not here. Its report may still come."""
    local = {node.id for node in c.nodes() if node.site == LOCAL}
    stored = restored_database.REASON.stored()
    for row in c.store.launches.all_open():
        if row.node_id in local:
            gone = c.store.launches.lose(row.id, execution=Execution.LOST.value, reason=stored, now=c.now())
            c.store.tasks.note_news(sorted(set(gone)))
            c.store.launches.end(launch_reason(row.id, restored_database.REASON))
