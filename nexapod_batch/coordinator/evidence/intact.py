"""Whether a stored statement is still what was signed: it unpacks, has its digest, and its signature verifies."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.delegation import decode_delegation
from nexapod_batch.trust.dsse import MAX_ENVELOPE, envelope, open_envelope
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.statement import PAYLOAD_TYPE

if TYPE_CHECKING:
    from nexapod_batch.store.salvage.mend import SignedReport

__all__ = ["is_intact"]


def is_intact(report: SignedReport) -> bool:
    """Say whether a statement can be read, and was signed by the key that speaks for its launch."""
    try:
        payload = zlib.decompressobj(-15, report.dictionary).decompress(report.packed, MAX_ENVELOPE)
        if hashlib.sha256(payload).digest() != report.payload_sha256:
            return False
        key = report.first_key if report.delegation is None else decode_delegation(report.delegation).subkey
        name = key_id(key)
        open_envelope(envelope(PAYLOAD_TYPE, payload, name, report.signature), PAYLOAD_TYPE, {name: key})
    except (zlib.error, VerificationError, ValueError):
        return False
    return True
