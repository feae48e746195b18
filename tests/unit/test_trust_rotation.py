"""Rotations of keys: one form, two signatures, and chains of them that the newest key vouches for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import Signer, seal, seal_by
from nexapod_batch.trust.rotation import (
    ROTATION_TYPE,
    Rotation,
    decode_rotation,
    encode_rotation,
    open_chain,
    open_rotation,
    seal_rotation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND, THIRD, THIEF = (Signer.from_seed(letter * 32) for letter in (b"1", b"2", b"3", b"t"))


def rotation(old: Signer = FIRST, new: Signer = SECOND, **changes: Any) -> Rotation:
    """Return a rotation of the coordinator's key."""
    values: dict[str, Any] = {
        "ledger": "nexapod-batch/ab", "holder": "coordinator", "old": old.public, "new": new.public, "time_ms": 5, **changes,
    }  # fmt: skip
    return Rotation(**values)


def sealed(old: Signer = FIRST, new: Signer = SECOND) -> bytes:
    """Return its envelope."""
    return seal_rotation(rotation(old, new), old, new)


def test_both_keys_sign_one_form() -> None:
    """What was signed comes back, and its bytes are the only ones for it."""
    assert open_rotation(sealed(), FIRST.public) == rotation()
    assert decode_rotation(encode_rotation(rotation())) == rotation()


PAYLOAD = encode_rotation(rotation())
REFUSED: dict[str, tuple[bytes, str]] = {
    "the old key alone": (seal(FIRST, ROTATION_TYPE, PAYLOAD), "not signed by the new key"),
    "the new key alone": (seal(SECOND, ROTATION_TYPE, PAYLOAD), "not signed by the key that it replaces"),
    "the old key twice": (seal_by([FIRST, FIRST], ROTATION_TYPE, PAYLOAD), "not signed by the new key"),
    "the old key and a thief": (seal_by([FIRST, THIEF], ROTATION_TYPE, PAYLOAD), "not signed by the new key"),
    "a thief and the new key": (seal_by([THIEF, SECOND], ROTATION_TYPE, PAYLOAD), "not signed by the key that it replaces"),
    "from another key": (seal_by([FIRST, SECOND, THIEF], ROTATION_TYPE, encode_rotation(rotation(old=THIEF))), "replaces another key"),
    "another form": (seal_by([FIRST, SECOND], ROTATION_TYPE, PAYLOAD.replace(b",", b", ", 1)), "not in canonical form"),
    "another field": (seal_by([FIRST, SECOND], ROTATION_TYPE, PAYLOAD[:-1] + b',"x":1}'), "not in canonical form"),
    "another schema": (seal_by([FIRST, SECOND], ROTATION_TYPE, PAYLOAD.replace(b'"schema":1', b'"schema":2')), "unknown schema"),
    "no JSON": (seal_by([FIRST, SECOND], ROTATION_TYPE, b"junk"), "cannot be read"),
    "another type": (seal_by([FIRST, SECOND], "text/plain", PAYLOAD), "not signed by the key that it replaces"),
    "nothing": (b"", "not signed by the key that it replaces"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_side_did_not_sign_is_refused(case: str) -> None:
    """Also what is signed by both and says something else, or says it otherwise."""
    envelope, why = REFUSED[case]
    with pytest.raises(VerificationError, match=why):
        open_rotation(envelope, FIRST.public)


@pytest.mark.parametrize("changes", [{"holder": ""}, {"ledger": "a\nb"}, {"time_ms": -1}, {"new": FIRST}, {"holder": "x" * 201}], ids=str)
def test_what_cannot_be_meant_is_not_signed(changes: dict[str, Any]) -> None:
    """Among it a key that would take its own place."""
    with pytest.raises(ValueError, match=r"no |place"):
        encode_rotation(rotation(**changes))


def test_only_the_keys_that_it_names_sign_it() -> None:
    """Whoever mixes them up is told at once."""
    with pytest.raises(ValueError, match="signed by the keys that it names"):
        seal_rotation(rotation(), FIRST, THIRD)


def test_the_newest_key_leads_to_the_first() -> None:
    """Each key vouches for the one before; without any rotation there is one key."""
    chain = [sealed(FIRST, SECOND), sealed(SECOND, THIRD)]
    assert open_chain(chain, THIRD.public) == [FIRST.public, SECOND.public, THIRD.public]
    assert open_chain([], THIRD.public) == [THIRD.public]


CHAINS: dict[str, Callable[[], list[bytes]]] = {
    "a gap": lambda: [sealed(FIRST, SECOND)],
    "the wrong order": lambda: [sealed(SECOND, THIRD), sealed(FIRST, SECOND)],
    "twice the same": lambda: [sealed(SECOND, THIRD), sealed(SECOND, THIRD)],
    "one that the old key did not sign": lambda: [seal_by([THIEF, THIRD], ROTATION_TYPE, encode_rotation(rotation(SECOND, THIRD)))],
    "one that the new key did not sign": lambda: [seal_by([SECOND, THIEF], ROTATION_TYPE, encode_rotation(rotation(SECOND, THIRD)))],
    "one that leads elsewhere": lambda: [seal_by([FIRST, SECOND, THIRD], ROTATION_TYPE, PAYLOAD)],
}


@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_without_a_link_leads_nowhere(case: str) -> None:
    """Nothing of it counts."""
    with pytest.raises(VerificationError, match="rotation"):
        open_chain(CHAINS[case](), THIRD.public)


def test_the_envelope_is_one_that_others_read() -> None:
    """It is DSSE with two signatures, in the order old, new."""
    signatures = orjson.loads(sealed())["signatures"]
    assert [one["keyid"] for one in signatures] == [FIRST.key_id, SECOND.key_id]
