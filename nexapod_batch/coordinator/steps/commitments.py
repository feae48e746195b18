"""Commitments of nodes that joined, taken from their mailboxes into the database before the reports that they bind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.steps.adopt import adopt
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.replica import ReplicaName

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["forget_files", "take_commitments"]


def take_commitments(c: Coordinator, nodes: Iterable[Node]) -> list[Path]:
    """Store what waits in the mailboxes of nodes, in the caller's transaction; return the files for `forget_files`.

    A report that was read before this is called has its commitment there, if it has one at all: the server keeps that
    first. A node commits itself once to each of its replicas, and to no other's.
    """
    joined = {node.id: node for node in nodes if node.joined}.values()
    found = [(node, *one) for node in joined for one in Mailbox(c.context(node).spool).commitments()]
    taken = adopt(c)  # so that the replicas are there to which these commit their nodes
    for node, path, committed in found:
        for name, digest in committed.items():
            replica = ReplicaName.parse(name)
            place = (replica.job, replica.task, replica.number)
            c.store.commitments.keep(place, node.id, bytes.fromhex(digest), c.now())
        taken.append(path)
    return taken


def forget_files(taken: Iterable[Path]) -> None:
    """Remove the files of commitments whose transaction is durable."""
    for path in taken:
        path.unlink(missing_ok=True)
