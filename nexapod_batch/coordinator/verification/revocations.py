"""Replicas whose reports rest on keys of nodes that are revoked: none of them counts, and no other is said to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code, Reason

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.store.repositories.replicas import ReplicaRow

__all__ = ["revocation_faults", "revoked_nodes"]


def revoked_nodes(c: Coordinator) -> frozenset[int]:
    """Return the row ids of nodes that have had a key that is revoked."""
    return frozenset(
        node.id for node in c.store.nodes.all() if any(key.revoked is not None for key in c.store.nodes.keys(node.id))
    )


def revocation_faults(c: Coordinator, row: ReplicaRow, *, looked_for: bool) -> list[str]:
    """Return where a replica counts that must not, or was withdrawn without cause.

    `looked_for` says that its node has had a key that is revoked. A report counts if its entry in the ledger is before
    the one since which the key that it rests on is revoked.
    """
    kept = Reason.parse(row.reason)
    withdrawn = kept is not None and kept.code == Code.KEY_REVOKED
    if not looked_for and not withdrawn:
        return []
    since = _revoked_since(c, row)
    _, committed = c.store.ledger.of_replica(row.job_id, row.task, row.number)
    good = since is None or (committed is not None and committed < since)
    if not good and row.execution == Execution.REPORTED:
        return [f"it counts, and the key that it rests on is revoked since entry {since} of the ledger"]
    if good and withdrawn:
        return ["it is said to rest on a key that is revoked, and does not"]
    return []


def _revoked_since(c: Coordinator, row: ReplicaRow) -> int | None:
    given = c.store.launches.delegation(row.launch_id)
    if given is not None:
        return given.revoked
    return c.store.nodes.keys(row.node_id)[0].revoked  # of a time when a node's own key signed
