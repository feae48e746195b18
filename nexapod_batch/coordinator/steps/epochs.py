"""Epochs: each begins from a copy of the database that may be older than what was done last.

So numbers of jobs go on at a distance, and what nodes have taken is theirs: they say what became of it. Of a node that
joined nothing is read, and for older jobs nothing is placed, before it has named what it holds in this epoch: launches
that the copy never heard of are adopted first (`steps.adopt`), and keep their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful
from nexapod_batch.ledger.checkpoint import head_of
from nexapod_batch.ledger.events import Kind, encoded_digest, event
from nexapod_batch.ledger.note import parse
from nexapod_batch.mesh.lease import SILENT_S
from nexapod_batch.mesh.mailbox import FOLLOWED, Mailbox
from nexapod_batch.mesh.messages import FIRST_EPOCH
from nexapod_batch.store.repositories.operations import EpochRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["begin_epoch", "expect_words", "first_job_to_place", "unheard"]

#: So many numbers of jobs are left for those that were accepted, and that this copy does not know.
_JOBS_LEFT = 1_000
_MAX_NUMBER = 32


def begin_epoch(c: Coordinator) -> EpochRow:
    """Begin a new epoch in the caller's transaction; its first entry names the last signed head that is held.

    What waits for nodes and is not known here was said by the database that is lost: a launch of it would be run under
    names that are given out anew, a word on reports would let nodes forget what was never read here.
    """
    known = {row.key for row in c.store.launches.all_open()}
    for node in c.nodes():
        if node.joined:
            spool = c.context(node).spool
            Mailbox(spool).withdraw_all_but(known)
            (spool / FOLLOWED).unlink(missing_ok=True)
    size, root = _last_head(c)
    number = max(c.store.operations.epoch().number, _newest(c)) + 1
    atomic.write(_epoch_file(c), b"%d\n" % number, mode=0o600)
    entry = c.store.ledger.append([event(Kind.TAKEN_OVER, c.now(), epoch=number, size=size, root=root)])
    first = c.store.operations.newest_job() + _JOBS_LEFT + 1
    epoch = EpochRow(number=number, since=c.now(), entry=entry, first_job=first)
    c.store.operations.begin_epoch(epoch, gap=_JOBS_LEFT)
    return epoch


def _newest(c: Coordinator) -> int:
    """Return the number of the newest epoch that ever began in this home; 0 where nothing can be told.

    Nodes remember it. A database that was put back once more must not begin another one of the same number.
    """
    try:
        return int(careful.read(_epoch_file(c), _MAX_NUMBER))
    except (OSError, ValueError):  # none did since there is the file, or it was lost
        return 0


def _epoch_file(c: Coordinator) -> Path:
    return c.paths.home / "newest-epoch"


def _last_head(c: Coordinator) -> tuple[int, str]:
    """Return size and root of the last head that was signed; none was: those of nothing."""
    signed = c.store.ledger.newest_checkpoint()
    if signed is None:
        return 0, ""
    head = head_of(parse(signed[1]))
    return head.size, encoded_digest(head.root)


def expect_words(c: Coordinator) -> None:
    """Let what nodes have taken be theirs: they say what became of it, or are silent for as long as leases last."""
    nodes = {node.id: node for node in c.nodes() if node.joined}
    for node in nodes.values():
        box = Mailbox(c.context(node).spool)
        box.make()
        box.keep_seen(c.clock())
    for row in c.store.launches.all_open():
        if row.node_id in nodes and not row.keyed:
            Mailbox(c.context(nodes[row.node_id]).spool).keep_given(row.key)


def unheard(c: Coordinator, nodes: Sequence[Node]) -> set[int]:
    """Return the ids of nodes that joined and have not named yet what they hold in this epoch.

    None are waited for in the first epoch, or for longer than leases last.
    """
    epoch = c.store.operations.epoch()
    if epoch.number == FIRST_EPOCH or c.now() - epoch.since > SILENT_S * 1000:
        return set()
    joined = [node for node in nodes if node.joined and node.active]
    return {node.id for node in joined if Mailbox(c.context(node).spool).followed() < epoch.number}


def first_job_to_place(c: Coordinator, waited_for: set[int]) -> int:
    """Return the first job of which replicas may be placed: 0 for any.

    While nodes are waited for, jobs of before this epoch wait: numbers of replicas that nodes bring must be free, and
    have no gaps.
    """
    return c.store.operations.epoch().first_job if waited_for else 0
