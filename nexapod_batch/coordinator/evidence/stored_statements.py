"""The signed statements as they are kept: the exact payload bytes and the signature, without what repeats itself.

The statements of one job differ in few bytes. Each payload is deflated with the job's first one as dictionary, which
makes 90 bytes of 1,300; the envelope is made again when it is asked for. The payload's SHA-256 is kept beside it, so
that a damaged row is noticed and never passed on.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from nexapod_batch.errors import CorruptStoreError
from nexapod_batch.trust.delegation import DELEGATION_TYPE, decode_delegation
from nexapod_batch.trust.dsse import MAX_ENVELOPE, envelope
from nexapod_batch.trust.keys import key_id
from nexapod_batch.trust.statement import PAYLOAD_TYPE

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Packer", "StoredReport", "dictionary_for", "stored_reports", "unpacked"]

#: Bytes of payload and dictionary up to which the small window of deflate, which is made six times faster, holds both.
_SMALL = 3_800


class StoredReport(Struct, frozen=True):
    """One signed statement of a replica."""

    payload: bytes
    signature: bytes
    received_ms: int  # since 1970
    key_id: str
    delegation: bytes | None  # envelope by which the node's key lets this one speak; None: it is the node's key
    given_by: str = ""  # id of the key that made the delegation, as it is looked up; "" without one

    @property
    def envelope(self) -> bytes:
        """Return the DSSE envelope."""
        return envelope(PAYLOAD_TYPE, self.payload, self.key_id, self.signature)


def dictionary_for(c: Coordinator, job: int, payload: bytes) -> bytes:
    """Return the dictionary of a job; `payload` becomes it where there is none. Call it inside the transaction."""
    known = c.store.reports.dictionary(job)
    if known is not None:
        return known
    c.store.reports.insert_dictionary(job, payload)
    return payload


class Packer:
    """Deflates payloads with one dictionary, which is taken in once: a copy of that costs less than the taking in."""

    __slots__ = ("_dictionary", "_prepared")

    def __init__(self, dictionary: bytes) -> None:
        """Take the dictionary."""
        self._dictionary = dictionary
        self._prepared: dict[tuple[int, int], zlib._Compress] = {}  # by window and memory

    def pack(self, payload: bytes) -> bytes:
        """Return a payload as it is stored."""
        size = (-12, 5) if len(payload) + len(self._dictionary) <= _SMALL else (-15, 8)
        if size not in self._prepared:
            self._prepared[size] = zlib.compressobj(1, zlib.DEFLATED, *size, zlib.Z_DEFAULT_STRATEGY, self._dictionary)
        packer = self._prepared[size].copy()
        return packer.compress(payload) + packer.flush()


def stored_reports(c: Coordinator, replica: int) -> list[StoredReport]:
    """Return the signed statements of a replica, in the order in which they came; CorruptStoreError for damage."""
    rows = c.store.reports.of(replica)
    if not rows:
        return []
    given = c.store.launches.delegation(rows[0].launch_id)
    if given is None:
        key, delegation, giver = c.store.nodes.keys(rows[0].node_id)[0].key_id, None, ""
    else:
        key = _key_of(given.payload)
        delegation, giver = envelope(DELEGATION_TYPE, given.payload, given.key_id, given.signature), given.key_id
    return [
        StoredReport(
            _unpack(row.packed, row.dictionary, row.payload_sha256, replica),
            row.signature,
            row.received_at,
            key,
            delegation,
            giver,
        )
        for row in rows
    ]


def unpacked(packed: bytes, dictionary: bytes) -> bytes:
    """Return the payload that a `Packer` with this dictionary was given; zlib.error for damage."""
    return zlib.decompressobj(-15, dictionary).decompress(packed, MAX_ENVELOPE)


@lru_cache(maxsize=64)
def _key_of(delegation: bytes) -> str:
    """Return the id of the key that a delegation lets speak: many statements rest on one."""
    return key_id(decode_delegation(delegation).subkey)


def _unpack(packed: bytes, dictionary: bytes, digest: bytes, replica: int) -> bytes:
    try:
        payload = unpacked(packed, dictionary)
    except zlib.error:
        payload = b""
    if hashlib.sha256(payload).digest() != digest:
        raise CorruptStoreError(
            f"the stored statement of replica row {replica} is damaged",
            hint="put a backup of the database back; the other statements are not touched",
        )
    return payload
