"""DSSE envelopes with Ed25519 signatures: sealed in one canonical form, opened from any that verifies.

What always holds:

1. The payload is verified before anything of it is parsed, and handed back as exactly the bytes that were signed.
2. `keyid` is a hint. What counts is the key that verified, and only keys that the caller trusts are tried.
3. No keys, no signatures, or no payload is an error, never a pass.
4. Work is bounded before it is done: size of the envelope, number of its signatures.

An envelope has many byte forms (other signatures, white space, either alphabet of base64), so its own digest identifies
nothing.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from nacl.bindings.crypto_sign import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.keys import KEY_BYTES, key_id
from nexapod_batch.trust.nesting import loads, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MAX_ENVELOPE", "Opened", "Signer", "open_envelope", "open_single", "pae", "seal", "seal_by"]

#: The largest envelope that is looked at unless the caller says otherwise, in bytes.
MAX_ENVELOPE = 1 << 20

_MAX_SIGNATURES = 8
_SIGNATURE_BYTES = 64
_FROM_URL_SAFE = str.maketrans("-_", "+/")


class Signer:
    """An Ed25519 private key, with the id and the raw bytes of its public half."""

    __slots__ = ("_secret", "key_id", "public")

    def __init__(self, public: bytes, secret: bytes) -> None:
        """Keep a key pair in libsodium's form (32 and 64 bytes); `from_seed` makes one."""
        self.public, self._secret = public, secret
        self.key_id = key_id(public)

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """Return the signer whose private key is this 32-byte seed; ValueError for another length."""
        if len(seed) != KEY_BYTES:
            raise ValueError(f"an Ed25519 seed has {KEY_BYTES} bytes, not {len(seed)}")
        return cls(*crypto_sign_seed_keypair(seed))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        return bytes(crypto_sign(message, self._secret)[:_SIGNATURE_BYTES])

    def trail_secret(self) -> bytes:
        """Return the secret of the log trails of the launch whose key this is; it does not tell the key."""
        from nexapod_batch.trust.trail import launch_secret  # noqa: PLC0415 - only what runs long has a trail

        return launch_secret(self._secret[:KEY_BYTES])

    def __repr__(self) -> str:
        """Return the key id; the secret is never shown."""
        return f"<Signer {self.key_id}>"


class Opened(NamedTuple):
    """An envelope that verified."""

    payload_type: str
    payload: bytes  # the very bytes that were signed
    key_id: str  # of the key that verified, not the envelope's hint
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is signed. Lengths count bytes, not characters."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(signer: Signer, payload_type: str, payload: bytes) -> bytes:
    """Return a signed envelope as one line of compact JSON, without a newline."""
    return seal_by([signer], payload_type, payload)


def seal_by(signers: Sequence[Signer], payload_type: str, payload: bytes) -> bytes:
    """Return an envelope that several keys signed, in this order."""
    message = pae(payload_type, payload)
    return _envelope(payload_type, payload, [(signer.key_id, signer.sign(message)) for signer in signers])


def envelope(payload_type: str, payload: bytes, name: str, signature: bytes) -> bytes:
    """Return the envelope of a payload that the key called `name` signed."""
    return _envelope(payload_type, payload, [(name, signature)])


