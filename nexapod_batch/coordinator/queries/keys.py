"""The keys that the coordinator and the nodes have and had, each with the part of the ledger that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator import own_key
from nexapod_batch.errors import NotFoundError
from nexapod_batch.trust.keys import key_id

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["COORDINATOR", "HeldKey", "held_keys", "keys_named"]

#: What the coordinator is called where nodes are called by their names.
COORDINATOR = "coordinator"


class HeldKey(NamedTuple):
    """A public key, and what it is good for; numbers are those of entries of the ledger."""

    of: str  # `coordinator` or `node`
    name: str  # of the node; `coordinator`
    public: bytes
    since: int | None = 0  # the first entry that it is for; None: it is not kept which
    until: int | None = None  # the first entry that it is for no longer; None: it is in use, or it is not kept which
    in_use: bool = True
    revoked: int | None = None  # the first entry for which what it signed counts no longer
    since_ms: int = 0  # when it began; 0 where it is not kept
    until_ms: int | None = None
    rotation: bytes | None = None  # envelope by which it took the place of the one before

    @property
    def key_id(self) -> str:
        """Return its fingerprint."""
        return key_id(self.public)


def held_keys(c: Coordinator) -> list[HeldKey]:
    """Return all keys: the coordinator's, then those of each node, the first one of each first."""
    found = _of_coordinator(c)
    for node in c.store.nodes.all():
        found += [
            HeldKey(
                "node", node.name, row.public_key, row.entry, row.over, row.until is None, row.revoked, row.since,
                row.until, row.rotation,
            )
            for row in c.store.nodes.keys(node.id)
        ]  # fmt: skip
    return found


def _of_coordinator(c: Coordinator) -> list[HeldKey]:
    found: list[HeldKey] = []
    began = 0
    for row in own_key.holders(c.store, c.signer):
        if row.public_key is not None:
            found.append(
                HeldKey(
                    COORDINATOR, COORDINATOR, row.public_key, row.since, row.until, row.until is None, row.revoked,
                    began, row.until_ms, row.rotation,
                )
            )  # fmt: skip
        began = row.until_ms or 0
    if not found:
        found.append(HeldKey(COORDINATOR, COORDINATOR, c.signer.public))
    return found


def keys_named(keys: list[HeldKey], name: str) -> list[HeldKey]:
    """Return the keys of a holder by its name, or the one with a fingerprint; NotFoundError, with what there is."""
    matching = [key for key in keys if name in {key.name, key.key_id}]
    if not matching:
        known = ", ".join(dict.fromkeys(key.name for key in keys)) or "none"
        raise NotFoundError("there is no such key", got=repr(name), wanted=f"one of: {known}, or a fingerprint")
    return matching
