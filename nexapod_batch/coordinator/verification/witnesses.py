"""Nodes as witnesses of this coordinator's ledger: what each is shown, and what they signed for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.verification import ledger
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import Proof, head_of
from nexapod_batch.ledger.note import Note, NoteKey
from nexapod_batch.ledger.tree import consistency_proof, inclusion_proof
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import FIRST_EPOCH
from nexapod_batch.mesh.witnessing import WitnessAnswer, WitnessCall

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.checkpoint import Head

__all__ = ["Cosigned", "answer", "newest"]


class Cosigned(NamedTuple):
    """A head with what nodes signed for it."""

    note: Note
    head: Head
    witnesses: tuple[NoteKey, ...]


def answer(c: Coordinator, asked: WitnessCall) -> WitnessAnswer:
    """Return what a node is shown; NotFoundError where the ledger has no entry yet."""
    with c.store.view():
        note = ledger.newest_head(c)
        size, epoch = head_of(note).size, c.store.operations.epoch()
        path: list[bytes] = []
        if 0 < asked.size <= size:
            path = consistency_proof(asked.size, size, c.store.ledger.node)
        began = ""
        if epoch.number > max(asked.epoch, FIRST_EPOCH):
            (content,) = c.store.ledger.entries(epoch.entry, epoch.entry + 1)
            where = inclusion_proof(epoch.entry, size, c.store.ledger.node)
            began = str(Proof(epoch.entry, tuple(where), note, content))
    proof = tuple(value.hex() for value in path)
    return WitnessAnswer(checkpoint=str(note), consistency=proof, epoch=epoch.number, taken_over=began)


def newest(c: Coordinator) -> Cosigned:
    """Return the newest head that nodes signed for, with all their signatures that verify.

    Raises:
        NotFoundError: No node has signed for any.

    """
    by_head: dict[Head, Cosigned] = {}
    for node in c.nodes():
        text = Mailbox(c.context(node).spool).cosigned() if node.joined else ""
        if not text:
            continue
        key = NoteKey(node.name, node.public_key, notes.Kind.WITNESS)
        try:
            note = notes.parse(text)
            notes.opened(note, [key])
            head = head_of(note)
        except VerificationError:  # of a key that it has no longer
            continue
        kept = by_head.get(head)
        lines = [one for one in note.signatures if kept is None or one not in kept.note.signatures]
        before = ((), ()) if kept is None else (kept.note.signatures, kept.witnesses)
        by_head[head] = Cosigned(Note(note.text, (*before[0], *lines)), head, (*before[1], key))
    if not by_head:
        hint = "nodes that joined do while they run"
        raise NotFoundError("no node has signed for a head of the ledger yet", hint=hint)
    return by_head[max(by_head, key=lambda head: head.size)]
