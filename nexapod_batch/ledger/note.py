"""Signed notes (C2SP signed-note): a text with signature lines below, by Ed25519 keys that have names.

Two kinds of signature: that of the text's author (type 1), and that of a witness who saw it at some time (type 4,
C2SP tlog-cosignature). A signature of an unknown key says nothing; a wrong one of a known key makes the whole note
worthless.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.keys import KEY_BYTES
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.trust.dsse import Signer

__all__ = [
    "MAX_NOTE", "Kind", "Note", "NoteKey", "Signature", "cosigned", "decoded", "opened", "parse", "parse_key", "signed",
]  # fmt: skip

#: The largest note that is read, in bytes, and the most signatures that one may have.
MAX_NOTE, _MAX_SIGNATURES = 64 * 1024, 64

_DASH = "\N{EM DASH}"
_ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 4, 8, 64
_NAME = re.compile(r"[^\s+\x00-\x1f]{1,200}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Kind(IntEnum):
    """What a signature says, as the byte that goes into the id of its key."""

    AUTHOR = 1  # of the text
    WITNESS = 4  # that this was the newest head it saw of this log at that time, and that it continues the ones before


class NoteKey(NamedTuple):
    """A public key by the name that note signatures call it."""

    name: str
    public: bytes  # 32 bytes, raw
    kind: Kind = Kind.AUTHOR

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that begin its signatures."""
        return hashlib.sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.public)).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """Return it as verifiers are configured with: NAME+ID+KEY."""
        encoded = binascii.b2a_base64(bytes([self.kind]) + self.public, newline=False).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


class Signature(NamedTuple):
    """One signature line."""

    name: str
    key_id: bytes
    value: bytes  # what follows the id

    def __str__(self) -> str:
        """Return the line, without its newline."""
        return f"{_DASH} {self.name} {binascii.b2a_base64(self.key_id + self.value, newline=False).decode()}"


class Note(NamedTuple):
    """A text with its signatures; nothing is verified."""

    text: str  # ends with a newline
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the note as it is published."""
        return self.text + "\n" + "".join([f"{signature}\n" for signature in self.signatures])


def decoded(text: str) -> bytes:
    """Return what base64 stands for; ValueError for any text but the one that an encoder writes for these bytes."""
    data = binascii.a2b_base64(text, strict_mode=True)
    if binascii.b2a_base64(data, newline=False).decode() != text:
        raise ValueError("an end that no encoder writes")
    return data


def parse_key(text: str) -> NoteKey:
    """Return the key of NAME+ID+KEY; VerificationError for anything else, also where the id is not the key's."""
    wanted = "NAME+ID+KEY of an Ed25519 key"
    name, *rest = text.strip().split("+", 2)
    try:
        (hexadecimal, encoded) = rest
        raw = decoded(encoded)
        found = NoteKey(name, raw[1:], Kind(raw[0]))
    except (ValueError, IndexError) as error:
        raise VerificationError("not a key for notes", got=quoted(text, 80), wanted=wanted) from error
    if len(found.public) != KEY_BYTES or not _NAME.fullmatch(name) or found.key_id.hex() != hexadecimal:
        raise VerificationError("not a key for notes", got=quoted(text, 80), wanted=wanted)
    return found


def signed(text: str, name: str, signer: Signer) -> Note:
    """Return a note with the signature of its author; ValueError for a text or a name that cannot be one of a note."""
    if not text.endswith("\n") or _CONTROL.search(text) or text.startswith("\n"):
        raise ValueError("the text of a note has lines of characters without controls, and ends with a newline")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a key: no blank, no plus, not empty")
    key = NoteKey(name, signer.public)
    return Note(text, (Signature(name, key.key_id, signer.sign(text.encode())),))


def cosigned(note: Note, name: str, signer: Signer, at_s: int) -> Note:
    """Return the note with one more signature: that a witness saw it at this time, in seconds since 1970.

    Raises:
        ValueError: The name cannot be that of a key.

    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a key: no blank, no plus, not empty")
    key = NoteKey(name, signer.public, Kind.WITNESS)
    value = at_s.to_bytes(_TIME_BYTES, "big") + signer.sign(_witnessed(note.text, at_s))
    others = [signature for signature in note.signatures if (signature.name, signature.key_id) != (name, key.key_id)]
    return Note(note.text, (*others, Signature(name, key.key_id, value)))


def parse(published: str) -> Note:
    """Return the parts of a note, unverified; VerificationError for what is none."""
    if len(published) > MAX_NOTE:
        got = f"{len(published)} characters"
        raise VerificationError("the note is too large", got=got, wanted=f"at most {MAX_NOTE}")
    text, blank, lines = published.rpartition("\n\n")
    if not blank or not text or _CONTROL.search(published) or not lines.endswith("\n"):
        raise VerificationError("not a signed note", wanted="a text, an empty line, and lines of signatures")
    found = [_signature(line) for line in lines[:-1].split("\n")]
    if len(found) > _MAX_SIGNATURES:
        raise VerificationError("too many signatures", got=len(found), wanted=f"at most {_MAX_SIGNATURES}")
    return Note(text + "\n", tuple(found))


def opened(note: Note, keys: list[NoteKey]) -> dict[NoteKey, int | None]:
    """Return which of these keys signed a note, and when where it says so (in seconds since 1970).

    VerificationError where none did, and where a signature of one of them is wrong.
    """
    found: dict[NoteKey, int | None] = {}
    known = {(key.name, key.key_id): key for key in keys}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            found[key] = _verified(note.text, key, signature.value)
    if not found:
        by = ", ".join(sorted({quoted(signature.name, 60) for signature in note.signatures})) or "nobody"
        wanted = " or ".join(sorted({key.name for key in keys})) or "a known key"
        raise VerificationError("nobody that is trusted signed this note", got=f"signed by {by}", wanted=wanted)
    return found


def _verified(text: str, key: NoteKey, value: bytes) -> int | None:
    at_s, message, raw = None, text.encode(), value
    if key.kind is Kind.WITNESS:
        at_s = int.from_bytes(value[:_TIME_BYTES], "big")
        message, raw = _witnessed(text, at_s), value[_TIME_BYTES:]
    try:
        if len(raw) != _SIGNATURE_BYTES:
            raise BadSignatureError
        crypto_sign_open(raw + message, key.public)
    except BadSignatureError as error:
        raise VerificationError(f"the signature of {key.name} does not verify") from error
    return at_s


def _witnessed(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _signature(line: str) -> Signature:
    wrong = VerificationError("not a signature line", got=quoted(line, 80), wanted=f"{_DASH} NAME BASE64")
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        raw = decoded(encoded)
    except ValueError as error:
        raise wrong from error
    if dash != _DASH or not _NAME.fullmatch(name) or len(raw) <= _ID_BYTES:
        raise wrong
    return Signature(name, raw[:_ID_BYTES], raw[_ID_BYTES:])
