"""What can be asked of the ledger: its head, whether it holds together, proofs of its entries, a published copy."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.steps.heads import is_revoked, key_of_head, ledger_key, signed_head
from nexapod_batch.coordinator.verification.ledger_facts import compared_facts
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.files import atomic
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger import tiles
from nexapod_batch.ledger.audit import Fault, SignedHead, audit
from nexapod_batch.ledger.checkpoint import Head, Proof, head_of, open_checkpoint
from nexapod_batch.ledger.tree import inclusion_proof

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.ledger.note import Note, NoteKey

__all__ = ["KEY_FILE", "Verified", "entry_of", "export", "newest_head", "prove", "since", "verify"]

#: Beside a published ledger: the key that signs its heads, as NAME+ID+KEY.
KEY_FILE = "ledger.vkey"


class Verified(NamedTuple):
    """What a verification of the ledger found."""

    size: int
    root: bytes
    heads: int  # signed heads that it continues
    facts: int  # facts of the database that were looked up in it
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Say whether everything holds together."""
        return not self.faults


def newest_head(c: Coordinator) -> Note:
    """Return the signed head of the ledger as it is; NotFoundError where it has no entry yet."""
    size = c.store.ledger.size()
    if not size:
        raise NotFoundError("the ledger is empty", hint="it begins with the next nexapod-batch reconcile or submit")
    return signed_head(c, size)


def since(c: Coordinator, text: str, source: str, witnesses: Sequence[NoteKey] = ()) -> SignedHead:
    """Return a head of this ledger that somebody kept; VerificationError unless our key and the witnesses signed it."""
    try:
        note = notes.parse(text)
        if is_revoked(c, note):
            raise VerificationError("this head is signed with a key of the coordinator that is revoked")
        head, seen = open_checkpoint(note, key_of_head(c, note), witnesses)
    except VerificationError as error:
        error.hint = error.hint or f"the heads of this ledger are signed by {ledger_key(c)}"
        raise
    missing = [key.name for key in witnesses if key not in seen]
    if missing:
        raise VerificationError("a witness did not sign this head", got=f"no signature of {', '.join(missing)}")
    return SignedHead(head, source)


def verify(c: Coordinator, heads: Sequence[SignedHead] = ()) -> Verified:
    """Make the tree again from all entries; compare nodes, kept and given heads, and the facts of the database."""
    ledger, faults = c.store.ledger, list[Fault]()
    with c.store.view():
        if not ledger.size() and not heads:
            newest_head(c)
        kept = _kept_heads(c, faults)
        together = heapq.merge(kept, sorted(heads, key=_size), key=_size)
        found = audit(ledger.marked_entries(), ledger.levels(), ledger.nodes, together)
        facts = compared_facts(c)
    every = (*found.faults, *faults, *facts.faults)
    return Verified(found.size, found.root, found.heads, facts.number, every)


def _size(signed: SignedHead) -> int:
    return signed.head.size


def _kept_heads(c: Coordinator, faults: list[Fault]) -> Iterator[SignedHead]:
    """Yield the heads that are kept beside the ledger; what is wrong with one by itself is a fault."""
    for size, text in c.store.ledger.checkpoints():
        try:
            note = notes.parse(text)
            head, _ = open_checkpoint(note, key_of_head(c, note))
        except VerificationError as error:
            faults.append(Fault(f"head of {size} entries", " ".join(str(error).split())))
            continue
        if head.size != size:
            faults.append(Fault(f"head of {size} entries", f"it was signed of {head.size}"))
            continue
        yield SignedHead(head)


def prove(c: Coordinator, entry: int) -> Proof:
    """Return the proof that an entry is in the ledger as it is; NotFoundError for one that is not there."""
    ledger = c.store.ledger
    with c.store.view():
        size = ledger.size()
        if not 0 <= entry < size:
            there = f"0 to {size - 1}" if size else "none yet"
            raise NotFoundError("there is no such entry", got=f"entry {entry}", wanted=f"one of: {there}")
        (content,) = ledger.entries(entry, entry + 1)
        path = inclusion_proof(entry, size, ledger.node)
        return Proof(entry, tuple(path), signed_head(c, size), content)


def entry_of(c: Coordinator, job: int, task: int | None = None, number: int | None = None) -> int:
    """Return the entry that says of a job that it was submitted, of a task its verdict, of a replica what is known.

    Raises:
        NotFoundError: The ledger has none of it yet.

    """
    if task is None:
        entry = c.store.ledger.of_job(job)
    elif number is None:
        entry = c.store.ledger.of_task(job, task)
    else:
        placed, committed = c.store.ledger.of_replica(job, task, number)
        entry = placed if committed is None else committed
    if entry is None:
        shown = str(job) if task is None else f"{job}_{task}"
        name = shown if number is None else f"{shown}.{number}"
        hint = f"nexapod-batch show {shown} says how far it is"
        raise NotFoundError("the ledger says nothing of this yet", got=repr(name), hint=hint)
    return entry


def export(c: Coordinator, folder: Path) -> Head:
    """Publish the ledger as static files; VerificationError where the folder has another ledger, or another past.

    The head is written last, so that who reads meanwhile finds what the old head or the new one covers.
    """
    ledger = c.store.ledger
    with c.store.view():
        note = newest_head(c)
        head = head_of(note)
        _continues(c, folder)
        for path, data in tiles.files(head.size, ledger.node, ledger.entries):
            file = folder / path
            if file.exists() and ".p/" not in path and file.stat().st_size == len(data) and file.read_bytes() == data:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(file, data, durable=False)
    atomic.write(folder / KEY_FILE, f"{ledger_key(c)}\n".encode())
    atomic.write(folder / "checkpoint", str(note).encode())
    return head


def _continues(c: Coordinator, folder: Path) -> None:
    """Refuse a folder with a head that this ledger does not continue."""
    old = folder / "checkpoint"
    if not old.exists():
        return
    signed = since(c, old.read_text(encoding="utf-8", errors="replace"), str(old))
    if signed.head.size > c.store.ledger.size() or c.store.ledger.root(signed.head.size) != signed.head.root:
        raise VerificationError(
            f"{folder} holds a past that this ledger does not continue", got=f"a head of {signed.head.size} entries",
            hint=f"nexapod-batch ledger verify --since {old} says more; export to another folder",
        )  # fmt: skip
