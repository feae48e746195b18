"""The trail of a replica's logs while it runs: notes that each bind what was written since the one before.

A note says how far stdout and stderr had grown, and the SHA-256 of what was new, under an HMAC-SHA256 of itself and of
the HMAC before: what was noted can be changed, cut or left out afterwards only by who has the key. The key of a replica
is derived (HKDF, RFC 5869) from the secret that the coordinator made for its launch, and from its nonce. Both the
coordinator and the runner have it, so a trail proves nothing to others; its head goes into the signed statement.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.statement_rules import is_hex, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "FIRST", "MAX_NOTES", "Chunk", "Note", "chain_faults", "decode_note", "encode_note", "launch_secret", "noted",
    "replica_key",
]  # fmt: skip

#: What stands for the HMAC before the first note.
FIRST = "0" * 64
#: Notes of one replica, at most.
MAX_NOTES = 10_000
_LAUNCH, _REPLICA = b"nexapod-batch log trails of a launch", b"nexapod-batch log trail of a replica"
_BYTES = 32


class Chunk(NamedTuple):
    """What was new of one log. It begins at 0 again where the log was cut."""

    start: int  # byte of the log, from 0
    end: int
    sha256: str  # of these bytes, in hex


class Note(NamedTuple):
    """One note."""

    replica: str  # its name: 42_7.1
    number: int  # from 1, without gaps
    at_ms: int  # since 1970, by the node's clock
    stdout: Chunk
    stderr: Chunk
    before: str  # HMAC of the note before, in hex
    mac: str  # HMAC of this one

    def chunk(self, stream: str) -> Chunk:
        """Return what it says of `stdout` or `stderr`."""
        return self.stdout if stream == "stdout" else self.stderr


def launch_secret(seed: bytes) -> bytes:
    """Return the secret of the log trails of a launch, from the seed of the launch's key; it does not tell the seed."""
    return _hkdf(seed, b"", _LAUNCH)


def replica_key(secret: bytes, nonce: str) -> bytes:
    """Return the key of the trail of one replica, by its launch's secret and its nonce (hex)."""
    return _hkdf(secret, bytes.fromhex(nonce), _REPLICA)


def noted(key: bytes, note: Note) -> Note:
    """Return a note with its HMAC."""
    return note._replace(mac=hmac.digest(key, _bound(note), "sha256").hex())


def encode_note(note: Note) -> bytes:
    """Return the one line that a note is in a report segment, without its newline."""
    return orjson.dumps({**_document(note), "mac": note.mac})


def decode_note(document: Any) -> Note:  # noqa: ANN401 - parsed JSON
    """Return what a line says; VerificationError for anything that no runner writes. The HMAC is not checked."""
    try:
        note = Note(
            replica=document["trail"], number=document["n"], at_ms=document["at"], stdout=Chunk(*document["stdout"]),
            stderr=Chunk(*document["stderr"]), before=document["before"], mac=document["mac"],
        )  # fmt: skip
        if len(document) == 7 and _possible(note):
            return note
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise VerificationError("not a note of a log", got=quoted(document, 80))


def chain_faults(key: bytes, notes: Iterable[Note]) -> Iterator[str]:
    """Yield where a chain of notes, in order of their numbers, is not whole."""
    before, number = FIRST, 0
    for note in notes:
        number += 1
        if note.number != number:
            missing = f"note {number} is" if note.number == number + 1 else f"notes {number} to {note.number - 1} are"
            yield f"{missing} missing"
            number, before = note.number, note.before
        if not hmac.compare_digest(noted(key, note).mac, note.mac):
            yield f"note {number} is not what its runner wrote"
        elif note.before != before:
            yield f"note {number} does not follow note {number - 1}"
        before = note.mac


def _document(note: Note) -> dict[str, Any]:
    return {
        "trail": note.replica, "n": note.number, "at": note.at_ms, "stdout": list(note.stdout),
        "stderr": list(note.stderr), "before": note.before,
    }  # fmt: skip


def _bound(note: Note) -> bytes:
    """Return what the HMAC of a note is of: the canonical JSON of everything else in it."""
    return orjson.dumps(_document(note), option=orjson.OPT_SORT_KEYS)


def _possible(note: Note) -> bool:
    numbers = whole(note.number) and 0 < note.number <= MAX_NOTES and whole(note.at_ms)
    links = type(note.replica) is str and is_hex(note.before, 64) and is_hex(note.mac, 64)
    return numbers and links and _possible_chunk(note.stdout) and _possible_chunk(note.stderr)


def _possible_chunk(chunk: Chunk) -> bool:
    return whole(chunk.start) and whole(chunk.end) and chunk.start <= chunk.end and is_hex(chunk.sha256, 64)


def _hkdf(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    """Return 32 bytes by RFC 5869 with SHA-256."""
    extracted = hmac.digest(salt or bytes(_BYTES), secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")
