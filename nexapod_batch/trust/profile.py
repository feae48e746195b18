"""What a node offers of its machine, signed with the node's key: one byte form, as of bundles and statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.hardware import Offer
from nexapod_batch.model.hardware_document import profile_document, profile_of
from nexapod_batch.trust.dsse import open_envelope, seal
from nexapod_batch.trust.nesting import loads, quoted

if TYPE_CHECKING:
    from nexapod_batch.trust.dsse import Signer

__all__ = ["PROFILE_TYPE", "open_offer", "seal_offer", "signed_bytes"]

PROFILE_TYPE = "application/vnd.nexapod.profile+json"


def seal_offer(signer: Signer, offer: Offer) -> bytes:
    """Return the envelope of an offer that the node of this key makes; ValueError names what cannot be signed."""
    payload = _encode(offer, signer.key_id)
    _decode(payload, signer.key_id)
    return seal(signer, PROFILE_TYPE, payload)


def open_offer(envelope: bytes, key_id: str, public: bytes) -> Offer:
    """Return what the node of this key offers; VerificationError for what it did not sign, or not so."""
    payload = open_envelope(envelope, PROFILE_TYPE, {key_id: public}).payload
    try:
        offer = _decode(payload, key_id)
    except (TypeError, ValueError, KeyError) as error:
        raise VerificationError("a signed profile cannot be read", got=str(error)[:200]) from error
    return offer


def signed_bytes(envelope: bytes, key_id: str, public: bytes) -> bytes:
    """Return the bytes that the node of this key signed; VerificationError for what it did not sign."""
    return open_envelope(envelope, PROFILE_TYPE, {key_id: public}).payload


def _encode(offer: Offer, key_id: str) -> bytes:
    profile = profile_document(offer.profile)
    return _canonical({"schema": 1, "node": key_id, "gpus": list(offer.gpus), "profile": profile})


def _canonical(document: dict[str, object]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _decode(payload: bytes, key_id: str) -> Offer:
    document = loads(payload)
    if type(document) is not dict or document["schema"] != 1:
        raise ValueError("it is of another schema than 1")
    if set(document) != {"schema", "node", "gpus", "profile"} or payload != _canonical(document):
        raise ValueError("it is not in canonical form")
    if document["node"] != key_id:
        raise ValueError(f"it is of node {quoted(document['node'])}, not of {key_id}")
    profile, gpus = profile_of(document["profile"]), document["gpus"]
    if type(gpus) is not list or not {gpu.uuid for gpu in profile.devices}.issuperset(gpus):
        raise ValueError("it offers GPUs that are not in it")
    return Offer(profile=profile, gpus=tuple(gpus))
