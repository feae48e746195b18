"""Lists of keys as OpenSSH reads them: who may sign when, and which keys are revoked."""

from __future__ import annotations

import re
import struct
import time
from typing import TYPE_CHECKING

from nexapod_batch.trust.keys import openssh_public, wire

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["allowed_signer", "revocation_list"]

_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/-]{0,199}")
#: PROTOCOL.krl of OpenSSH.
_KRL_MAGIC, _KRL_VERSION, _EXPLICIT_KEYS = 0x5353484B524C0A00, 1, 2


def allowed_signer(principal: str, public: bytes, *, after_ms: int = 0, before_ms: int | None = None) -> str:
    """Return the line of an `allowed_signers` file for a key, good from one time to before another (ms since 1970).

    0 and None mean without a limit; times are written in whole seconds of UTC. A key that was good for less than one is
    given that one: OpenSSH reads no line whose times are the same.

    Raises:
        ValueError: The principal has characters that mean something there.

    """
    if not _PRINCIPAL.fullmatch(principal):
        raise ValueError(f"{principal!r} cannot be a principal: letters, digits and ._@/- only")
    limits = []
    if after_ms:
        limits.append(f'valid-after="{_stamp(after_ms)}"')
    if before_ms is not None:
        limits.append(f'valid-before="{_stamp(max(before_ms, after_ms + 1000))}"')
    return " ".join([principal, *([",".join(limits)] if limits else []), openssh_public(public)])


def revocation_list(revoked: Iterable[bytes], *, number: int, time_s: int, comment: str = "") -> bytes:
    """Return a key revocation list (KRL) of public keys; `number` grows from one list to the next."""
    data = struct.pack(">QIQQQ", _KRL_MAGIC, _KRL_VERSION, number, time_s, 0) + _string(b"") + _string(comment.encode())
    blobs = sorted(wire(public) for public in revoked)
    if not blobs:
        return data
    return data + bytes([_EXPLICIT_KEYS]) + _string(b"".join(map(_string, blobs)))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _stamp(time_ms: int) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time_ms // 1000))
