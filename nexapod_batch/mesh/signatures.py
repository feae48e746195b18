"""HTTP Message Signatures (RFC 9421) of nodes, in the one form that both sides write. Pure.

A node signs method, authority, path and query of a request, and the digest of its body (RFC 9530), with its Ed25519
key. The parameters are `created`, `nonce`, `keyid` and `tag`, in this order; a request in any other form is refused
before a key is looked up. Who may replay what, and when, the receiver decides: `Signed` says what was signed.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import BadSignatureError

from nexapod_batch.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.trust.dsse import Signer

__all__ = [
    "COMPONENTS", "SO_FAR", "TAG", "WHOLE", "Signed", "base", "check", "content_digest", "headers", "parse",
    "shown_digest", "so_far_of",
]  # fmt: skip

#: What a signature covers, in this order.
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")
TAG = "nexapod-node"
#: Algorithms of `Content-Digest`: of the body; and for a part of a blob, of the blob up to the end of the part.
WHOLE, SO_FAR = "sha-256", "sha-256-so-far"
_LABEL = "nexapod"
_NONCE = r"[0-9a-f]{32}"
_KEY_ID = r"SHA256:[A-Za-z0-9+/]{43}"
_INPUT = re.compile(
    rf'{_LABEL}=(\("@method" "@authority" "@path" "@query" "content-digest"\)'
    rf';created=(\d{{1,12}});nonce="({_NONCE})";keyid="({_KEY_ID})";tag="{TAG}")',
    re.ASCII,
)
_SIGNATURE = re.compile(rf"{_LABEL}=:([A-Za-z0-9+/]{{86}}==):", re.ASCII)
_SO_FAR = re.compile(rf"{SO_FAR}=:([A-Za-z0-9+/]{{43}}=):", re.ASCII)
_SIGNATURE_BYTES = 64


class Signed(NamedTuple):
    """What the headers of a request claim; nothing of it is verified."""

    key_id: str
    created: int  # seconds since 1970
    nonce: str
    parameters: str  # of the signature, as they were written
    signature: bytes


def base(components: Sequence[tuple[str, str]], parameters: str) -> bytes:
    """Return the signature base (section 2.5): a line for each component and its value, then the parameters."""
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def content_digest(body: bytes | memoryview) -> str:
    """Return the `Content-Digest` of a body (RFC 9530)."""
    return shown_digest(hashlib.sha256(body).digest())


def shown_digest(sha256: bytes, algorithm: str = WHOLE) -> str:
    """Return a `Content-Digest` that tells this SHA-256."""
    return f"{algorithm}=:{binascii.b2a_base64(sha256, newline=False).decode()}:"


def so_far_of(digest: str) -> bytes:
    """Return the SHA-256 of a blob up to the end of a part, told by a `Content-Digest`; b"" where there is none."""
    found = _SO_FAR.fullmatch(digest)
    return binascii.a2b_base64(found[1]) if found else b""


def headers(
    signer: Signer, method: str, authority: str, target: str, body: bytes | memoryview, *, created: int, nonce: str,
    digest: str = "",
) -> dict[str, str]:  # fmt: skip
    """Return the headers that sign a request; `target` is path and query, `nonce` 32 hex digits used once.

    `digest` is the `Content-Digest` of the body where that is known already.
    """
    digest = digest or content_digest(body)
    names = " ".join(f'"{name}"' for name in COMPONENTS)
    parameters = f'({names});created={created};nonce="{nonce}";keyid="{signer.key_id}";tag="{TAG}"'
    message = base(_values(method, authority, target, digest), parameters)
    signature = binascii.b2a_base64(signer.sign(message), newline=False).decode()
    return {
        "content-digest": digest,
        "signature-input": f"{_LABEL}={parameters}",
        "signature": f"{_LABEL}=:{signature}:",
    }


def parse(fields: Mapping[str, str]) -> Signed:
    """Return what the headers of a request claim; VerificationError for another form than ours."""
    claimed = _INPUT.fullmatch(fields.get("signature-input", ""))
    signature = _SIGNATURE.fullmatch(fields.get("signature", ""))
    if claimed is None or signature is None:
        got = "another form" if "signature" in fields else "no signature"
        raise VerificationError("the request is not signed as nodes sign", got=got, wanted=f"RFC 9421, tag {TAG}")
    parameters, created, nonce, key_id = claimed.groups()
    return Signed(key_id, int(created), nonce, parameters, binascii.a2b_base64(signature[1]))


def check(signed: Signed, public: bytes, method: str, authority: str, target: str, *, digest: str) -> None:
    """Raise VerificationError unless the key signed this very request; that the body has the `digest` is to be seen."""
    message = base(_values(method, authority, target, digest), signed.parameters)
    if len(signed.signature) != _SIGNATURE_BYTES:
        raise VerificationError("the signature has another length")
    try:
        crypto_sign_open(signed.signature + message, public)
    except BadSignatureError as error:
        raise VerificationError("the signature does not verify", wanted=f"one by {signed.key_id}") from error


def _values(method: str, authority: str, target: str, digest: str) -> list[tuple[str, str]]:
    path, _, query = target.partition("?")
    values = (method.upper(), authority.lower(), path or "/", f"?{query}", digest)
    return list(zip(COMPONENTS, values, strict=True))
