"""Signed verdicts: one byte form, read by others' code, and nothing else is read as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.predicates.vsa.v1.vsa_pb2 import VerificationSummary
from in_toto_attestation.v1.statement_pb2 import Statement

from nexapod_batch.errors import VerificationError
from nexapod_batch.trust.verdict import JudgedAgain, SignedVerdict, StatementRef, decode_verdict, encode_verdict

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
#: What was judged by other rules than the job's.
AGAIN = st.builds(
    JudgedAgain,
    number=st.integers(1, 9),
    descriptor_sha256=HEX,
    outputs=st.just(({"path": "a", "compare": "round", "digits": 3, "rtol": None, "atol": None},)),
    answers=st.dictionaries(st.integers(1, 30), HEX, max_size=12).map(lambda answers: tuple(sorted(answers.items()))),
    measured=st.just({}) | st.just({"apart": {}, "centre": 2, "close": [[1, 2]]}),
    replica=st.none() | st.integers(1, 30),
)
VERDICTS = st.builds(
    SignedVerdict,
    verifier=st.text(max_size=60),
    time_ms=st.integers(0, 4_000_000_000_000),
    job_uuid=st.uuids().map(str),
    job_sha256=HEX,
    policy_sha256=HEX,
    task=st.integers(0, 10**12),
    state=st.sampled_from(["accepted", "failed", "inconclusive"]),
    agree=st.integers(0, 99),
    basis=st.text("relcov-", max_size=20),
    answer=HEX | st.just(""),
    reached=st.tuples(*[st.tuples(st.just(name), st.integers(0, 9)) for name in ("host", "node", "owner", "site")]),
    statements=st.lists(st.builds(StatementRef, replica=st.just("42_7.1"), sha256=HEX), max_size=4).map(tuple),
    again=st.none() | AGAIN,
)
GOOD = SignedVerdict(
    verifier="nexapod-batch/0123", time_ms=1_796_000_000_007, job_uuid="01a22a94-7f15-7a99-8ec6-ea62fa08f50e",
    job_sha256="1" * 64, policy_sha256="2" * 64, task=7, state="accepted", agree=2, basis="rre-", answer="3" * 64,
    reached=(("host", 2), ("node", 2), ("owner", 1), ("site", 2)),
    statements=(StatementRef("42_7.1", "4" * 64), StatementRef("42_7.2", "5" * 64)),
)  # fmt: skip


@given(VERDICTS)
def test_a_verdict_is_read_as_it_was_signed(verdict: SignedVerdict) -> None:
    """To the millisecond; its bytes are canonical."""
    payload = encode_verdict(verdict)
    assert decode_verdict(payload) == verdict
    assert payload == json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_others_read_it_as_a_verification_summary() -> None:
    """The protobuf messages of in-toto have all of it but what is our own."""
    document = json.loads(encode_verdict(GOOD))
    statement = Parse(json.dumps({**document, "predicate": {}}), Statement())
    assert [(one.name, one.digest["sha256"]) for one in statement.subject] == [("job.json", "1" * 64), ("outputs", "3" * 64)]
    assert statement.predicate_type == "https://slsa.dev/verification_summary/v1"
    levels = document["predicate"].pop("verifiedLevels")  # a list, says SLSA; one text, says this message
    summary = Parse(json.dumps(document["predicate"]), VerificationSummary(), ignore_unknown_fields=True)
    assert summary.verification_result == "PASSED"
    assert summary.resource_uri == "urn:uuid:01a22a94-7f15-7a99-8ec6-ea62fa08f50e#7"
    assert summary.time_verified.ToMilliseconds() == GOOD.time_ms
    assert [(one.uri, one.digest["sha256"]) for one in summary.input_attestations] == list(GOOD.statements)
    assert levels == [
        "NEXAPOD_QUORUM_2_OF_3", "NEXAPOD_HOSTS_2", "NEXAPOD_NODES_2", "NEXAPOD_OWNERS_1", "NEXAPOD_SITES_2",
    ]  # fmt: skip
    assert summary.policy.digest["sha256"] == "2" * 64


@pytest.mark.parametrize("state", ["failed", "inconclusive"])
def test_what_was_not_accepted_reaches_no_level(state: str) -> None:
    """And fails."""
    predicate = json.loads(encode_verdict(GOOD._replace(state=state, answer="")))["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", [])


def changed(**predicate: object) -> bytes:
    """Return a verdict with other values in its predicate."""
    document: dict[str, Any] = json.loads(encode_verdict(GOOD))
    document["predicate"] |= predicate
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{}", b"[]", b"null", b"[" * 3000, encode_verdict(GOOD) + b" ", encode_verdict(GOOD).replace(b":", b": ", 1),
        encode_verdict(GOOD).replace(b"in-toto.io", b"in-toto.example"), changed(verificationResult="FAILED"),
        changed(verifiedLevels=["NEXAPOD_QUORUM_9_OF_9"]), changed(resourceUri="urn:uuid:x#7"), changed(resourceUri=7),
        changed(timeVerified="yesterday"), changed(timeVerified="2026-11-30T03:51:45Z"), changed(nexapod=None), changed(more=1),
        changed(inputAttestations=None), changed(inputAttestations=[{}]), changed(policy={}), changed(verifier=[]),
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(payload: bytes) -> None:
    """Also what says the same in another form, and what contradicts itself."""
    with pytest.raises(VerificationError, match="a signed verdict"):
        decode_verdict(payload)
