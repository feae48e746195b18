"""Content identifiers of IPFS, version 1, as far as a verifier needs them: SHA-256 of raw blocks and of dag-pb nodes.

Source: the CID specification (multiformats/cid), multibase base32, multicodec and multihash tables.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DAG_PB", "RAW", "Cid", "CidError", "read_cid", "read_varint"]

RAW, DAG_PB = 0x55, 0x70
_SHA2_256 = 0x12
_DIGEST = 32
#: Bytes of a CID of this kind.
CID_BYTES = 36
_VARINT = 9  # bytes of a varint, at most


class CidError(ValueError):
    """Bytes or a text that are no CID which can be verified here."""


class Cid(NamedTuple):
    """What names a block: what it is, and its SHA-256."""

    codec: int  # RAW or DAG_PB
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the CID of its text; CidError says what is wrong with another text."""
        if text.startswith("Qm"):
            raise CidError("it is a CID of version 0: `ipfs cid base32 CID` prints it in version 1")
        if not text.startswith("b") or text != text.lower() or len(text) > 100:
            raise CidError("it is no CID of version 1 in base32, which begins with b")
        body = text[1:].upper()
        try:
            raw = base64.b32decode(body + "=" * (-len(body) % 8))
        except (binascii.Error, ValueError) as error:
            raise CidError("it is no base32") from error
        found, end = read_cid(raw, 0)
        if end != len(raw) or str(found) != text:
            raise CidError("it is no CID in its one form")
        return cls(*found)

    def __str__(self) -> str:
        """Return its text."""
        raw = bytes([1, self.codec, _SHA2_256, _DIGEST]) + self.digest
        return "b" + base64.b32encode(raw).decode().rstrip("=").lower()

    def names(self, block: bytes) -> bool:
        """Say whether this block is the one that it names."""
        return hashlib.sha256(block).digest() == self.digest


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned varint that begins there, and where it ends; CidError for none."""
    value = shift = 0
    for position in range(at, min(at + _VARINT, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise CidError("a number is cut off, or too long")


def read_cid(data: bytes, at: int) -> tuple[Cid, int]:
    """Return the CID that begins there, and where it ends; CidError for one that cannot be verified."""
    version, at = read_varint(data, at)
    if version != 1:
        raise CidError("a block is named by a CID of another version than 1")
    codec, at = read_varint(data, at)
    if codec not in {RAW, DAG_PB}:
        raise CidError(f"a block is of codec {codec:#x}: only raw and dag-pb are read")
    kind, at = read_varint(data, at)
    length, at = read_varint(data, at)
    if (kind, length) != (_SHA2_256, _DIGEST):
        raise CidError(f"a block is named by hash {kind:#x} of {length} bytes: only sha2-256 is believed")
    digest = data[at : at + _DIGEST]
    if len(digest) < _DIGEST:
        raise CidError("a CID is cut off")
    return Cid(codec, digest), at + _DIGEST
