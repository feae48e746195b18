"""The node as a witness of its coordinator's ledger: it keeps the newest head that it saw, in `witness.json`.

A later head must continue it; then the node signs for that. A ledger that was cut off or rewritten shows: the node
takes no work until the ledger continues, or a stand-in has begun a new epoch, and sends every report again that it
keeps. The same holds where the coordinator signed a head for another node that the ledger which is shown here does
not continue; that head is kept, and asked for until it is continued. What is here is written before anything is
signed, so that a node that is killed never signs for two pasts.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct
from msgspec import json as msgjson
from msgspec.structs import replace

from nexapod_batch.errors import UnreachableError, VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import head_of, open_checkpoint
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.mesh.messages import FIRST_EPOCH
from nexapod_batch.mesh.witnessing import ForkError, WitnessAnswer, WitnessCall, check_others, continues, judged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.mesh.witnessing import Seen
    from nexapod_batch.trust.dsse import Signer

__all__ = ["Agreeing", "Witness", "Witnessed", "compared", "entries", "read"]

_PATH = "/v1/witness"
_MAX = 1 << 20
#: Seconds between two looks: where nothing hangs on it, where something does, and after one that failed.
_QUIET_S, _SOON_S, _AGAIN_S = 3_600.0, 60.0, 10.0
#: Other nodes that are remembered.
_MOST_OTHERS = 100


class Agreeing(Struct, frozen=True, kw_only=True):
    """Another node that sees the same ledger."""

    key: str  # its public key, in hex
    at: float  # when a head that it signed for was compared last, seconds since 1970


class Witnessed(Struct, frozen=True, kw_only=True):
    """What a node knows of a ledger."""

    note: str = ""  # the newest head that it believes, as signed by the coordinator
    epoch: int = FIRST_EPOCH
    at: float = 0.0  # when that head was asked for, seconds since 1970: what was taken in before is covered by it
    trouble: str = ""  # why the ledger is not believed
    gap: str = ""  # how a new epoch did not continue the one before
    disputed: str = ""  # a head that was shown to another node, and that the ledger must continue to be believed again
    agreeing: dict[str, Agreeing] = {}  # other nodes whose heads it continues, by name


def read(file: Path) -> Witnessed:
    """Return what a node knows of a ledger; nothing where the file is missing, or cannot be read."""
    try:
        return msgjson.decode(careful.read(file, _MAX), type=Witnessed)
    except (OSError, DecodeError):
        return Witnessed()


def entries(seen: Witnessed) -> int:
    """Return how many entries the newest head has that a node believes; 0 where it saw none."""
    head = _head(seen)
    return 0 if head is None else head.size


def compared(post: Callable[[str, bytes], bytes], seen: Witnessed, text: str, public: bytes) -> Head:
    """Return the newest head of the ledger, where it continues what this node saw and a head that somebody else has.

    Raises:
        ForkError: It does not continue the other head, although the coordinator signed that with this key.
        VerificationError: It does not continue what this node saw, or the other is no head of this ledger.
        UnreachableError: The coordinator's answer is none.

    """
    note, old = notes.parse(text), _head(seen)
    other, size = head_of(note), 0 if old is None else old.size
    answer = _asked(post, WitnessCall(size=size, epoch=seen.epoch, also=(other.size,)))
    found = judged(answer, public, old, seen.epoch)
    open_checkpoint(note, NoteKey(found.head.origin, public))
    try:
        continues(found.head, other, answer.also[0] if answer.also else ())
    except VerificationError as error:
        raise ForkError("who has that head", text, error) from error
    return found.head


def _head(seen: Witnessed) -> Head | None:
    if not seen.note:
        return None
    return head_of(notes.parse(seen.note))


def _asked(post: Callable[[str, bytes], bytes], call: WitnessCall) -> WitnessAnswer:
    """Return an answer; UnreachableError for what is none: something between may have spoken."""
    data = post(_PATH, msgjson.encode(call))
    try:
        return msgjson.decode(data, type=WitnessAnswer)
    except DecodeError as error:
        raise UnreachableError("the coordinator's answer makes no sense", got=str(error)[:200]) from error


class Witness:
    """What one node has seen of its coordinator's ledger."""

    def __init__(self, file: Path, public: Callable[[], bytes], name: str, signer: Signer) -> None:
        """Go on from what was seen before, in a file.

        `public` returns the coordinator's key, as far as it is known; `name` is that of the node.
        """
        self._file, self._public, self._name, self._signer = file, public, name, signer
        self.seen = read(self._file)
        self._last = -inf  # when the ledger was looked at
        self.soon = True  # it is to be looked at with the next call: another coordinator may lead, or it was put back

    @property
    def trouble(self) -> str:
        """Why the node takes no work; "" where the ledger continues."""
        return self.seen.trouble

    @property
    def covered_until(self) -> float:
        """The time (seconds since 1970) until which all that the coordinator took in is covered by a signed head."""
        return self.seen.at

    def look(self, post: Callable[[str, bytes], bytes], uncovered: float, newer: Callable[[], None]) -> bool:
        """Look at the newest head where it is time; say whether the ledger turned out not to continue just now.

        `uncovered` is when the coordinator last let go of a report, seconds since 1970; 0 where it never did. `newer`
        looks whether the coordinator has another key now, and is called where the known one did not sign the head.

        Raises:
            NexapodError: The coordinator cannot be asked now, or knows of no ledger.

        """
        now = time.monotonic()
        wanted_s = _SOON_S if uncovered > self.seen.at or self.seen.trouble else _QUIET_S
        if now - self._last < wanted_s and not self.soon:
            return False
        self._last, self.soon = now - wanted_s + _AGAIN_S, False  # where it fails
        asked_at, old = time.time(), _head(self.seen)
        size = 0 if old is None else old.size
        disputed = self.seen.disputed
        also = (head_of(notes.parse(disputed)).size,) if disputed else ()
        answer = _asked(post, WitnessCall(size=size, epoch=self.seen.epoch, also=also))
        self._last = now
        try:
            found = self._judged(answer, old, newer)
            seen = self._compared(answer, found, asked_at)
        except VerificationError as error:
            trouble = f"the ledger of the coordinator is not believed: {' '.join(str(error).split())}"
            return self._disbelieve(trouble, error.note if isinstance(error, ForkError) else disputed)
        self._keep(seen)
        cosigned = str(notes.cosigned(found.note, self._name, self._signer, int(asked_at)))
        _asked(post, WitnessCall(size=found.head.size, epoch=answer.epoch, cosigned=cosigned))
        return False

    def _compared(self, answer: WitnessAnswer, found: Seen, at: float) -> Witnessed:
        """Return what is seen now, where the head continues those of others as well; VerificationError."""
        seen, gap = self.seen, found.gap
        if seen.disputed:
            try:
                continues(found.head, head_of(notes.parse(seen.disputed)), answer.also[0] if answer.also else ())
            except VerificationError as error:
                if answer.epoch <= seen.epoch:
                    raise ForkError("another node", seen.disputed, error) from error
                gap = gap or f"epoch {answer.epoch} does not continue what another node was shown"
        agreed = check_others(answer.others, found.head, self._public())
        agreeing = seen.agreeing | {name: Agreeing(key=key, at=at) for name, key in agreed.items()}
        newest = sorted(agreeing.items(), key=lambda one: -one[1].at)[:_MOST_OTHERS]
        return Witnessed(
            note=str(found.note), epoch=answer.epoch, at=at, gap=gap or seen.gap, agreeing=dict(newest)
        )

    def _judged(self, answer: WitnessAnswer, old: Head | None, newer: Callable[[], None]) -> Seen:
        """Return the head that is shown, by the key that is known or by one that took its place; VerificationError."""
        tried = self._public()
        try:
            return judged(answer, tried, old, self.seen.epoch)
        except VerificationError:
            newer()
            if self._public() == tried:
                raise
        return judged(answer, self._public(), old, self.seen.epoch)

    def _disbelieve(self, trouble: str, disputed: str) -> bool:
        """Keep why the ledger is not believed, and what was shown to another node; say whether that is news."""
        is_news = not self.seen.trouble
        if (trouble, disputed) != (self.seen.trouble, self.seen.disputed):
            self._keep(replace(self.seen, trouble=trouble, disputed=disputed))
        return is_news

    def _keep(self, seen: Witnessed) -> None:
        atomic.write(self._file, msgjson.encode(seen), mode=0o600)
        self.seen = seen