def _envelope(payload_type: str, payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    return orjson.dumps(
        {
            "payload": binascii.b2a_base64(payload, newline=False).decode(),
            "payloadType": payload_type,
            "signatures": [
                {"keyid": name, "sig": binascii.b2a_base64(signature, newline=False).decode()}
                for name, signature in signatures
            ],
        }
    )


def open_envelope(
    sealed: bytes | Mapping[str, Any],
    payload_type: str,
    keys: Mapping[str, bytes],
    *,
    limit: int = MAX_ENVELOPE,
) -> Opened:
    """Verify an envelope, as bytes or as the object that its JSON spells, and return what was signed.

    `keys` maps key id to raw public key: the keys whose signature the caller accepts. `limit` caps the bytes of the
    envelope, or of the base64 payload when an object is given. VerificationError says which check failed.
    """
    if not keys:
        raise VerificationError("no key to verify with", wanted="at least one trusted public key")
    document = _parse(sealed, limit) if isinstance(sealed, bytes) else sealed
    encoded, signatures = _parts(document, payload_type, limit)
    payload = _decode64(encoded, "payload")
    if not payload:
        raise VerificationError("the payload is empty")
    message = pae(payload_type, payload)
    for signature in signatures:
        hint, raw = _signature(signature)
        for name, public in _candidates(hint, raw, keys):
            if _verifies(raw, message, public):
                return Opened(payload_type=payload_type, payload=payload, key_id=name, signature=raw)
    hints = ", ".join(quoted(signature.get("keyid", "none"), 60) for signature in signatures)
    raise VerificationError("no signature verifies", got=f"key hint {hints}", wanted=f"one by {_few(keys)}")


def open_single(payload_type: str, payload: bytes, signature: str, name: str, public: bytes) -> Opened | None:
    """Return what was signed when one signature, in base64, verifies by the key called `name`; None when it does not.

    VerificationError for a signature that is not base64.
    """
    raw = _decode64(signature, "signature")
    if not payload or len(raw) != _SIGNATURE_BYTES or not _verifies(raw, pae(payload_type, payload), public):
        return None
    return Opened(payload_type, payload, name, raw)


def _verifies(raw: bytes, message: bytes, public: bytes) -> bool:
    try:
        crypto_sign_open(raw + message, public)
    except BadSignatureError:
        return False
    return True


def _parts(document: Mapping[str, Any], payload_type: str, limit: int) -> tuple[str, list[Any]]:
    """Return the payload, still encoded, and the signatures; VerificationError for what is no envelope of this type."""
    encoded, kind, signatures = document.get("payload"), document.get("payloadType"), document.get("signatures")
    if kind != payload_type:
        raise VerificationError("wrong payload type", got=quoted(kind), wanted=repr(payload_type))
    if not isinstance(encoded, str) or not isinstance(signatures, list):
        raise VerificationError("not a DSSE envelope", wanted="payload, payloadType and signatures")
    if len(encoded) > limit:
        raise VerificationError("envelope is too large", got=f"{len(encoded)} bytes", wanted=f"at most {limit}")
    if not 0 < len(signatures) <= _MAX_SIGNATURES:
        raise VerificationError(
            "wrong number of signatures", got=len(signatures), wanted=f"between 1 and {_MAX_SIGNATURES}"
        )
    return encoded, signatures


def _parse(sealed: bytes, limit: int) -> Mapping[str, Any]:
    if len(sealed) > limit:
        raise VerificationError("envelope is too large", got=f"{len(sealed)} bytes", wanted=f"at most {limit}")
    try:
        document = loads(sealed)
    except ValueError as error:
        raise VerificationError("envelope is not JSON", got=str(error)) from error
    if not isinstance(document, dict):
        raise VerificationError("not a DSSE envelope", got=type(document).__name__, wanted="a JSON object")
    return document


def _decode64(text: str, what: str) -> bytes:
    """Return what base64 stands for, in the standard alphabet or the one that is safe in URLs, as DSSE allows both."""
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise VerificationError(f"{what} is not base64", got="two alphabets")
        text = text.translate(_FROM_URL_SAFE)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error is one; non-ASCII text is another
        raise VerificationError(f"{what} is not base64", got=str(error)) from error
    rest = len(data) % 3
    if rest and binascii.b2a_base64(data[-rest:], newline=False) != text[-4:].encode():  # bits that nothing reads
        raise VerificationError(f"{what} is not base64", got="an end that no encoder writes")
    return data


def _signature(signature: object) -> tuple[object, bytes]:
    encoded = signature.get("sig") if isinstance(signature, dict) else None
    if not isinstance(signature, dict) or not isinstance(encoded, str):
        raise VerificationError("not a DSSE signature", wanted="an object with sig")
    return signature.get("keyid"), _decode64(encoded, "signature")


def _candidates(hint: object, raw: bytes, keys: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the hinted key first: with an honest hint one verification is enough.

    None for a signature of another length: it is by another kind of key, and one that verifies may stand beside it.
    """
    if len(raw) != _SIGNATURE_BYTES:
        return
    hinted = hint if isinstance(hint, str) and hint in keys else None
    if hinted is not None:
        yield hinted, keys[hinted]
    yield from ((name, public) for name, public in keys.items() if name != hinted)


def _few(keys: Mapping[str, bytes]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" or {len(names) - 3} more" if len(names) > 3 else "")
