"""What a node and its coordinator say to each other of the ledger's heads: the node is a witness. Pure.

The node names the head that it saw last. The coordinator shows its newest one, and the proof that this continues the
other; after a takeover also the entry by which a stand-in began its epoch. The node answers with its cosignature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import head_of, open_checkpoint, parse_proof, verify_proof
from nexapod_batch.ledger.events import Kind, parse_event
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.ledger.tree import verify_consistency

if TYPE_CHECKING:
    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.ledger.note import Note

__all__ = ["Seen", "WitnessAnswer", "WitnessCall", "cosignature_of", "judged"]


class WitnessCall(Struct, frozen=True, kw_only=True):
    """What a node knows of the ledger."""

    size: int = 0  # entries of the head that it saw last; 0: it saw none
    epoch: int = 1  # in which that was
    cosigned: str = ""  # that head with the node's cosignature (C2SP tlog-cosignature)


class WitnessAnswer(Struct, frozen=True, kw_only=True):
    """The newest head, and what shows that it continues the one that a node saw last."""

    checkpoint: str  # C2SP tlog-checkpoint, signed by the coordinator
    consistency: tuple[str, ...] = ()  # hashes of the proof, in hex
    epoch: int = 1
    taken_over: str = ""  # C2SP tlog-proof of the entry by which this epoch began


class Seen(NamedTuple):
    """A head, as a node believes it."""

    note: Note
    head: Head
    gap: str  # why it does not continue the head before, where a new epoch allows that


def judged(answer: WitnessAnswer, public: bytes, old: Head | None, epoch: int) -> Seen:
    """Return the head that a coordinator shows, where `public` signed it, and it continues the `old` one of an epoch.

    A new epoch may begin from an older copy: then the entry that says so must be in the ledger.

    Raises:
        VerificationError: It does not continue; another key signed it; it is the ledger of another coordinator.

    """
    note = notes.parse(answer.checkpoint)
    key = NoteKey(head_of(note).origin if old is None else old.origin, public)
    head, _ = open_checkpoint(note, key)
    if old is None:
        return Seen(note, head, "")
    try:
        verify_consistency(old.size, head.size, _hashes(answer.consistency), old.root, head.root)
    except VerificationError as error:
        if answer.epoch <= epoch:
            raise
        _check_epoch(answer, key, head)
        return Seen(note, head, f"epoch {answer.epoch} began from an older copy: {' '.join(str(error).split())}")
    return Seen(note, head, "")


def cosignature_of(text: str, name: str, public: bytes) -> Head:
    """Return the head that a node cosigned; VerificationError where it did not."""
    note = notes.parse(text)
    notes.opened(note, [NoteKey(name, public, notes.Kind.WITNESS)])
    return head_of(note)


def _hashes(texts: tuple[str, ...]) -> list[bytes]:
    try:
        return [bytes.fromhex(text) for text in texts]
    except ValueError as error:
        raise VerificationError("the consistency proof is no list of hashes") from error


def _check_epoch(answer: WitnessAnswer, key: NoteKey, head: Head) -> None:
    """Raise VerificationError unless the ledger says that the epoch of an answer began."""
    proof = parse_proof(answer.taken_over)
    if verify_proof(proof, proof.content, key) != head:
        raise VerificationError("the proof of the new epoch is of another head")
    entry = parse_event(proof.content)
    if (entry.get("kind"), entry.get("epoch")) != (Kind.TAKEN_OVER.value, answer.epoch):
        raise VerificationError("the entry does not begin the epoch that is claimed", wanted=f"epoch {answer.epoch}")
