"""Ed25519 public keys as other programs write them: OpenSSH lines, fingerprints, SPKI PEM.

All are fixed prefixes around the 32 raw bytes, so nothing but the standard library is needed.
"""

from __future__ import annotations

import binascii
import hashlib

from nexapod_batch.errors import VerificationError

__all__ = [
    "KEY_BYTES", "key_id", "named_by", "openssh_public", "parse_hex", "parse_openssh_public", "parse_spki", "spki",
    "spki_pem", "wire",
]  # fmt: skip

#: Length of a raw Ed25519 public key, and of the seed of a private one.
KEY_BYTES = 32

_SSH_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"  # RFC 8709: string "ssh-ed25519", then a string of 32 bytes
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: AlgorithmIdentifier 1.3.101.112, BIT STRING
_MAX_LINE = 4096


def key_id(public: bytes) -> str:
    """Return the fingerprint that `ssh-keygen -l` prints: `SHA256:` and 43 characters of unpadded base64."""
    digest = hashlib.sha256(wire(public)).digest()
    return "SHA256:" + binascii.b2a_base64(digest, newline=False).rstrip(b"=").decode()


def openssh_public(public: bytes, comment: str = "") -> str:
    """Return the line of a `.pub` file, with its newline; blanks around the comment are dropped.

    Raises:
        ValueError: The comment is not one line of printable characters.

    """
    if not comment.isprintable():
        raise ValueError("the comment of a key is one line of printable characters")
    encoded = binascii.b2a_base64(wire(public), newline=False).decode()
    return f"ssh-ed25519 {encoded} {comment.strip()}".rstrip() + "\n"


def parse_openssh_public(text: str) -> bytes:
    """Return the raw key of one `ssh-ed25519 AAAA... comment` line; VerificationError for anything else."""
    words = text.split(None, 2)
    wanted = "one line: ssh-ed25519 AAAA... comment"
    if len(text) > _MAX_LINE or len(text.strip().splitlines()) != 1 or len(words) < 2 or words[0] != "ssh-ed25519":
        raise VerificationError("not an OpenSSH Ed25519 public key", got=repr(text[:40]), wanted=wanted)
    try:
        blob = binascii.a2b_base64(words[1], strict_mode=True)
    except ValueError as error:
        raise VerificationError("not an OpenSSH Ed25519 public key", got=str(error), wanted=wanted) from error
    if not blob.startswith(_SSH_PREFIX) or len(blob) != len(_SSH_PREFIX) + KEY_BYTES:
        raise VerificationError("not an OpenSSH Ed25519 public key", got=f"{len(blob)} bytes", wanted=wanted)
    return blob[len(_SSH_PREFIX) :]


def spki_pem(public: bytes) -> str:
    """Return the key as `-----BEGIN PUBLIC KEY-----`, which openssl and most libraries read."""
    return f"-----BEGIN PUBLIC KEY-----\n{spki(public)}\n-----END PUBLIC KEY-----\n"


def spki(public: bytes) -> str:
    """Return the one line between the first and the last of its PEM file: 60 characters of base64."""
    wire(public)
    return binascii.b2a_base64(_SPKI_PREFIX + public, newline=False).decode()


def parse_hex(text: str) -> bytes:
    """Return the raw key that is written in hex; ValueError for anything else."""
    public = bytes.fromhex(text)
    if len(public) != KEY_BYTES:
        raise ValueError("not an Ed25519 public key")
    return public


def parse_spki(text: str) -> bytes:
    """Return the raw key of the line that `spki` makes; ValueError for anything else."""
    data = binascii.a2b_base64(text, strict_mode=True)
    if not data.startswith(_SPKI_PREFIX) or len(data) != len(_SPKI_PREFIX) + KEY_BYTES:
        raise ValueError("not an Ed25519 public key")
    return data[len(_SPKI_PREFIX) :]


def named_by(public: bytes) -> str:
    """Return the id that names what is stored as a public key; "no key" where it has another length than one."""
    return key_id(public) if len(public) == KEY_BYTES else "no key"


def wire(public: bytes) -> bytes:
    """Return the key as SSH sends it; VerificationError for another length than 32 bytes."""
    if len(public) != KEY_BYTES:
        got, wanted = f"{len(public)} bytes", f"{KEY_BYTES} bytes"
        raise VerificationError("what is kept as an Ed25519 public key is none", got=got, wanted=wanted)
    return _SSH_PREFIX + public
