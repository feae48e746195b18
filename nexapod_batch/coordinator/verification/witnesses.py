"""Nodes as witnesses of this coordinator's ledger: what each is shown, and what they signed for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.verification import ledger
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import Proof, head_of
from nexapod_batch.ledger.note import Note, NoteKey
from nexapod_batch.ledger.tree import consistency_proof, inclusion_proof
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import FIRST_EPOCH
from nexapod_batch.mesh.witnessing import MAX_ALSO, OtherHead, WitnessAnswer, WitnessCall, cosignature_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.mesh import mailbox

__all__ = ["Cosigned", "answer", "newest"]


class Cosigned(NamedTuple):
    """A head with what nodes signed for it."""

    note: Note
    head: Head
    witnesses: tuple[NoteKey, ...]


def answer(c: Coordinator, asked: WitnessCall, others: Sequence[tuple[str, bytes]] = ()) -> WitnessAnswer:
    """Return what a node is shown, heads of these others by name and key too; NotFoundError: no entry is there yet."""
    seen = [(name, public, Mailbox(c.paths.spool(name)).cosigned()) for name, public in others]
    with c.store.view():  # after the heads of others were read: all of them lie before it
        note = ledger.newest_head(c)
        size, epoch = head_of(note).size, c.store.operations.epoch()
        began = ""
        if epoch.number > max(asked.epoch, FIRST_EPOCH):
            (content,) = c.store.ledger.entries(epoch.entry, epoch.entry + 1)
            where = inclusion_proof(epoch.entry, size, c.store.ledger.node)
            began = str(Proof(epoch.entry, tuple(where), note, content))
        return WitnessAnswer(
            checkpoint=str(note), consistency=_proof(c, asked.size, size), epoch=epoch.number, taken_over=began,
            others=tuple(_shown(c, seen, size, epoch.number)),
            also=tuple(_proof(c, one, size) for one in asked.also[:MAX_ALSO]),
        )  # fmt: skip


def _proof(c: Coordinator, old: int, size: int) -> tuple[str, ...]:
    """Return the hashes that show that the ledger continues a head of `old` entries; none where it cannot."""
    if not 0 < old <= size:
        return ()
    return tuple(value.hex() for value in consistency_proof(old, size, c.store.ledger.node))


def _shown(
    c: Coordinator, seen: Sequence[tuple[str, bytes, mailbox.Cosigned]], size: int, epoch: int
) -> Iterator[OtherHead]:
    """Yield the heads that others signed for in this epoch: that it began from an older copy was said to all."""
    for name, public, cosigned in seen:
        if cosigned.note and cosigned.epoch == epoch:
            with suppress(VerificationError):  # of a key that it has no longer
                head = cosignature_of(cosigned.note, name, public)
                proof = _proof(c, head.size, size)
                yield OtherHead(node=name, key=public.hex(), cosigned=cosigned.note, consistency=proof)


def newest(c: Coordinator) -> Cosigned:
    """Return the newest head that nodes signed for, with all their signatures that verify.

    Raises:
        NotFoundError: No node has signed for any.

    """
    by_head: dict[Head, Cosigned] = {}
    for node in c.nodes():
        text = Mailbox(c.context(node).spool).cosigned().note if node.joined else ""
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
