"""Heads of a ledger and proofs about it, as files: C2SP tlog-checkpoint and tlog-proof.

A checkpoint is a signed note of three lines: the ledger's name (its origin), how many entries it has, its root.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.tree import HASH_BYTES, leaf_hash, verify_inclusion
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.ledger.note import Note, NoteKey
    from nexapod_batch.trust.dsse import Signer

__all__ = ["Head", "Proof", "checkpoint", "head_of", "open_checkpoint", "parse_proof", "verify_proof"]

#: The largest proof file that is read, in characters.
MAX_PROOF = notes.MAX_NOTE + 8 * 1024

_PROOF = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class Head(NamedTuple):
    """The head of a ledger."""

    origin: str  # the name of the ledger
    size: int  # entries
    root: bytes  # 32 bytes

    def __str__(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encoded(self.root)}\n"


class Proof(NamedTuple):
    """That an entry is in a ledger."""

    entry: int  # its number, from 0
    path: tuple[bytes, ...]  # hashes, from the entry's sibling to below the root
    checkpoint: Note
    content: bytes = b""  # of the entry, where the proof brings it along

    def __str__(self) -> str:
        """Return it as a `.tlog-proof` file."""
        extra = [f"extra {_encoded(self.content)}"] if self.content else []
        lines = [_PROOF, *extra, f"index {self.entry}", *map(_encoded, self.path), "", str(self.checkpoint)]
        return "\n".join(lines)


def checkpoint(head: Head, signer: Signer) -> Note:
    """Return the head of a ledger, signed; the key is called like the ledger."""
    return notes.signed(str(head), head.origin, signer)


def head_of(note: Note) -> Head:
    """Return the head that a note spells, unverified; VerificationError for a note of another kind."""
    origin, *rest = note.text.split("\n")
    try:
        size, encoded, *extensions, last = rest
        root = notes.decoded(encoded)
    except ValueError as error:
        raise _no_checkpoint(note) from error
    if not origin or not _NUMBER.fullmatch(size) or len(root) != HASH_BYTES or last or not all(extensions):
        raise _no_checkpoint(note)
    return Head(origin, int(size), root)


def open_checkpoint(
    note: Note, key: NoteKey, witnesses: Sequence[NoteKey] = ()
) -> tuple[Head, dict[NoteKey, int]]:
    """Return the head that `key` signed, and which of the witnesses signed it when (seconds since 1970).

    VerificationError where the ledger's own signature is missing, where a signature is wrong, and where the head is
    of a ledger with another name than the key's.
    """
    signatures = notes.opened(note, [key, *witnesses])
    if key not in signatures:
        raise VerificationError("the ledger itself did not sign its head", wanted=key.name)
    head = head_of(note)
    if head.origin != key.name:
        raise VerificationError("the head is another ledger's", got=quoted(head.origin, 80), wanted=key.name)
    return head, {witness: at_s for witness, at_s in signatures.items() if at_s is not None}


def parse_proof(text: str) -> Proof:
    """Return what a `.tlog-proof` file spells, unverified; VerificationError for any other file."""
    if len(text) > MAX_PROOF:
        raise VerificationError("the proof is too large", got=f"{len(text)} characters", wanted=f"at most {MAX_PROOF}")
    above, blank, below = text.partition("\n\n")
    first, *lines = above.split("\n")
    extra = lines.pop(0)[len("extra ") :] if lines and lines[0].startswith("extra ") else ""
    word, _, number = lines[0].partition(" ") if lines else ("", "", "")
    if first != _PROOF or not blank or word != "index" or not _NUMBER.fullmatch(number):
        raise VerificationError("not a proof of a ledger", got=quoted(first, 80), wanted=_PROOF)
    try:
        path = tuple([notes.decoded(line) for line in lines[1:]])
        content = notes.decoded(extra)
    except ValueError as error:
        raise VerificationError("a line of the proof is not base64", got=str(error)) from error
    return Proof(int(number), path, notes.parse(below), content)


def verify_proof(proof: Proof, content: bytes, key: NoteKey, witnesses: Sequence[NoteKey] = ()) -> Head:
    """Return the signed head in which an entry of this content has the proof's number; VerificationError if in none."""
    head, _ = open_checkpoint(proof.checkpoint, key, witnesses)
    verify_inclusion(leaf_hash(content), proof.entry, head.size, list(proof.path), head.root)
    return head


def _encoded(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def _no_checkpoint(note: Note) -> VerificationError:
    wanted = "three lines: the ledger's name, its size, its root"
    return VerificationError("not the head of a ledger", got=quoted(note.text, 80), wanted=wanted)
