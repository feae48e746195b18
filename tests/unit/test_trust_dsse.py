"""Envelopes: what verifies, what never does, and that other programs agree."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError as ForeignError
from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.dsse import MAX_ENVELOPE, Signer, open_envelope, pae, seal
from nexapod_batch.trust.keys import spki_pem

if TYPE_CHECKING:
    from pathlib import Path

KIND = "application/vnd.in-toto+json"
SIGNER, OTHER = Signer.from_seed(b"\1" * 32), Signer.from_seed(b"\2" * 32)
KEYS = {SIGNER.key_id: SIGNER.public}
PAYLOAD = b'{"answer":42,"question":"\xc3\xa9"}'
SEALED = seal(SIGNER, KIND, PAYLOAD)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def document(**changes: Any) -> dict[str, Any]:
    """Return the object of a good envelope with some fields replaced; None drops one."""
    changed = {**orjson.loads(SEALED), **changes}
    return {key: value for key, value in changed.items() if value is not None}


def refusal(envelope: Any, keys: Any = None, kind: str = KIND) -> str:
    """Return why an envelope is refused."""
    with pytest.raises(VerificationError) as caught:
        open_envelope(envelope, kind, KEYS if keys is None else keys)
    return str(caught.value)


def ssl_key(signer: Signer) -> SSlibKey:
    """Return a public key as securesystemslib holds one."""
    return SSlibKey(signer.key_id, "ed25519", "ed25519", {"public": signer.public.hex()})


@given(st.binary(min_size=1, max_size=300), texts.filter(bool), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens(payload: bytes, kind: str, seed: bytes) -> None:
    """Any payload and type come back as they went in, under the key that signed."""
    signer = Signer.from_seed(seed)
    opened = open_envelope(seal(signer, kind, payload), kind, {signer.key_id: signer.public})
    assert (kind, payload, signer.key_id) == (opened.payload_type, opened.payload, opened.key_id)


def test_pae_is_that_of_the_specification() -> None:
    """The example of the DSSE protocol document, and lengths in bytes."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(texts, st.binary(max_size=60), texts, st.binary(max_size=60))
def test_pae_tells_every_pair_apart(kind: str, payload: bytes, kind2: str, payload2: bytes) -> None:
    """Two different pairs of type and payload are never signed as the same bytes."""
    assert (pae(kind, payload) == pae(kind2, payload2)) == ((kind, payload) == (kind2, payload2))


@given(texts, st.binary(max_size=60))
def test_pae_equals_that_of_securesystemslib(kind: str, payload: bytes) -> None:
    """An implementation that shares no line with ours signs the same bytes."""
    assert Envelope(payload, kind, {}).pae() == pae(kind, payload)


def test_an_envelope_is_one_compact_line() -> None:
    """Segments hold one envelope a line."""
    assert b"\n" not in SEALED
    assert orjson.dumps(orjson.loads(SEALED)) == SEALED


@given(st.binary(min_size=1, max_size=200))
def test_securesystemslib_verifies_ours(payload: bytes) -> None:
    """Its verifier accepts our envelope for our key and refuses it for another."""
    envelope = Envelope.from_dict(json.loads(seal(SIGNER, KIND, payload)))
    assert payload == envelope.payload
    assert [SIGNER.key_id] == list(envelope.verify([ssl_key(SIGNER)], 1))
    with pytest.raises(ForeignError):
        envelope.verify([ssl_key(OTHER)], 1)


def test_we_verify_what_securesystemslib_wrote() -> None:
    """An envelope in its spelling opens."""
    signature = Signature(SIGNER.key_id, SIGNER.sign(pae(KIND, PAYLOAD)).hex())
    written = json.dumps(Envelope(PAYLOAD, KIND, {SIGNER.key_id: signature}).to_dict(), indent=1).encode()
    assert open_envelope(written, KIND, KEYS).payload == PAYLOAD


