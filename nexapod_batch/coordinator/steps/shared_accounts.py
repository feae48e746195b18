"""Accounts, and whose commands ran beside whose.

A command that runs without isolation reaches whatever its account reaches: while one of somebody else's job does so,
what other replicas of that account sign is the word of one account, however many nodes it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.placement.container_support import confines_none
from nexapod_batch.model.node import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import VotingReplica

__all__ = ["Stranger", "account_of", "beside", "strangers"]


class Stranger(NamedTuple):
    """A replica of somebody else's job that ran, or may have run, without isolation."""

    replica: int  # row id
    account: str
    since: int  # ms
    until: int | None  # ms; None: it still may


def account_of(node: Node) -> str:
    """Return the account by which a node's commands run: one for all nodes of this machine, and one for each site."""
    if node.site == LOCAL:
        return LOCAL
    return f"{node.site}/{node.backend}"


def strangers(c: Coordinator, replicas: Sequence[VotingReplica], nodes: Mapping[int, Node]) -> list[Stranger]:
    """Return the strangers that were out while any of these replicas was."""
    if not replicas or not c.store.jobs.any_foreign():
        return []
    since, until = min(replica.created_at for replica in replicas), c.now()
    found = []
    for row in c.store.replicas.foreign(since=since, until=until):
        node = nodes[row.node_id]
        # what did not say how it ran may have run bare only where commands are never confined
        if row.isolation == "none" or (not row.contained and confines_none(c, node)):
            found.append(Stranger(row.id, account_of(node), row.created_at, row.ended_at))
    return found


def beside(known: Sequence[Stranger], replica: VotingReplica, account: str) -> bool:
    """Say whether a stranger was out on the account of a replica while that was."""
    end = replica.ended_at
    return any(
        one.account == account
        and one.replica != replica.id
        and (end is None or one.since <= end)
        and (one.until is None or one.until >= replica.created_at)
        for one in known
    )
