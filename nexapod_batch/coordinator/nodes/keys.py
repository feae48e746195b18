"""The private keys of nodes: they lie in the coordinator's home, are used here, and go nowhere else.

A node's key signs the node's profile and, for each launch, a delegation to a key of that launch alone.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.nodes.joined_keys import UNSIGNED
from nexapod_batch.coordinator.nodes.record import profile_event
from nexapod_batch.errors import KeyFileError, NexapodError, TryAgainError, UsageError, VerificationError
from nexapod_batch.files import key_replacement
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.model.node import LOCAL
from nexapod_batch.store import writer
from nexapod_batch.trust.delegation import DELEGATION_TYPE, Delegation, encode_delegation
from nexapod_batch.trust.dsse import Signer, pae
from nexapod_batch.trust.profile import seal_offer
from nexapod_batch.trust.rotation import Rotation, encode_rotation, seal_rotation
from nexapod_batch.trust.trail import launch_secret

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = [
    "REVOKED_HINT", "check_key", "delegate", "is_removed", "is_revoked", "key_file", "keys_of", "old_signer", "rotate",
    "signer_of",
]  # fmt: skip

#: What the owner of a machine does whose key was revoked.
REVOKED_HINT = "there: nexapod-batch node leave --force, then node join with another --name, which makes a new key"


def key_file(c: Coordinator, name: str) -> Path:
    """Return where the private key of a node lies."""
    return c.paths.keys / f"node-{name}"


def is_removed(c: Coordinator, node: Node) -> bool:
    """Say whether a node of a machine was taken out after it had run something: its row and public key stayed."""
    return node.site == LOCAL and not node.active and not key_file(c, node.name).exists()


def is_revoked(c: Coordinator, node: Node) -> bool:
    """Say whether the key of a node was revoked: it signs for nothing any more."""
    return any(key.revoked is not None for key in c.store.nodes.keys(node.id) if key.key_id == node.key_id)


def signer_of(c: Coordinator, node: Node) -> Signer:
    """Return the key of a node, read once; KeyFileError where the file holds none, or another one."""
    if node.key_id not in c.node_signers:
        path = key_file(c, node.name)
        found = key_replacement.in_force(path, node.key_id)
        if found.key_id != node.key_id:
            raise KeyFileError(
                f"the key in {path} is not that of node {node.name}", got=found.key_id, wanted=node.key_id,
                hint=f"put the key back from a backup, or make a new one: nexapod-batch node rekey {node.name}",
            )  # fmt: skip
        c.node_signers[node.key_id] = found
    return c.node_signers[node.key_id]


def check_key(c: Coordinator, node: Node) -> None:
    """Raise KeyFileError where the key of a node that is kept here cannot be used; one that joined has its own."""
    if not node.joined:
        signer_of(c, node)


def rotate(c: Coordinator, node: Node, *, by_both: bool = True, given: Signer | None = None) -> Node:
    """Give a node a new key that the old one signs for as well; return the node as it is then.

    What the old key signed stays good, and launches that are open finish under the delegations that they have; the old
    private key goes. The new key signs the node's profile anew; it is made here unless one is `given`. Without
    `by_both` a key that is lost is replaced on the word of the coordinator alone.

    Raises:
        KeyFileError: The old key is not there, so that it cannot sign.
        UsageError: The node joined: its key is its own.

    """
    _holds_none_itself(node)
    with writer(c.store, wait_s=PATIENCE_S):
        _is_still_its_key(c, node)
        old = None
        with nullcontext() if by_both else suppress(NexapodError):
            old = old_signer(c, node)
        new = key_replacement.begin(key_file(c, node.name), f"nexapod-batch node {node.name}", given)
        anew = replace(node, key_id=new.key_id, public_key=new.public)
        with c.store.atomic():
            _register(c, node, anew, old, new)
        signer_of(c, anew)
    return anew


def old_signer(c: Coordinator, node: Node) -> Signer:
    """Return the key of a node, which is to sign for a new one.

    Raises:
        NexapodError: It is not there, and what to do then.
        UsageError: The node joined: its key is its own.

    """
    _holds_none_itself(node)
    try:
        return signer_of(c, node)
    except NexapodError as error:
        error.hint = f"{error.hint or 'put it back'}; if it is lost: nexapod-batch node rekey {node.name}"
        raise


def _holds_none_itself(node: Node) -> None:
    """Raise UsageError for a node that joined: its key is its own."""
    if node.joined:
        raise UsageError(f"node {node.name} holds its key itself", hint="there: node leave, then node join again")


def _is_still_its_key(c: Coordinator, node: Node) -> None:
    """Raise TryAgainError where another process gave the node another key meanwhile."""
    for row in c.store.nodes.all():
        if row.name == node.name and row.key_id != node.key_id:
            raise TryAgainError(f"node {node.name} was given another key meanwhile", got=row.key_id)


def _register(c: Coordinator, node: Node, anew: Node, old: Signer | None, new: Signer) -> None:
    """Write the new key of a node, and what it signs, inside the caller's transaction."""
    rotation, digest = None, {}
    if old is not None:
        said = Rotation(ledger=c.origin, holder=f"node/{node.name}", old=old.public, new=new.public, time_ms=c.now())
        rotation, digest = seal_rotation(said, old, new), {"sha256": digest_of(encode_rotation(said))}
    rotated = event(Kind.ROTATED, c.now(), node=node.name, key=new.key_id, was=node.key_id, **digest)
    entry = c.store.ledger.append([rotated])
    c.store.nodes.replace_key(node.id, new.key_id, new.public, now=c.now(), entry=entry, rotation=rotation)
    try:
        offer = c.offer(node)
    except VerificationError:  # it counts for nothing: it does not become good by being signed
        offer = None
    if offer is not None:
        envelope = seal_offer(new, offer)
        c.store.nodes.put_profile(node.name, envelope)
        c.store.ledger.append([profile_event(c, anew, envelope)])


def keys_of(c: Coordinator, node: Node) -> dict[str, bytes]:
    """Return the public keys that a node has and had, by key id, the first one first."""
    return {key.key_id: key.public_key for key in c.store.nodes.keys(node.id)}


def delegate(c: Coordinator, node: Node, launch: int, given: Delegation, seed: bytes) -> None:
    """Sign and store what the key of a launch may say; its seed is kept until the launch is claimed or has ended.

    A node that joined signs itself when it takes the launch: until then nothing that its key says counts.
    """
    payload = encode_delegation(given)
    signature = UNSIGNED if node.joined else signer_of(c, node).sign(pae(DELEGATION_TYPE, payload))
    c.store.launches.insert_delegation(
        launch,
        seed=seed,
        key_id=node.key_id,
        not_after=given.not_after,
        payload=payload,
        signature=signature,
        trail=launch_secret(seed),
    )