def test_openssl_verifies_ours(tmp_path: Path) -> None:
    """`openssl pkeyutl` accepts the signature over the PAE, and not over other bytes."""
    envelope = orjson.loads(SEALED)
    (tmp_path / "key").write_text(spki_pem(SIGNER.public))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    argv = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key", "-sigfile", "sig", "-in", "message"]
    for message, expected in ((pae(KIND, PAYLOAD), 0), (pae(KIND, PAYLOAD + b" "), 1)):
        (tmp_path / "message").write_bytes(message)
        assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode == expected


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_never_makes_another_payload(at: int, flip: int) -> None:
    """Whatever byte of the envelope changes, it is refused, or the hint changed and the signed bytes are the same."""
    changed = SEALED[:at] + bytes([SEALED[at] ^ flip]) + SEALED[at + 1 :]
    try:
        opened = open_envelope(changed, KIND, KEYS)
    except VerificationError:
        return
    assert (PAYLOAD, SIGNER.key_id) == (opened.payload, opened.key_id)
    hint = SEALED.index(b'"keyid"')
    assert hint < at < SEALED.index(b'"sig"'), "only the hint is not covered"


@given(st.data())
def test_a_changed_character_of_payload_or_signature_never_verifies(data: st.DataObject) -> None:
    """Not even one that only changes bits which base64 leaves over."""
    field = data.draw(st.sampled_from([b'"payload":"', b'"sig":"']))
    start = SEALED.index(field) + len(field)
    at = data.draw(st.integers(start, SEALED.index(b'"', start) - 1))
    same = {SEALED[at], *SEALED[at : at + 1].translate(bytes.maketrans(b"+/", b"-_"))}  # one of the other alphabet
    other = data.draw(st.sampled_from(sorted(set(alphabet + b"=-_ \n") - same)))
    refusal(SEALED[:at] + bytes([other]) + SEALED[at + 1 :])


@given(st.binary(min_size=1, max_size=80), st.booleans(), st.booleans())
def test_both_alphabets_of_base64_open(payload: bytes, in_payload: bool, in_signature: bool) -> None:
    """DSSE allows the standard and the URL-safe one, in payload and signature; what was signed stays the same bytes."""
    envelope = orjson.loads(seal(SIGNER, KIND, payload))
    safe = str.maketrans("+/", "-_")
    if in_payload:
        envelope["payload"] = envelope["payload"].translate(safe)
    if in_signature:
        envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"].translate(safe)
    opened = open_envelope(envelope, KIND, KEYS)
    assert (opened.payload, opened.key_id) == (payload, SIGNER.key_id)
    assert opened.signature == open_envelope(seal(SIGNER, KIND, payload), KIND, KEYS).signature


@pytest.mark.parametrize("size", [0, 1, 63, 65, 70, 256])
def test_signatures_of_other_kinds_of_keys_are_passed_over(size: int) -> None:
    """One of another length, before or behind, takes nothing from one that verifies."""
    (good,) = document()["signatures"]
    odd = {"keyid": "rsa", "sig": base64.b64encode(b"x" * size).decode()}
    for both in ([odd, good], [good, odd]):
        assert open_envelope(document(signatures=both), KIND, KEYS).payload == PAYLOAD
    assert "no signature verifies" in refusal(document(signatures=[odd]))


@given(st.integers(0, len(SEALED) - 1))
def test_a_cut_envelope_is_refused(length: int) -> None:
    """No beginning of an envelope verifies."""
    refusal(SEALED[:length])


@given(st.sampled_from(["payload", "payloadType", "signatures"]))
def test_a_dropped_key_is_refused(key: str) -> None:
    """All three keys are needed."""
    refusal(document(**{key: None}))


@given(st.permutations(list(orjson.loads(SEALED).items())), st.sampled_from([None, 1, 4]))
def test_order_and_white_space_do_not_matter(items: list[tuple[str, Any]], indent: int | None) -> None:
    """An envelope has many spellings; the payload is the same in each."""
    assert open_envelope(json.dumps(dict(items), indent=indent).encode(), KIND, KEYS).payload == PAYLOAD


@given(st.booleans(), st.sampled_from(["payload", "payloadType", "signatures"]))
def test_a_repeated_key_never_makes_another_payload(first: bool, key: str) -> None:
    """Whichever copy a reader takes, only signed bytes come out."""
    forged = {
        "payload": base64.b64encode(b"evil").decode(),
        "payloadType": "evil",
        "signatures": [{"keyid": SIGNER.key_id, "sig": base64.b64encode(b"\0" * 64).decode()}],
    }
    extra = f'"{key}":{json.dumps(forged[key])}'.encode()
    text = b"{" + extra + b"," + SEALED[1:] if first else SEALED[:-1] + b"," + extra + b"}"
    try:
        assert open_envelope(text, KIND, KEYS).payload == PAYLOAD
    except VerificationError:
        assert not first


