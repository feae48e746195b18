"""Keys in the forms that other programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.queries.keys import COORDINATOR, held_keys, keys_named
from nexapod_batch.errors import NotFoundError, VerificationError
from nexapod_batch.ledger.events import parse_event
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.trust.key_formats import allowed_signer, revocation_list
from nexapod_batch.trust.keys import openssh_public, spki_pem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.queries.keys import HeldKey

__all__ = ["exported"]


def exported(c: Coordinator, names: Sequence[str], form: str) -> bytes:
    """Return keys in one of the forms, of these holders or fingerprints, of all where none are named.

    `openssh`, `pem` and `vkey` have the key of each that is in use, or that was named; `rotation` has by what envelopes
    it came to be; `allowed-signers` has all keys with the times of their use, and `krl` those that are revoked.
    NotFoundError for what is not there.
    """
    every = held_keys(c)
    chosen = [key for name in names for key in keys_named(every, name)] if names else every
    if form == "krl":
        return _revoked(c, chosen)
    if form == "allowed-signers":
        return "".join([_allowed(c, key) for key in chosen]).encode()
    if form == "rotation":
        return _rotations(chosen)
    named = [key for key in chosen if key.in_use or key.key_id in names]
    return "".join([_one(c, key, form) for key in named]).encode()


def _revoked(c: Coordinator, keys: Sequence[HeldKey]) -> bytes:
    revoked = {key.public for key in keys if key.revoked is not None}
    comment = f"keys revoked by {c.origin}"
    return revocation_list(revoked, number=c.store.ledger.size(), time_s=c.now() // 1000, comment=comment)


def _one(c: Coordinator, key: HeldKey, form: str) -> str:
    if form == "pem":
        return spki_pem(key.public)
    if form == "vkey":
        name = c.origin if key.of == COORDINATOR else f"{c.origin}/node/{key.name}"
        return f"{NoteKey(name, key.public)}\n"
    return openssh_public(key.public, key.name)


def _rotations(keys: Sequence[HeldKey]) -> bytes:
    found = [key.rotation + b"\n" for key in keys if key.rotation is not None]
    if not found:
        raise NotFoundError("none of these keys took another one's place", hint="nexapod-batch key show NAME")
    return b"".join(found)


def _allowed(c: Coordinator, key: HeldKey) -> str:
    """Return the line of a key; one that is revoked is good until the entry since which it is so."""
    before = key.until_ms
    if key.revoked is not None:
        since = _time_of(c, key.revoked)
        before = since if before is None else min(since, before)
    return allowed_signer(key.name, key.public, after_ms=key.since_ms, before_ms=before)


def _time_of(c: Coordinator, entry: int) -> int:
    """Return when an entry of the ledger was made, in ms since 1970; 0 where it cannot be read."""
    try:
        return int(parse_event(c.store.ledger.entries(entry, entry + 1)[0])["time"])
    except (VerificationError, IndexError):
        return 0
