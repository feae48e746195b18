"""Replicas whose nodes have had several keys: each rests on the key of its time, and on none that is revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["rekeyed_nodes", "revocation_faults"]


def rekeyed_nodes(c: Coordinator) -> frozenset[int]:
    """Return the row ids of nodes that have had several keys, or one that is revoked."""
    found = set()
    for node in c.store.nodes.all():
        keys = c.store.nodes.keys(node.id)
        if len(keys) > 1 or any(key.revoked is not None for key in keys):
            found.add(node.id)
    return frozenset(found)


def revocation_faults(c: Coordinator, row: ReplicaRow, *, looked_for: bool) -> list[str]:
    """Return where a replica counts that must not, or was withdrawn without cause.

    `looked_for` says that its node has had several keys, or one that is revoked. A report counts if its entry in the
    ledger is before the one since which the key that it rests on is revoked.
    """
    kept = Reason.parse(row.reason)
    withdrawn = kept is not None and kept.code == Code.KEY_REVOKED
    if not looked_for and not withdrawn:
        return []
    given = c.store.launches.delegation(row.launch_id)
    placed, committed = c.store.ledger.of_replica(row.job_id, row.task, row.number)
    if given is None:
        since = c.store.nodes.keys(row.node_id)[0].revoked  # of a time when a node's own key signed
    elif _is_over(given.over, placed):
        return ["the key that its launch rests on was its node's no longer when it was placed"]
    else:
        since = given.revoked
    good = since is None or (committed is not None and committed < since)
    if good and withdrawn:
        return ["it is said to rest on a key that is revoked, and does not"]
    if good or row.execution != Execution.REPORTED:
        return []
    return [f"it counts, and the key that it rests on is revoked since entry {since} of the ledger"]


def _is_over(over: int | None, placed: int | None) -> bool:
    """Say whether a key was its node's no longer at an entry of the ledger."""
    return over is not None and placed is not None and placed >= over
