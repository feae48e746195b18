"""A key that takes another one's place: signed by both, so that nobody can do it who has only one of them.

As with statements there is one byte form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import Signer, open_envelope, seal_by
from nexapod_batch.trust.keys import key_id, parse_spki, spki
from nexapod_batch.trust.nesting import quoted
from nexapod_batch.trust.statement_rules import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ROTATION_TYPE", "Rotation", "decode_rotation", "encode_rotation", "followed", "open_chain", "open_rotation",
    "seal_rotation",
]  # fmt: skip

ROTATION_TYPE = "application/vnd.nexapod.rotation+json"

_MAX_NAME = 200


class Rotation(NamedTuple):
    """That `new` stands for what `old` stood for. Name every field when making one."""

    ledger: str  # name of the ledger that has it
    holder: str  # `coordinator`, or the name of a node with `node/` before it
    old: bytes  # raw public key
    new: bytes  # raw public key
    time_ms: int  # since 1970


def encode_rotation(rotation: Rotation) -> bytes:
    """Return the one byte form of a rotation; ValueError for what cannot be signed."""
    _check(rotation)
    document: dict[str, Any] = {
        "holder": rotation.holder, "ledger": rotation.ledger, "new": spki(rotation.new), "old": spki(rotation.old),
        "schema": 1, "time": rotation.time_ms,
    }  # fmt: skip
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def decode_rotation(payload: bytes) -> Rotation:
    """Return the rotation of a payload whose signature was verified; VerificationError for any other bytes."""
    try:
        document = orjson.loads(payload)
        if document["schema"] != 1:
            raise VerificationError("unknown schema of a rotation", wanted=1)
        rotation = Rotation(
            ledger=document["ledger"], holder=document["holder"], old=parse_spki(document["old"]),
            new=parse_spki(document["new"]), time_ms=document["time"],
        )  # fmt: skip
        again = encode_rotation(rotation)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # no JSON, other fields, impossible values
        raise VerificationError("the rotation cannot be read", got=f"{type(error).__name__}"[:200]) from error
    if again != payload:
        raise VerificationError("the rotation is not in canonical form")
    return rotation


def seal_rotation(rotation: Rotation, old: Signer, new: Signer) -> bytes:
    """Return the envelope of a rotation with the signatures of both keys.

    Raises:
        ValueError: These are not the keys that it names.

    """
    if (old.public, new.public) != (rotation.old, rotation.new):
        raise ValueError("a rotation is signed by the keys that it names")
    return seal_by([old, new], ROTATION_TYPE, encode_rotation(rotation))


def open_rotation(sealed: bytes, old: bytes) -> Rotation:
    """Return the rotation by which another key takes the place of `old`, a raw public key that is trusted.

    Raises:
        VerificationError: One of the two keys did not sign it, or it replaces another key.

    """
    try:
        opened = open_envelope(sealed, ROTATION_TYPE, {key_id(old): old})
    except VerificationError as error:
        what = "the rotation is not signed by the key that it replaces"
        raise VerificationError(what, got=error.what, wanted=f"a signature by {key_id(old)}") from error
    rotation = decode_rotation(opened.payload)
    if rotation.old != old:
        raise VerificationError("the rotation replaces another key", got=key_id(rotation.old), wanted=key_id(old))
    new = key_id(rotation.new)
    try:
        open_envelope(sealed, ROTATION_TYPE, {new: rotation.new})
    except VerificationError as error:
        raise VerificationError("the rotation is not signed by the new key", wanted=f"a signature by {new}") from error
    return rotation


def open_chain(rotations: Sequence[bytes], newest: bytes) -> list[bytes]:
    """Return the keys that rotations lead through, the first one first, given the last one, which is trusted.

    `rotations` are their envelopes, in order. Each key vouches for the one before it.

    Raises:
        VerificationError: A rotation is not signed by both keys, or does not lead to the next one.

    """
    chain = [newest]
    for sealed in reversed(rotations):
        trusted = chain[0]
        name = key_id(trusted)
        try:
            rotation = decode_rotation(open_envelope(sealed, ROTATION_TYPE, {name: trusted}).payload)
        except VerificationError as error:
            raise VerificationError("the rotation is not signed by the new key", got=error.what, wanted=name) from error
        if rotation.new != trusted:
            raise VerificationError("a rotation leads to another key", got=key_id(rotation.new), wanted=name)
        open_rotation(sealed, rotation.old)
        chain.insert(0, rotation.old)
    return chain


def followed(rotations: Sequence[bytes], known: bytes, ledger: str) -> bytes:
    """Return the coordinator's key that rotations lead to from one that is trusted; earlier ones are passed over.

    Raises:
        VerificationError: None of them is signed by the trusted key and the next one, and is of this ledger.

    """
    current, refused = known, VerificationError("there is no rotation")
    for sealed in rotations:
        try:
            rotation = open_rotation(sealed, current)
        except VerificationError as error:
            refused = error
            continue
        if (rotation.ledger, rotation.holder) != (ledger, "coordinator"):
            refused = VerificationError("the rotation is of another ledger", got=quoted(rotation.ledger), wanted=ledger)
            continue
        current = rotation.new
    if current == known:
        raise refused
    return current


def _check(rotation: Rotation) -> None:
    """Raise ValueError unless every value is what its field may hold."""
    for name in (rotation.holder, rotation.ledger):
        if not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
            raise ValueError("no holder, or no ledger")
    if not whole(rotation.time_ms):
        raise ValueError("no time")
    if rotation.old == rotation.new:
        raise ValueError("a key cannot take its own place")
