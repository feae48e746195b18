"""Heads of the ledger: signed by the coordinator's key, and kept at the end of each pass with news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.ledger_start import origin_of
from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.ledger.checkpoint import Head, checkpoint, head_of
from nexapod_batch.ledger.note import NoteKey, parse

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
    """Sign and keep the head of the ledger, unless it was signed as it is.

    CorruptStoreError where what was signed last is not the beginning of it.
    """
    with c.store.atomic():
        size, signed = c.store.ledger.size(), c.store.ledger.newest_checkpoint()
        if signed is not None:
            if size == signed[0]:
                return
            _is_continued(c, head_of(parse(signed[1])))
        c.store.ledger.keep_checkpoint(size, str(signed_head(c, size)))


def _is_continued(c: Coordinator, head: Head) -> None:
    """Refuse to sign another past than the one that was signed before."""
    if head.size > c.store.ledger.size() or c.store.ledger.root(head.size) != head.root:
        raise CorruptStoreError(
            "the ledger does not continue its last signed head, and is not signed any more",
            got=f"a head of {head.size} entries", hint="nexapod-batch ledger verify says what was changed",
        )  # fmt: skip