@pytest.mark.parametrize("hint", [None, 7, "", "SHA256:nobody", OTHER.key_id, ["x"], "\ud800"])
def test_the_hint_never_decides(hint: Any) -> None:
    """A wrong, missing or mistyped keyid changes nothing: the key that verified is named."""
    signature = {"sig": document()["signatures"][0]["sig"], "keyid": hint}
    opened = open_envelope(document(signatures=[signature]), KIND, {**KEYS, OTHER.key_id: OTHER.public})
    assert opened.key_id == SIGNER.key_id


def test_a_foreign_signature_beside_a_good_one_does_no_harm() -> None:
    """One trusted signature is enough; others are nobody's business."""
    foreign = orjson.loads(seal(OTHER, KIND, PAYLOAD))["signatures"]
    assert open_envelope(document(signatures=foreign + document()["signatures"]), KIND, KEYS).key_id == SIGNER.key_id


def test_a_stolen_hint_does_not_help() -> None:
    """A signature by another key under our key's name is refused, and the message names the hint and the keys."""
    stolen = [{**orjson.loads(seal(OTHER, KIND, PAYLOAD))["signatures"][0], "keyid": SIGNER.key_id}]
    assert "no signature verifies" in refusal(document(signatures=stolen))


def test_a_signature_for_another_type_is_refused() -> None:
    """What was signed as one type is not taken as another, even if the envelope is relabelled."""
    assert "wrong payload type" in refusal(SEALED, kind="text/plain")
    assert "no signature verifies" in refusal(document(payloadType="text/plain"), kind="text/plain")


def test_no_keys_is_an_error() -> None:
    """Nothing trusted, nothing verified."""
    assert "no key" in refusal(SEALED, keys={})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"signatures": []}, "number of signatures"),
        ({"signatures": document()["signatures"] * 9}, "number of signatures"),
        ({"signatures": {}}, "not a DSSE envelope"),
        ({"signatures": ["x"]}, "not a DSSE signature"),
        ({"signatures": [{"keyid": "x"}]}, "not a DSSE signature"),
        ({"signatures": [{"sig": 1}]}, "not a DSSE signature"),
        ({"signatures": [{"sig": "é"}]}, "not base64"),
        ({"signatures": [{"sig": "AAAA"}]}, "no signature verifies"),
        ({"signatures": [{"sig": "+_AA"}]}, "two alphabets"),
        ({"payload": ""}, "empty"),
        ({"payload": 7}, "not a DSSE envelope"),
        ({"payload": "e30"}, "not base64"),
        ({"payload": "e30=\n"}, "not base64"),
        ({"payload": "e31="}, "not base64"),
        ({"payload": "-/8="}, "two alphabets"),
        ({"payload": "_-9="}, "not base64"),
        ({"payload": "-_8"}, "not base64"),
        ({"payload": "A" * (MAX_ENVELOPE + 4)}, "too large"),
    ],
)
def test_odd_envelopes_are_refused_with_the_reason(changes: dict[str, Any], word: str) -> None:
    """Each fault of the shape has its own message."""
    assert word in refusal(document(**changes))


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff", b"[" * 5000, b'{"payload":NaN}'])
def test_other_bytes_are_no_envelope(text: bytes) -> None:
    """Neither broken JSON nor JSON of another shape raises anything but VerificationError."""
    refusal(text)


def test_size_is_judged_before_anything_is_parsed() -> None:
    """A huge envelope costs nothing."""
    assert "too large" in refusal(b" " * (MAX_ENVELOPE + 1))
    with pytest.raises(VerificationError, match="too large"):
        open_envelope(SEALED, KIND, KEYS, limit=len(SEALED) - 1)
    assert open_envelope(SEALED, KIND, KEYS, limit=len(SEALED)).payload == PAYLOAD


def test_keys_of_small_order_never_verify() -> None:
    """The all-zero signature that some verifiers take under a degenerate key is refused."""
    for key in (b"\0" * 32, b"\1" + b"\0" * 31):
        forged = base64.b64encode(key + b"\0" * 32).decode()
        refusal(document(signatures=[{"sig": forged}]), keys={"x": key})


def test_a_signer_shows_no_secret() -> None:
    """Repr names the key; a seed of another length is refused."""
    assert repr(SIGNER) == f"<Signer {SIGNER.key_id}>"
    with pytest.raises(ValueError, match="32 bytes"):
        Signer.from_seed(b"short")
