"""The fast way to read a report line: one typed pass, for what is spelled as runners spell it.

It says nothing about a line that it does not take: the general way reads that, and says what is wrong with it. Nothing
is verified here, and nothing of the payload is parsed. A test holds the two ways together.
"""

from __future__ import annotations

import binascii

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from nexapod_batch.trust.dsse import MAX_ENVELOPE

__all__ = ["CommonLine", "read_common_line"]


class _Signature(Struct, forbid_unknown_fields=True, gc=False):
    keyid: str
    sig: str


class CommonLine(Struct, forbid_unknown_fields=True, gc=False):
    """An envelope with one signature, the key that is to verify it, and the files that came along."""

    payload: bytes
    payloadType: str  # noqa: N815 - as it is spelled
    signatures: tuple[_Signature]
    key: str
    carried: dict[str, str] | None = None


_DECODER = Decoder(CommonLine)


def read_common_line(line: bytes) -> CommonLine | None:
    """Return what a line holds when it is spelled in the common way; None says nothing about the line."""
    if len(line) > MAX_ENVELOPE:
        return None
    try:
        common = _DECODER.decode(line)
    except (DecodeError, UnicodeDecodeError):
        return None
    # Of the many spellings that base64 has for the same bytes only the encoder's is the common one.
    if not line.startswith(b'{"payload":"%b"' % binascii.b2a_base64(common.payload, newline=False)):
        return None
    return common
