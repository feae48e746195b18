"""Delegations: one form, one node, one launch, and nothing beyond it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.delegation import (
    DELEGATION_TYPE,
    Delegation,
    decode_delegation,
    encode_delegation,
    open_delegation,
    open_statement,
)
from nexapod_batch.trust.dsse import Signer, seal
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome, Statement, Subject, vote_of
from nexapod_batch.trust.statement_encoder import encode

NODE, OTHER, SUBKEY, THIEF = (Signer.from_seed(letter * 32) for letter in (b"n", b"o", b"s", b"t"))
KEYS = {NODE.key_id: NODE.public}
NOT_AFTER = 1_800_000_000
NONCES = ("aa" * 16, "bb" * 16)


def delegation(**changes: Any) -> Delegation:
    """Return a delegation for two replicas."""
    values: dict[str, Any] = {
        "node": NODE.key_id, "subkey": SUBKEY.public, "launch": "ab" * 16, "job": "cd" * 32, "nonces": NONCES,
        "not_after": NOT_AFTER, **changes,
    }  # fmt: skip
    return Delegation(**values)


def sealed(signer: Signer = NODE, **changes: Any) -> bytes:
    """Return its envelope."""
    return seal(signer, DELEGATION_TYPE, encode_delegation(delegation(**changes)))


def statement(**changes: Any) -> Statement:
    """Return a statement about its first replica."""
    values: dict[str, Any] = {
        "job_uuid": "0192f0c1-2345-7890-abcd-0123456789ab", "job_digest": "cd" * 32, "replica": ReplicaName(42, 7, 1),
        "nonce": NONCES[0], "agree": 2, "distinct": ("node",), "backend": "local", "native_id": "x", "host": "h",
        "isolation": "none", "classes": {}, "outcome": Outcome.OK, "detail": "", "exit_code": 0, "wall_ms": 1,
        "cpu_ms": 1, "max_rss_kib": 1, "output_bytes": 1, "started_ms": NOT_AFTER * 1000 - 5,
        "finished_ms": NOT_AFTER * 1000 + 5, "builder": NODE.key_id,
        "subjects": (Subject(name="stdout", sha256="0" * 64),), "manifest": False, "inputs": (),
        "stdout_sha256": "0" * 64, "stderr_sha256": "0" * 64, "vote": vote_of([("stdout", "0" * 64)]), **changes,
    }  # fmt: skip
    return Statement(**values)


def line(signer: Signer = SUBKEY, **changes: Any) -> bytes:
    """Return a signed statement."""
    return seal(signer, PAYLOAD_TYPE, encode(statement(**changes)))


def test_a_statement_verifies_through_its_delegation() -> None:
    """Node key, delegation, subkey, statement: the subkey's id is that of the envelope, the node's that of the builder."""
    opened, said = open_statement(line(), sealed(), KEYS)
    assert (opened.key_id, said.builder, said.nonce) == (SUBKEY.key_id, NODE.key_id, NONCES[0])


def test_a_statement_of_the_time_before_subkeys_verifies_with_the_key_of_the_node() -> None:
    """Without a delegation it is the node's key that must have signed."""
    assert open_statement(line(NODE), None, KEYS)[1].builder == NODE.key_id
    with pytest.raises(VerificationError, match="no signature verifies"):
        open_statement(line(SUBKEY), None, KEYS)


REFUSED: dict[str, tuple[bytes, bytes, str]] = {
    "another launch's replica": (line(nonce="cc" * 16), sealed(), "another launch"),
    "another job": (line(job_digest="ee" * 32), sealed(), "another job"),
    "another node's name": (line(builder=OTHER.key_id), sealed(), "another node"),
    "started after the end": (line(started_ms=NOT_AFTER * 1000 + 1), sealed(), "after the delegation had ended"),
    "failed after the end": (
        line(started_ms=NOT_AFTER * 1000 + 1, outcome=Outcome.FAILED), sealed(), "after the delegation had ended",
    ),
    "the node's own key": (line(NODE), sealed(), "no signature verifies"),
    "a key of nobody": (line(THIEF), sealed(), "no signature verifies"),
    "a delegation by a thief": (line(THIEF), sealed(THIEF, subkey=THIEF.public), "no signature verifies"),
    "a delegation by the subkey itself": (line(), sealed(SUBKEY), "no signature verifies"),
    "a delegation of another node": (line(builder=OTHER.key_id), sealed(OTHER, node=OTHER.key_id), "no signature verifies"),
    "a delegation that names another node": (line(), sealed(node=OTHER.key_id), "another node"),
    "a statement in its place": (line(), line(NODE), "wrong payload type"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_a_delegation_does_not_cover_is_refused(kind: str) -> None:
    """A subkey speaks for one node, one launch, one job, until its end; and only the node's key makes it one."""
    said, given_for_it, reason = REFUSED[kind]
    with pytest.raises(VerificationError, match=reason):
        open_statement(said, given_for_it, KEYS)


@pytest.mark.parametrize("outcome", [Outcome.PREEMPTED, Outcome.CANCELLED, Outcome.NODE])
def test_that_it_was_never_started_may_be_said_after_the_end(outcome: Outcome) -> None:
    """A runner that finds a launch expired says so."""
    assert open_statement(line(started_ms=NOT_AFTER * 1000 + 1, outcome=outcome), sealed(), KEYS)[1].outcome is outcome


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5, unique=True), st.integers(0, 2**53 - 1))
def test_what_was_encoded_is_read_back(nonces: list[bytes], not_after: int) -> None:
    """Every field comes back as it was."""
    one = delegation(nonces=tuple(nonce.hex() for nonce in nonces), not_after=not_after)
    assert decode_delegation(encode_delegation(one)) == one
    assert open_delegation(seal(NODE, DELEGATION_TYPE, encode_delegation(one)), KEYS) == one


def changed(**changes: Any) -> bytes:
    """Return an encoded delegation with members replaced."""
    document = {**orjson.loads(encode_delegation(delegation())), **changes}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize("payload", [
    b"", b"[]", b"{}", b"null", b"\xff", b"[" * 1_000, changed(zzz=1), changed() + b" ", changed(schema=2),
    changed(node="x"), changed(node=None), changed(subkey="00"), changed(subkey="ab" * 32), changed(subkey=5),
    changed(launch="x"), changed(job=""), changed(nonces=[]), changed(nonces=["x"]), changed(nonces=NONCES[0]),
    changed(nonces=[NONCES[0]] * 2), changed(nonces=None), changed(notAfter=-1), changed(notAfter=1.5),
    changed(notAfter=True), changed(notAfter=2**53),
])  # fmt: skip
def test_other_bytes_are_refused(payload: bytes) -> None:
    """Junk, unknown members, other spellings and impossible values give one kind of error."""
    with pytest.raises(VerificationError):
        decode_delegation(payload)
