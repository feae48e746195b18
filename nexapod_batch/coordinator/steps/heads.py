"""Heads of the ledger: signed by the coordinator's key, and kept at the end of each pass with news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator import own_key
from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.ledger.checkpoint import Head, checkpoint, head_of
from nexapod_batch.ledger.note import NoteKey, parse

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.note import Note
    from nexapod_batch.trust.dsse import Signer

__all__ = ["is_revoked", "key_of_head", "ledger_key", "sign_news", "signed_head"]


def ledger_key(c: Coordinator) -> NoteKey:
    """Return the key by which this coordinator signs heads of its ledger, with the ledger's name."""
    return NoteKey(c.origin, c.signer.public)


def key_of_head(c: Coordinator, note: Note) -> NoteKey:
    """Return the key by which this coordinator signed, or would have signed, a head of its ledger of this size."""
    size = min(head_of(note).size, c.store.ledger.size() + 1)
    return NoteKey(c.origin, own_key.public_at(c.store, c.signer, size - 1))


def is_revoked(c: Coordinator, note: Note) -> bool:
    """Say whether the key that signs heads of this size is revoked for them."""
    return own_key.revoked_at(c.store, c.signer, head_of(note).size - 1) is not None


def signed_head(c: Coordinator, size: int) -> Note:
    """Return the signed head of the first `size` entries."""
    return checkpoint(Head(c.origin, size, c.store.ledger.root(size)), c.signer)


def sign_news(c: Coordinator, signer: Signer | None = None) -> bool:
    """Sign and keep the head of the ledger, unless it was signed as it is; say whether there was news.

    `signer` is a key about to be in force. CorruptStoreError where what was signed last is not the beginning of it.
    """
    with c.store.atomic():
        size, signed = c.store.ledger.size(), c.store.ledger.newest_checkpoint()
        if signed is not None:
            if size == signed[0]:
                return False
            _is_continued(c, head_of(parse(signed[1])))
        head = Head(c.origin, size, c.store.ledger.root(size))
        c.store.ledger.keep_checkpoint(size, str(checkpoint(head, signer or c.signer)))
    return True


def _is_continued(c: Coordinator, head: Head) -> None:
    """Refuse to sign another past than the one that was signed before."""
    if head.size > c.store.ledger.size() or c.store.ledger.root(head.size) != head.root:
        raise CorruptStoreError(
            "the ledger does not continue its last signed head, and is not signed any more",
            got=f"a head of {head.size} entries", hint="nexapod-batch ledger verify says what was changed",
        )  # fmt: skip
