"""The private keys of nodes: they lie in the coordinator's home, are used here, and go nowhere else.

A node's key signs the node's profile and, for each launch, a delegation to a key of that launch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.errors import KeyFileError
from nexapod_batch.files import keyfile
from nexapod_batch.trust.delegation import DELEGATION_TYPE, Delegation, encode_delegation
from nexapod_batch.trust.dsse import Signer, pae

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["delegate", "key_file", "keys_of", "signer_of"]


def key_file(c: Coordinator, name: str) -> Path:
    """Return where the private key of a node lies."""
    return c.paths.keys / f"node-{name}"


def signer_of(c: Coordinator, node: Node) -> Signer:
    """Return the key of a node, read once; KeyFileError where the file holds none, or another one."""
    if node.key_id not in c.node_signers:
        path = key_file(c, node.name)
        found = keyfile.load(path)
        if found.key_id != node.key_id:
            raise KeyFileError(
                f"the key in {path} is not that of node {node.name}", got=found.key_id, wanted=node.key_id,
                hint=f"put the key back from a backup, or make a new one: nexapod-batch node rekey {node.name}",
            )  # fmt: skip
        c.node_signers[node.key_id] = found
    return c.node_signers[node.key_id]


def keys_of(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the public keys that a node has and had, by key id, the first one first."""
    return {row["key_id"]: bytes(row["public_key"]) for row in c.store.all("node_keys", node=node.id)}


def delegate(c: Coordinator, node: Node, launch: int, given: Delegation, seed: bytes) -> None:
    """Sign and store what the key of a launch may say; its seed is kept until the launch is claimed or has ended."""
    payload = encode_delegation(given)
    c.store.run(
        "delegation_insert",
        launch=launch,
        seed=seed,
        key=node.key_id,
        not_after=given.not_after,
        payload=payload,
        signature=signer_of(c, node).sign(pae(DELEGATION_TYPE, payload)),
    )
