"""Notes of logs: one form, a chain that shows what was changed, and a key that nobody else can derive."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.trail import (
    FIRST,
    Chunk,
    Note,
    chain_faults,
    decode_note,
    encode_note,
    launch_secret,
    noted,
    replica_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SEED, NONCE = b"\3" * 32, "07" * 16
KEY = replica_key(launch_secret(SEED), NONCE)


def chain(length: int = 5, key: bytes = KEY) -> list[Note]:
    """Return a good chain."""
    notes: list[Note] = []
    for number in range(1, length + 1):
        chunk = Chunk(10 * number - 10, 10 * number, hashlib.sha256(b"x" * 10).hexdigest())
        before = notes[-1].mac if notes else FIRST
        notes.append(noted(key, Note("1_0.1", number, 1_796_000_000_000 + number, chunk, chunk, before, mac="")))
    return notes


def test_the_keys_are_those_of_rfc_5869() -> None:
    """As another library derives them; the runner gets the same from the key of its launch."""
    secret = HKDF(SHA256(), 32, None, b"nexapod-batch log trails of a launch").derive(SEED)
    assert launch_secret(SEED) == Signer.from_seed(SEED).trail_secret() == secret
    other = HKDF(SHA256(), 32, bytes.fromhex(NONCE), b"nexapod-batch log trail of a replica")
    assert replica_key(secret, NONCE) == other.derive(secret)
    assert len({replica_key(secret, NONCE), replica_key(secret, "08" * 16), secret, SEED}) == 4


def test_a_note_is_read_as_it_was_written() -> None:
    """As one line, and the chain that it is part of holds."""
    notes = chain()
    lines = [encode_note(note) for note in notes]
    assert [decode_note(orjson.loads(line)) for line in lines] == notes
    assert not any(b"\n" in line for line in lines)
    assert list(chain_faults(KEY, notes)) == []
    assert list(chain_faults(KEY, [])) == []


def changed(number: int, **values: Any) -> Callable[[list[Note]], list[Note]]:
    """Return what changes fields of a note, whose HMAC stays."""
    return lambda notes: [note._replace(**values) if note.number == number else note for note in notes]


BREAKS: dict[str, tuple[Callable[[list[Note]], list[Note]], list[str]]] = {
    "another time": (changed(2, at_ms=7), ["note 2 is not what its runner wrote"]),
    "another replica": (changed(5, replica="1_0.2"), ["note 5 is not what its runner wrote"]),
    "another digest": (changed(1, stdout=Chunk(0, 10, "0" * 64)), ["note 1 is not what its runner wrote"]),
    "another end": (changed(3, stderr=Chunk(20, 31, "0" * 64)), ["note 3 is not what its runner wrote"]),
    "another HMAC": (changed(2, mac="0" * 64), ["note 2 is not what its runner wrote", "note 3 does not follow note 2"]),
    "the first is gone": (lambda notes: notes[1:], ["note 1 is missing"]),
    "one is gone": (lambda notes: notes[:1] + notes[2:], ["note 2 is missing"]),
    "several are gone": (lambda notes: notes[:1] + notes[4:], ["notes 2 to 4 are missing"]),
    "of another chain": (
        lambda notes: notes[:2] + [noted(KEY, notes[2]._replace(before="0" * 64)), *notes[3:]],
        ["note 3 does not follow note 2", "note 4 does not follow note 3"],
    ),
    "by another key": (lambda notes: [noted(bytes(32), notes[0])], ["note 1 is not what its runner wrote"]),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_break_is_found_and_named(what: str) -> None:
    """Each change of a chain but a shorter end, which the statement shows."""
    change, faults = BREAKS[what]
    assert list(chain_faults(KEY, change(chain()))) == faults


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "no number": lambda line: line.pop("n"),
    "a number that is none": lambda line: line.update(n=True),
    "number 0": lambda line: line.update(n=0),
    "too many": lambda line: line.update(n=10**9),
    "a time before time": lambda line: line.update(at=-1),
    "no chunk": lambda line: line.update(stdout=None),
    "a chunk of two": lambda line: line.update(stdout=[0, 1]),
    "backwards": lambda line: line.update(stderr=[9, 3, "0" * 64]),
    "a digest that is none": lambda line: line.update(stderr=[0, 3, "no"]),
    "a digest that is a number": lambda line: line.update(stderr=[0, 3, 7]),
    "an HMAC that is none": lambda line: line.update(mac=["0"] * 64),
    "a replica that is none": lambda line: line.update(trail=7),
    "a field more": lambda line: line.update(more=1),
}


@pytest.mark.parametrize("what", BAD)
def test_what_no_runner_writes_is_refused(what: str) -> None:
    """Whatever JSON spells."""
    line = orjson.loads(encode_note(chain(1)[0]))
    BAD[what](line)
    with pytest.raises(VerificationError, match="not a note of a log"):
        decode_note(line)
