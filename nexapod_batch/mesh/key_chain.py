"""The keys that a coordinator had one after the other, as it shows them, and what a node makes of them. Pure.

Each rotation is signed by the key that it replaces and by the one that takes its place. So whoever trusts one of the
keys can follow to the newest, and knows those before it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.keys import KEY_BYTES, key_id, parse_hex
from nexapod_batch.trust.rotation import open_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KeyChain", "TrustedKeys", "followed"]

#: Rotations of one coordinator that a node looks at: one a week for ten years.
_MOST = 520


class KeyChain(Struct, frozen=True, kw_only=True):
    """What a coordinator says of its keys."""

    key: str  # hex: the one in force
    rotations: tuple[str, ...] = ()  # DSSE envelopes that lead to it, the first one first
    under_way: tuple[str, ...] = ()  # ids of earlier keys that signed bundles which may still be under way


class TrustedKeys(NamedTuple):
    """The keys of a coordinator, as a node trusts them."""

    current: bytes  # raw public key: it signs heads of the ledger, and bundles
    ever: tuple[bytes, ...]  # all that led to it, the first one first, and itself
    bundles: Mapping[str, bytes]  # by id: whose bundles are taken


def followed(chain: KeyChain, known: bytes) -> TrustedKeys:
    """Return the keys that follow from a trusted one, by what the coordinator says.

    Raises:
        VerificationError: The trusted key does not lead to the one that is said to be in force.

    """
    if len(chain.rotations) > _MOST:
        raise VerificationError("too many rotations", got=len(chain.rotations), wanted=f"at most {_MOST}")
    try:
        newest = parse_hex(chain.key)
    except ValueError:
        raise VerificationError("the coordinator's key is none", wanted=f"{KEY_BYTES} bytes in hex") from None
    ever = open_chain([text.encode() for text in chain.rotations], newest)
    if known not in ever:
        raise VerificationError(
            "the key that is trusted does not lead to the coordinator's", got=key_id(newest), wanted=key_id(known)
        )
    by_id = {key_id(public): public for public in ever}
    bundles = {name: public for name, public in by_id.items() if public == newest or name in chain.under_way}
    return TrustedKeys(newest, tuple(ever), bundles)
