"""The private keys of nodes: they lie in the coordinator's home, are used here, and go nowhere else.

A node's key signs the node's profile and, for each launch, a delegation to a key of that launch alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.nodes.record import profile_event
from nexapod_batch.errors import KeyFileError, NexapodError, VerificationError
from nexapod_batch.files import keyfile
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.model.node import LOCAL
from nexapod_batch.store import writer
from nexapod_batch.trust.delegation import DELEGATION_TYPE, Delegation, encode_delegation
from nexapod_batch.trust.dsse import Signer, pae
from nexapod_batch.trust.profile import seal_offer

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["delegate", "is_removed", "key_file", "keys_of", "rekey", "signer_of"]


def key_file(c: Coordinator, name: str) -> Path:
    """Return where the private key of a node lies."""
    return c.paths.keys / f"node-{name}"


def is_removed(c: Coordinator, node: Node) -> bool:
    """Say whether a node of a machine was taken out after it had run something: its row and public key stayed."""
    return node.site == LOCAL and not node.active and not key_file(c, node.name).exists()


def signer_of(c: Coordinator, node: Node) -> Signer:
    """Return the key of a node, read once; KeyFileError where the file holds none, or another one."""
    if node.key_id not in c.node_signers:
        path = key_file(c, node.name)
        found = _load(path, node)
        if found.key_id != node.key_id:
            raise KeyFileError(
                f"the key in {path} is not that of node {node.name}", got=found.key_id, wanted=node.key_id,
                hint=f"put the key back from a backup, or make a new one: nexapod-batch node rekey {node.name}",
            )  # fmt: skip
        c.node_signers[node.key_id] = found
    return c.node_signers[node.key_id]


def _load(path: Path, node: Node) -> Signer:
    """Load a key; where a new one was registered and the process then died, put it in its place first."""
    new = _new(path)
    if new.exists() and (made := keyfile.load(new)).key_id == node.key_id:
        new.replace(path)
        new.with_name(new.name + ".pub").replace(path.with_name(path.name + ".pub"))
        return made
    return keyfile.load(path)


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def rekey(c: Coordinator, node: Node) -> Signer:
    """Give a node a new key, which signs its profile anew; what its old key signed stays good, the key itself goes.

    Launches that are open finish under the delegations that they have: whoever stole the old key cannot use them.
    """
    path = key_file(c, node.name)
    with suppress(NexapodError):  # the old key may be lost, or damaged
        _load(path, node)
    for stale in (_new(path), _new(path).with_name(f"{path.name}.new.pub")):  # of an attempt that was not registered
        stale.unlink(missing_ok=True)
    new = keyfile.create(_new(path), f"nexapod-batch node {node.name}")
    try:
        offer = c.offer(node)
    except VerificationError:  # it counts for nothing: it does not become good by being signed
        offer = None
    anew = replace(node, key_id=new.key_id, public_key=new.public)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        c.store.nodes.replace_key(node.id, new.key_id, new.public, c.now())
        c.store.ledger.append([event(Kind.ROTATED, c.now(), node=node.name, key=new.key_id, was=node.key_id)])
        if offer is not None:
            envelope = seal_offer(new, offer)
            c.store.nodes.put_profile(node.name, envelope)
            c.store.ledger.append([profile_event(c, anew, envelope)])
    return signer_of(c, anew)


def keys_of(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the public keys that a node has and had, by key id, the first one first."""
    return {key.key_id: key.public_key for key in c.store.nodes.keys(node.id)}


def delegate(c: Coordinator, node: Node, launch: int, given: Delegation, seed: bytes) -> None:
    """Sign and store what the key of a launch may say; its seed is kept until the launch is claimed or has ended."""
    payload = encode_delegation(given)
    c.store.launches.insert_delegation(
        launch,
        seed=seed,
        key_id=node.key_id,
        not_after=given.not_after,
        payload=payload,
        signature=signer_of(c, node).sign(pae(DELEGATION_TYPE, payload)),
    )
