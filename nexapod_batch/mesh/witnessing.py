"""What a node and its coordinator say to each other of the ledger's heads: the node is a witness. Pure.

The node names the head that it saw last. The coordinator shows its newest one, and the proof that this continues the
other; after a takeover also the entry by which a stand-in began its epoch. The node answers with its cosignature.

Two nodes can be shown two ledgers. So each is shown heads that others signed for, too, which the newest one must
continue as well. A coordinator that shows two has signed two heads, and must keep each from those who saw the other.
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

__all__ = [
    "MAX_ALSO", "ForkError", "OtherHead", "Seen", "WitnessAnswer", "WitnessCall", "check_others", "continues",
    "cosignature_of", "judged",
]  # fmt: skip

#: Further heads of which a node may ask in one call whether the newest one continues them.
MAX_ALSO = 8


class WitnessCall(Struct, frozen=True, kw_only=True):
    """What a node knows of the ledger."""

    size: int = 0  # entries of the head that it saw last; 0: it saw none
    epoch: int = 1  # in which that was
    cosigned: str = ""  # that head with the node's cosignature (C2SP tlog-cosignature)
    also: tuple[int, ...] = ()  # entries of heads that others showed to the node


class OtherHead(Struct, frozen=True, kw_only=True):
    """A head that another node signed for in this epoch, and what shows that the newest one continues it."""

    node: str
    key: str  # the node's, in hex
    cosigned: str  # C2SP tlog-cosignature
    consistency: tuple[str, ...] = ()


class WitnessAnswer(Struct, frozen=True, kw_only=True):
    """The newest head, and what shows that it continues the one that a node saw last."""

    checkpoint: str  # C2SP tlog-checkpoint, signed by the coordinator
    consistency: tuple[str, ...] = ()  # hashes of the proof, in hex
    epoch: int = 1
    taken_over: str = ""  # C2SP tlog-proof of the entry by which this epoch began
    others: tuple[OtherHead, ...] = ()  # some, by chance
    also: tuple[tuple[str, ...], ...] = ()  # a proof for each head that was asked for; none: it has not so many entries


class ForkError(VerificationError):
    """The coordinator signed two heads, and does not show that one continues the other."""

    def __init__(self, who: str, note: str, error: VerificationError) -> None:
        """Say who was shown the other head, which is `note`."""
        super().__init__(f"{who} was shown another past", got=" ".join(str(error).split()), wanted="one ledger for all")
        self.note = note


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


def continues(head: Head, old: Head, proof: tuple[str, ...]) -> None:
    """Check that a head continues an older one; VerificationError says why it does not."""
    verify_consistency(old.size, head.size, _hashes(proof), old.root, head.root)


def check_others(others: tuple[OtherHead, ...], head: Head, public: bytes) -> dict[str, str]:
    """Return the other nodes whose heads a head continues, and their keys in hex.

    What the coordinator did not sign with the key `public`, or the other node did not sign, says nothing.

    Raises:
        ForkError: The coordinator signed a head for another node that this one does not continue.

    """
    agreed = dict[str, str]()
    for other in others[:MAX_ALSO]:
        try:
            note = notes.parse(other.cosigned)
            old, _ = open_checkpoint(note, NoteKey(head.origin, public))
            cosignature_of(other.cosigned, other.node, bytes.fromhex(other.key))
        except (VerificationError, ValueError):
            continue
        try:
            continues(head, old, other.consistency)
        except VerificationError as error:
            raise ForkError(f"node {other.node}", other.cosigned, error) from error
        agreed[other.node] = other.key
    return agreed


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
