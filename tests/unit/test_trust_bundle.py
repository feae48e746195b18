"""Bundles: one byte form, read back completely, refused otherwise."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import Assignment, Bundle
from nexapod_batch.trust.bundle import decode_bundle, encode_bundle
from nexapod_batch.trust.dsse import Signer

NODE = Signer.from_seed(b"n" * 32)


def bundle(**changes: Any) -> Bundle:
    """Return a bundle of two replicas."""
    values: dict[str, Any] = {
        "launch": "ab" * 16,
        "audience": NODE.key_id,
        "not_after": 1_800_000_000,
        "job_id": 42,
        "job_uuid": "0192f0c1-2345-7890-abcd-0123456789ab",
        "document": '{"schema":1,"name":"ä"}'.encode(),
        "input_paths": {"0" * 64: "/data/ic.npy"},
        "replicas": tuple(Assignment(task=7, number=n, nonce=f"{n:032x}", parameters={"seed": "1"}) for n in (1, 2)),
        "subkey": Signer.from_seed(b"s" * 32).key_id,
        **changes,
    }
    return Bundle(**values)


def encoded(**changes: Any) -> bytes:
    """Return an encoded bundle with top-level members replaced."""
    return orjson.dumps({**orjson.loads(encode_bundle(bundle())), **changes}, option=orjson.OPT_SORT_KEYS)


@given(st.text(max_size=30), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), st.integers(0, 2**53 - 1))
def test_what_was_encoded_is_read_back(text: str, parameters: dict[str, str], task: int) -> None:
    """Document bytes, parameters and numbers come back as they were."""
    one = Assignment(task=task, number=1, nonce="0" * 32, parameters=parameters)
    asked = bundle(document=orjson.dumps({"x": text}), replicas=(one,))
    assert decode_bundle(encode_bundle(asked)) == asked


def test_a_foreign_job_is_said_to_be_one() -> None:
    """A bundle says it of a foreign job alone: one from before there was the word is read as it was."""
    assert decode_bundle(encode_bundle(bundle(foreign=True))).foreign
    assert b"foreign" not in encode_bundle(bundle())
    assert not decode_bundle(encode_bundle(bundle())).foreign


@given(st.data())
def test_no_changed_byte_is_the_same_bundle(data: st.DataObject) -> None:
    """A changed byte is refused or means something else."""
    payload = bytearray(encode_bundle(bundle()))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_bundle(bytes(payload))
    except VerificationError:
        return
    assert other != bundle()


@given(
    st.sampled_from(["audience", "inputs", "job", "launch", "notAfter", "replicas", "schema", "subkey"]),
    st.none() | st.booleans() | st.integers(-5, -1) | st.just([]) | st.just([{}]) | st.just("x") | st.just([[]]),
)
def test_members_of_another_type_are_refused(key: str, junk: Any) -> None:
    """Wrong types never give another error than ours."""
    with pytest.raises(VerificationError):
        decode_bundle(encoded(**{key: junk}))


@pytest.mark.parametrize("payload", [
    b"", b"[]", b"{}", b"null", b"[" * 5000, b"\xff", encoded(zzz=1), encoded() + b" ",
    encoded(schema=1), encoded(foreign=False), encoded(foreign=1), encoded(foreign="true"),
])  # fmt: skip
def test_other_bytes_are_refused(payload: bytes) -> None:
    """Junk, unknown keys and white space are refused."""
    with pytest.raises(VerificationError):
        decode_bundle(payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"launch": "ABCD"},
        {"audience": "alpha"},
        {"subkey": "ab" * 32},
        {"not_after": -1},
        {"job_id": 0},
        {"job_uuid": "../x"},
        {"document": b""},
        {"input_paths": {"0" * 64: "relative"}},
        {"input_paths": {"short": "/a"}},
        {"replicas": ()},
        {"replicas": (Assignment(task=1, number=1, nonce="0" * 32, parameters={}),) * 2},
        {"replicas": (Assignment(task=1, number=0, nonce="0" * 32, parameters={}),)},
        {"replicas": (Assignment(task=1, number=1, nonce="x", parameters={}),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_read_cannot_be_signed(changes: dict[str, Any]) -> None:
    """The coordinator learns of a fault before it signs."""
    with pytest.raises(ValueError, match=r".+"):
        encode_bundle(bundle(**changes))
