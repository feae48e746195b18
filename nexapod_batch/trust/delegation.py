"""What a node signs so that a key of one launch may speak for it, and for how much.

A node's own key signs no statement. For each launch there is a subkey, and a delegation: a DSSE envelope by the node's
key that names the subkey, the launch, the digest of its job, the nonces of its replicas, and until when they may start.
A statement by a subkey counts for the node as far as the delegation goes, and no further. As with statements and
bundles there is one byte form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from nexapod_batch.errors import VerificationError
from nexapod_batch.model.reason_codes import Code
from nexapod_batch.trust.dsse import Opened, open_envelope
from nexapod_batch.trust.keys import KEY_BYTES, key_id, parse_spki, spki
from nexapod_batch.trust.statement import PAYLOAD_TYPE, Outcome
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.statement_rules import is_hex, is_key_id, whole

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from nexapod_batch.trust.statement import Statement

__all__ = [
    "DELEGATION_TYPE",
    "NOT_COVERED",
    "Delegation",
    "decode_delegation",
    "encode_delegation",
    "not_covered",
    "open_delegation",
    "open_statement",
]

DELEGATION_TYPE = "application/vnd.nexapod.delegation+json"

#: What each code of `not_covered` means, in words.
NOT_COVERED: dict[str, str] = {
    Code.DELEGATED_BY_OTHER_NODE: "the delegation is another node's",
    Code.DELEGATED_FOR_OTHER_JOB: "the delegation is for another job",
    Code.DELEGATED_FOR_OTHER_LAUNCH: "the replica belongs to another launch",
    Code.DELEGATION_ENDED: "it started after the delegation had ended",
}
#: Outcomes of what was never started: they may be told of a replica whose time had passed.
_NEVER_RAN = frozenset({Outcome.CANCELLED, Outcome.PREEMPTED, Outcome.NODE})


class Delegation(NamedTuple):
    """What a node lets one subkey say. Name every field when making one."""

    node: str  # key id of the node
    subkey: bytes  # raw public key
    launch: str  # launch key
    job: str  # SHA-256 of the pinned job
    nonces: tuple[str, ...]  # of the replicas, in the order of the bundle
    not_after: int  # seconds since 1970: no replica starts later


def encode_delegation(delegation: Delegation) -> bytes:
    """Return the one byte form of a delegation; ValueError for what cannot be signed."""
    _check(delegation)
    return _encode(delegation)


def decode_delegation(payload: bytes) -> Delegation:
    """Return the delegation of a payload whose signature was verified; VerificationError for any other bytes."""
    try:
        document = orjson.loads(payload)
        if document["schema"] != 1:
            raise VerificationError("unknown schema of a delegation", wanted=1)
        delegation = _from_document(document)
        _check(delegation)
        again = _encode(delegation)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # no JSON, other fields, impossible values
        raise VerificationError("the delegation cannot be read", got=f"{type(error).__name__}"[:200]) from error
    if again != payload:
        raise VerificationError("the delegation is not in canonical form")
    return delegation


def open_delegation(sealed: bytes, keys: Mapping[str, bytes]) -> Delegation:
    """Verify a delegation with the keys that a node has or had; VerificationError says which check failed."""
    opened = open_envelope(sealed, DELEGATION_TYPE, keys)
    delegation = decode_delegation(opened.payload)
    if delegation.node != opened.key_id:
        raise VerificationError("the delegation is another node's", got=delegation.node, wanted=opened.key_id)
    return delegation


def open_statement(sealed: bytes, delegation: bytes | None, keys: Mapping[str, bytes]) -> tuple[Opened, Statement]:
    """Verify a statement from a node's key down: node key, delegation, subkey, statement; VerificationError.

    Without a delegation the node's key itself must have signed, as it did before there were subkeys.
    """
    if delegation is None:
        opened = open_envelope(sealed, PAYLOAD_TYPE, keys)
        statement = decode(opened.payload)
        if statement.builder != opened.key_id:
            raise VerificationError("the statement names another node", got=statement.builder, wanted=opened.key_id)
        return opened, statement
    given = open_delegation(delegation, keys)
    opened = open_envelope(sealed, PAYLOAD_TYPE, {key_id(given.subkey): given.subkey})
    statement = decode(opened.payload)
    if code := not_covered(given, statement):
        raise VerificationError(f"the key of launch {given.launch} may not say this: {NOT_COVERED[code]}")
    return opened, statement


def not_covered(given: Delegation, statement: Statement, nonces: Container[str] | None = None) -> str:
    """Return the code of what is beyond a delegation in a statement, or "".

    That the subkey signed it is the caller's check. `nonces` are those of the delegation as a set, for who compares
    many statements with it.
    """
    if statement.builder != given.node:
        return Code.DELEGATED_BY_OTHER_NODE
    if statement.job_digest != given.job:
        return Code.DELEGATED_FOR_OTHER_JOB
    if statement.nonce not in (given.nonces if nonces is None else nonces):
        return Code.DELEGATED_FOR_OTHER_LAUNCH
    if statement.started_ms > given.not_after * 1000 and statement.outcome not in _NEVER_RAN:
        return Code.DELEGATION_ENDED
    return ""


def _encode(given: Delegation) -> bytes:
    document = {
        "job": given.job,
        "launch": given.launch,
        "node": given.node,
        "nonces": given.nonces,
        "notAfter": given.not_after,
        "schema": 1,
        "subkey": spki(given.subkey),  # with two lines around it a PEM file
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _from_document(document: Any) -> Delegation:  # noqa: ANN401 - parsed JSON
    return Delegation(
        node=document["node"],
        subkey=parse_spki(document["subkey"]),
        launch=document["launch"],
        job=document["job"],
        nonces=tuple(document["nonces"]),
        not_after=document["notAfter"],
    )


def _check(given: Delegation) -> None:
    """Raise ValueError or TypeError unless every value is what its field may hold."""
    if not is_key_id(given.node) or len(given.subkey) != KEY_BYTES:
        raise ValueError("no key ids")
    if not is_hex(given.launch, 32) or not is_hex(given.job, 64) or not whole(given.not_after):
        raise ValueError("no launch, no job, or no time")
    if not given.nonces or not all(is_hex(nonce, 32) for nonce in given.nonces):
        raise ValueError("no nonces")
    if len(set(given.nonces)) != len(given.nonces):
        raise ValueError("a nonce stands there twice")
