"""Witnessing: signing for the head of a ledger that it continues every head of it that was signed for here before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.steps.heads import key_of_head
from nexapod_batch.errors import VerificationError
from nexapod_batch.files import careful
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger import tiles
from nexapod_batch.ledger.checkpoint import head_of, open_checkpoint
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.ledger.tree import consistency_proof, verify_consistency
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.rotation import followed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.ledger.note import Note

__all__ = ["witness"]

_MAX_TILE = 1 << 20


def witness(
    c: Coordinator, text: str, key: NoteKey | None, published: Path, rotations: Sequence[bytes] = ()
) -> Note:
    """Return a head of a ledger with this coordinator's signature as a witness, and keep it as the newest.

    `key` is whose heads these are; it must be given for a ledger that was never witnessed here. `published` is a
    folder of tiles, from which it is worked out that the ledger continues. `rotations` are those by which it came to
    have another key. VerificationError where it does not continue, where its key did not sign the head, and for a head
    that is older than one that was signed for.
    """
    note = notes.parse(text)
    origin = head_of(note).origin
    with c.store.atomic():
        if origin == c.origin:
            _own(c, note)
        else:
            key, old = _known(c, origin, key, rotations)
            head, _ = open_checkpoint(note, key)
            if old is not None:
                _continues(old, head, published)
            c.store.ledger.keep_witnessed(origin, str(key), str(note))
    return notes.cosigned(note, c.origin, c.signer, c.now() // 1000)


def _own(c: Coordinator, note: Note) -> None:
    """Compare a head of this coordinator's own name with its ledger."""
    head, _ = open_checkpoint(note, key_of_head(c, note))
    if head.size > c.store.ledger.size() or c.store.ledger.root(head.size) != head.root:
        raise VerificationError(
            "this head has our name and our signature, and is not of our ledger", got=f"a head of {head.size} entries",
            hint="either two coordinators use one key (then on one of them: nexapod-batch key rotate coordinator), "
            "or this ledger was put back or rewritten since",
        )  # fmt: skip


def _known(
    c: Coordinator, origin: str, given: NoteKey | None, rotations: Sequence[bytes]
) -> tuple[NoteKey, Head | None]:
    """Return the key of a ledger, and its newest head that was signed for; None for one that is new here."""
    kept = c.store.ledger.witnessed(origin)
    if kept is None:
        given = given or _rostered(c, origin)
        if given is None:
            raise VerificationError(
                "this ledger was never witnessed here", got=quoted(origin), wanted="its key",
                hint="ask its owner for it, and give it with --key: nexapod-batch ledger head --json shows it there",
            )  # fmt: skip
        return given, None
    key = notes.parse_key(kept[0])
    if rotations:
        key = NoteKey(origin, followed(rotations, key.public, origin))
    if given is not None and given != key:
        raise VerificationError(f"{quoted(origin)} has another key here", got=str(given), wanted=str(key))
    return key, head_of(notes.parse(kept[1]))


def _rostered(c: Coordinator, origin: str) -> NoteKey | None:
    """Return the key of a ledger that the roster which is trusted here names; None where there is none."""
    if not (c.paths.home / "roster.json").exists():
        return None
    from nexapod_batch.coordinator.commands.roster import trusted  # noqa: PLC0415 - it needs the package `tuf`

    keys = [notes.parse_key(text) for text in trusted(c).anchors.coordinators]
    return next((key for key in keys if key.name == origin), None)


def _continues(old: Head, new: Head, published: Path) -> None:
    """Check that a ledger continues what it was; VerificationError where it does not, or where that cannot be seen."""
    if new.size < old.size:
        hint = "ask for its newest head; a ledger that was cut off has none"
        raise VerificationError(
            "this head is older than one that was signed for here", got=f"{new.size} entries",
            wanted=f"at least {old.size}", hint=hint,
        )  # fmt: skip
    try:
        fetch = tiles.nodes(new.size, lambda path: careful.read(published / path, _MAX_TILE))
        proof = consistency_proof(old.size, new.size, fetch)
    except OSError as error:
        raise VerificationError(
            f"whether the ledger continues its {old.size} entries cannot be seen", got=f"no {error.filename}",
            wanted="its published tiles beside the head",
            hint="nexapod-batch ledger export --tiles DIR there, then witness DIR/checkpoint, or give --tiles DIR",
        ) from error  # fmt: skip
    verify_consistency(old.size, new.size, proof, old.root, new.root)
