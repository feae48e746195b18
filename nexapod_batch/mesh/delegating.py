"""What a node signs for the key of a launch, made from the bundle alone: both sides arrive at the same bytes. Pure."""

from __future__ import annotations

import hashlib

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.bundle import BUNDLE_TYPE, MAX_BUNDLE, decode_bundle
from nexapod_batch.trust.delegation import DELEGATION_TYPE, Delegation, encode_delegation
from nexapod_batch.trust.dsse import Signer, open_envelope, pae

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.model.replica import Bundle

__all__ = ["delegation_message", "delegation_of", "opened_bundle", "signature_of"]

_SIGNATURE_BYTES = 64


def opened_bundle(envelope: bytes, coordinators: Mapping[str, bytes], node: str) -> Bundle:
    """Return a bundle that one of these coordinators signed for the node of this key id; VerificationError."""
    opened = open_envelope(envelope, BUNDLE_TYPE, coordinators, limit=MAX_BUNDLE)
    bundle = decode_bundle(opened.payload)
    if bundle.audience != node:
        raise VerificationError("the bundle is for another node", got=bundle.audience, wanted=node)
    return bundle


def delegation_of(bundle: Bundle, seed: bytes) -> Delegation:
    """Return what a node lets the key with this seed say: the replicas of the bundle; VerificationError for another."""
    try:
        subkey = Signer.from_seed(seed)
    except ValueError as error:
        raise VerificationError("the key of the launch is none") from error
    if subkey.key_id != bundle.subkey:
        raise VerificationError("the key beside the bundle is another one", got=subkey.key_id, wanted=bundle.subkey)
    return Delegation(
        node=bundle.audience, subkey=subkey.public, launch=bundle.launch,
        job=hashlib.sha256(bundle.document).hexdigest(), not_after=bundle.not_after,
        nonces=tuple([assignment.nonce for assignment in bundle.replicas]),
    )  # fmt: skip


def delegation_message(bundle: Bundle, seed: bytes) -> bytes:
    """Return the bytes under a node's signature on a delegation."""
    return pae(DELEGATION_TYPE, encode_delegation(delegation_of(bundle, seed)))


def signature_of(text: str, message: bytes, public: bytes, launch: str) -> bytes:
    """Return a node's signature for the key of a launch, of its hex digits; VerificationError where it is none."""
    try:
        signed = bytes.fromhex(text)
    except ValueError:
        signed = b""
    if len(signed) != _SIGNATURE_BYTES:
        raise VerificationError("a launch is acknowledged without the node's signature for its key")
    try:
        crypto_sign_open(signed + message, public)
    except BadSignatureError as error:
        raise VerificationError(f"the node's signature for the key of launch {launch} does not verify") from error
    return signed
