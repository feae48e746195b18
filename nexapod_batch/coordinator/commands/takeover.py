"""A stand-in takes over: from a copy of the database it begins a new epoch, which nodes follow; the old one is fenced.

The copy may be older than what the former leader did last. So numbers of jobs go on at a distance, and replicas of
older jobs are placed when nodes have said what they hold (`steps.adopt`): what they bring along keeps its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.steps import restored_database
from nexapod_batch.coordinator.steps.launch_endings import launch_reason
from nexapod_batch.ledger.checkpoint import head_of
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.ledger.note import parse
from nexapod_batch.lifecycle import Execution
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.node import LOCAL
from nexapod_batch.store import writer
from nexapod_batch.store.repositories.operations import EpochRow

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["take_over"]

#: So many numbers of jobs are left for those that the former leader accepted, and that this copy does not know.
_JOBS_LEFT = 1_000


def take_over(c: Coordinator) -> EpochRow:
    """Begin a new epoch; the first entry of it names the last signed head that this copy holds. BusyError."""
    with writer(c.store, wait_s=PATIENCE_S, steal=True):  # the lease in a copy is that of a machine that is gone
        c.follow_key()
        with c.store.atomic():
            size, root = _last_head(c)
            number = c.store.operations.epoch().number + 1
            said = event(Kind.TAKEN_OVER, c.now(), epoch=number, size=size, root=root)
            entry = c.store.ledger.append([said])
            first = c.store.operations.newest_job() + _JOBS_LEFT + 1
            epoch = EpochRow(number=number, since=c.now(), entry=entry, first_job=first)
            c.store.operations.begin_epoch(epoch, gap=_JOBS_LEFT)
            _end_local(c)
        _expect_words(c)
        restored_database.mark(c)
    log.warning(__name__, "took over", epoch=number, entries=size)
    return epoch


def _last_head(c: Coordinator) -> tuple[int, str]:
    """Return size and root of the last head that was signed; none was: those of nothing."""
    signed = c.store.ledger.newest_checkpoint()
    if signed is None:
        return 0, ""
    head = head_of(parse(signed[1]))
    return head.size, encoded_digest(head.root)


def _expect_words(c: Coordinator) -> None:
    """Let what nodes have taken be theirs: they say what became of it, or are silent for as long as leases last."""
    nodes = {node.id: node for node in c.nodes() if node.joined}
    for node in nodes.values():
        box = Mailbox(c.context(node).spool)
        box.make()
        box.keep_seen(c.clock())
    for row in c.store.launches.all_open():
        if row.node_id in nodes and not row.keyed:
            Mailbox(c.context(nodes[row.node_id]).spool).keep_given(row.key)


def _end_local(c: Coordinator) -> None:
    """End what runs on the machine of the former leader: its files are not here. Its report may still come."""
    local = {node.id for node in c.nodes() if node.site == LOCAL}
    stored = restored_database.REASON.stored()
    for row in c.store.launches.all_open():
        if row.node_id in local:
            gone = c.store.launches.lose(row.id, execution=Execution.LOST.value, reason=stored, now=c.now())
            c.store.tasks.note_news(sorted(set(gone)))
            c.store.launches.end(launch_reason(row.id, restored_database.REASON))
