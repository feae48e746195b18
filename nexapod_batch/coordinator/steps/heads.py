"""Heads of the ledger: signed by the coordinator's key, and kept at the end of each pass with news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.ledger_start import origin_of
from nexapod_batch.ledger.checkpoint import Head, checkpoint
from nexapod_batch.ledger.note import NoteKey

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.note import Note

__all__ = ["ledger_key", "sign_news", "signed_head"]


def ledger_key(c: Coordinator) -> NoteKey:
    """Return the key by which this coordinator signs heads of its ledger, with the ledger's name."""
    return NoteKey(origin_of(c.signer.key_id), c.signer.public)


def signed_head(c: Coordinator, size: int) -> Note:
    """Return the signed head of the first `size` entries."""
    return checkpoint(Head(origin_of(c.signer.key_id), size, c.store.ledger.root(size)), c.signer)


def sign_news(c: Coordinator) -> None:
    """Sign and keep the head of the ledger, unless it was signed as it is."""
    with c.store.atomic():
        size = c.store.ledger.size()
        if size > c.store.ledger.signed_size():
            c.store.ledger.keep_checkpoint(size, str(signed_head(c, size)))
