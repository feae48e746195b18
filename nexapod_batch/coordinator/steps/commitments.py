"""Commitments of nodes that joined, taken from their mailboxes into the database before the reports that they bind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.steps.adopt import adopt
from nexapod_batch.mesh.commitment_files import BOUND, COMMITTED, in_folder, note_taken
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.replica import ReplicaName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["forget_files", "take_again", "take_commitments"]


def take_commitments(c: Coordinator, nodes: Iterable[Node]) -> list[Path]:
    """Store what waits in the mailboxes of nodes, in the caller's transaction; return the files for `forget_files`.

    A report that was read before this is called has its commitment there, if it has one at all: the server keeps that
    first. A node commits itself once to each of its replicas, and to no other's.
    """
    joined = {node.id: node for node in nodes if node.joined}.values()
    found = [(node, *one) for node in joined for one in Mailbox(c.context(node).spool).commitments()]
    taken = adopt(c)  # so that the replicas are there to which these commit their nodes
    for node, path, committed in found:
        _keep(c, node, committed)
        taken.append(path)
    return taken


def take_again(c: Coordinator, node: Node) -> None:
    """Store what was taken in before, of segments that are here still: this database may be an older copy."""
    for _, committed in in_folder(c.context(node).spool, BOUND):
        _keep(c, node, committed)


def _keep(c: Coordinator, node: Node, committed: Mapping[str, str]) -> None:
    for name, digest in committed.items():
        replica = ReplicaName.parse(name)
        place = (replica.job, replica.task, replica.number)
        c.store.commitments.keep(place, node.id, bytes.fromhex(digest), c.now())


def forget_files(taken: Iterable[Path]) -> None:
    """Let go of the files of what is in the database, durably; commitments stay as long as their segments."""
    for path in taken:
        if path.parent.name == COMMITTED:
            note_taken(path)
        else:
            path.unlink(missing_ok=True)
