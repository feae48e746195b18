"""`key rotate`: a new key for a node or for the coordinator, signed for by the old one and the new one.

Work goes on meanwhile. A process that dies at any instant leaves the old key in force or the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.nodes import keys
from nexapod_batch.coordinator.nodes.registry import named
from nexapod_batch.coordinator.queries.keys import COORDINATOR, held_keys
from nexapod_batch.coordinator.steps.heads import sign_news
from nexapod_batch.errors import UsageError
from nexapod_batch.files import key_replacement
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.store import writer
from nexapod_batch.trust.rotation import Rotation, encode_rotation, seal_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.trust.dsse import Signer

__all__ = ["Rotated", "check", "rotate"]


class Rotated(NamedTuple):
    """A key that took the place of another one."""

    holder: str  # `coordinator`, or the name of a node
    old: str  # key ids
    new: str


def rotate(c: Coordinator, holder: str, given: Signer | None = None) -> Rotated:
    """Give the coordinator or a node a new key, which is made here unless one is `given`.

    Raises:
        KeyFileError: The old key is not there, so that it cannot sign.
        NotFoundError: There is no such node.
        UsageError: The node was removed, and has no key, or the given key is somebody's already.

    """
    if given is not None:
        _is_free(c, given)
    if holder == COORDINATOR:
        done = _rotate_coordinator(c, given)
    else:
        node = _with_key(c, holder)
        done = Rotated(holder, node.key_id, keys.rotate(c, node, given=given).key_id)
    log.info(__name__, "key rotated", of=holder, old=done.old, new=done.new)
    return done


def check(c: Coordinator, holders: Sequence[str]) -> None:
    """Raise what `rotate` would raise of any of these, so that none of them is rotated where one cannot be.

    Raises:
        KeyFileError: An old key is not there.
        NotFoundError: There is no such node.
        UsageError: A node was removed, or joined with a key of its own.

    """
    for holder in holders:
        if holder != COORDINATOR:
            keys.old_signer(c, _with_key(c, holder))


def _with_key(c: Coordinator, holder: str) -> Node:
    """Return a node that has a key; UsageError for one that was removed."""
    node = named(c, holder)
    if keys.is_removed(c, node):
        raise UsageError(f"node {holder} was removed: its key is gone", hint=f"nexapod-batch key show {holder}")
    return node


def _is_free(c: Coordinator, given: Signer) -> None:
    """Raise UsageError for a key that somebody has or had: what it signs would be two's word."""
    for key in held_keys(c):
        if key.public == given.public:
            raise UsageError("that key is one already", got=f"a key of {key.name}", wanted="one of its own for each")


def _rotate_coordinator(c: Coordinator, given: Signer | None) -> Rotated:
    path = own_key.path_of(c.paths)
    with writer(c.store, wait_s=PATIENCE_S):
        c.follow_key()
        sign_news(c)  # all until here has the old key's word
        old = c.signer
        new = key_replacement.begin(path, "nexapod-batch coordinator", given)
        with c.store.atomic():
            _register(c, old, new)
            sign_news(c, new)  # whoever sees that the key is another one finds a head by it
        c.follow_key()
    return Rotated(COORDINATOR, old.key_id, c.signer.key_id)


def _register(c: Coordinator, old: Signer, new: Signer) -> None:
    """Write the new key, and what both sign, inside the caller's transaction."""
    said = Rotation(ledger=c.origin, holder=COORDINATOR, old=old.public, new=new.public, time_ms=c.now())
    digest = digest_of(encode_rotation(said))
    rotated = event(Kind.COORDINATOR_ROTATED, c.now(), key=new.key_id, was=old.key_id, sha256=digest)
    entry = c.store.ledger.append([rotated])
    c.store.operations.keep_coordinator_key(old.key_id, old.public)
    c.store.operations.replace_coordinator_key(
        new.key_id, new.public, entry=entry, now=c.now(), rotation=seal_rotation(said, old, new)
    )
