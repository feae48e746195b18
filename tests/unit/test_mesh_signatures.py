"""Signatures of nodes: RFC 9421 by its own example, by another implementation, and refused in every other form."""

from __future__ import annotations

import base64
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from nacl.bindings.crypto_sign import crypto_sign_open

from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh import signatures
from nexapod_batch.trust.dsse import Signer

SIGNER = Signer.from_seed(bytes(range(32)))
BODY = b'{"poll":"x"}'
GOOD = {"method": "POST", "authority": "host.example:5000", "target": "/v1/work", "body": BODY}


def signed(**changes: object) -> dict[str, str]:
    """Return the headers of a request of which some things are otherwise."""
    said = {**GOOD, "created": 1_800_000_000, "nonce": "0" * 32, **changes}
    return signatures.headers(
        SIGNER, str(said["method"]), str(said["authority"]), str(said["target"]), bytes(said["body"]),  # type: ignore[call-overload]
        created=int(str(said["created"])), nonce=str(said["nonce"]),
    )  # fmt: skip


def test_the_example_of_the_standard() -> None:
    """RFC 9421, B.2.6: the signature base is the one of its Ed25519 example, whose signature verifies over ours."""
    components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"), ("@method", "POST"), ("@path", "/foo"),
        ("@authority", "example.com"), ("content-type", "application/json"), ("content-length", "18"),
    ]  # fmt: skip
    parameters = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    message = signatures.base(components, parameters)
    public = base64.b64decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert crypto_sign_open(signature + message, public) == message


def test_the_digest_of_the_standard() -> None:
    """RFC 9530, its first example."""
    body = b'{"hello": "world"}\n'
    assert signatures.content_digest(body) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


class _Request(NamedTuple):
    method: str
    url: str
    headers: dict[str, str]


class _Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        """Return the key of the one signer that there is."""
        assert key_id == SIGNER.key_id
        return Ed25519PublicKey.from_public_bytes(SIGNER.public)


@pytest.mark.parametrize("target", ["/v1/work", "/v1/blobs/00?from=17"])
def test_another_implementation_takes_ours(target: str) -> None:
    """A library that was written by others verifies what nodes sign."""
    import time

    headers = signed(target=target, created=int(time.time()))
    request = _Request("POST", f"https://host.example:5000{target}", headers)
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=_Keys())
    (result,) = verifier.verify(request, expect_tag=signatures.TAG)
    assert set(result.covered_components) >= {'"@method"', '"@authority"', '"@path"', '"content-digest"'}


def test_what_was_signed_verifies() -> None:
    """The receiver gets key id, time and nonce, and the signature holds for the very request."""
    headers = signed()
    claims = signatures.parse(headers)
    signatures.check(claims, SIGNER.public, "POST", "HOST.example:5000", "/v1/work", digest=headers["content-digest"])
    assert (claims.key_id, claims.created, claims.nonce) == (SIGNER.key_id, 1_800_000_000, "0" * 32)


OTHER = {
    "another method": {"method": "PATCH"},
    "another host": {"authority": "other.example:5000"},
    "another port": {"authority": "host.example:5001"},
    "another path": {"target": "/v1/nodes"},
    "a query": {"target": "/v1/work?from=1"},
    "another body": {"body": b"{}"},
    "another time": {"created": 1_800_000_001},
    "another nonce": {"nonce": "1" * 32},
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_a_signature_holds_for_one_request_alone(change: dict[str, object]) -> None:
    """Whatever is otherwise than it was signed, the signature does not verify."""
    other, said = signed(**change), {**GOOD, **change}
    claims = signatures.parse({**other, "signature": signed()["signature"]})
    with pytest.raises(VerificationError, match="does not verify"):
        signatures.check(
            claims, SIGNER.public, str(said["method"]), str(said["authority"]), str(said["target"]),
            digest=other["content-digest"],
        )  # fmt: skip


def test_another_key_does_not_verify() -> None:
    """The key that is looked up counts, not the one that signed."""
    headers = signed()
    other = Signer.from_seed(bytes(32))
    with pytest.raises(VerificationError, match="does not verify"):
        signatures.check(
            signatures.parse(headers), other.public, "POST", GOOD["authority"], "/v1/work",  # type: ignore[arg-type]
            digest=headers["content-digest"],
        )  # fmt: skip


FORMS = {
    "nothing": {"signature": "", "signature-input": ""},
    "no parameters": {"signature-input": 'nexapod=("@method")'},
    "fewer components": {"signature-input": signed()["signature-input"].replace('"@query" ', "")},
    "another label": {"signature-input": signed()["signature-input"].replace("nexapod=", "sig1=")},
    "another tag": {"signature-input": signed()["signature-input"].replace("nexapod-node", "other")},
    "two signatures": {"signature": f"{signed()['signature']}, {signed()['signature']}"},
    "a short signature": {"signature": "nexapod=:AAAA:"},
    "a time that is none": {"signature-input": signed()["signature-input"].replace("1800000000", "-5")},
    "a newline": {"signature-input": signed()["signature-input"] + "\n"},
    "other digits": {"signature-input": signed()["signature-input"].replace("1800000000", "\uff11800000000")},
    "a nonce in capitals": {"signature-input": signed()["signature-input"].replace("0" * 32, "A" * 32)},
}


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
def test_every_other_form_is_refused(change: dict[str, str]) -> None:
    """There is one way to write a signature: what is otherwise is refused before a key is looked up."""
    with pytest.raises(VerificationError, match="not signed as nodes sign"):
        signatures.parse({**signed(), **change})
