"""Possession tags: bound to the bytes, to the replica and to the node, and found again by who has the bytes."""

from __future__ import annotations

import hashlib
import hmac
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joined_nodes import Given, JoinedNode

from nexapod_batch.coordinator.evidence.possession import had_none
from nexapod_batch.model.replica import ReplicaName
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.possession import combined, key_for, tags_of
from nexapod_batch.trust.statement_decoder import decode
from nexapod_batch.trust.statement_encoder import encode

if TYPE_CHECKING:
    from nexapod_batch.trust.statement import Statement

NONCE, NODE = "ab" * 16, Signer.from_seed(b"n" * 32)
FILES = {"a.txt": b"alpha", "b/c.bin": b"\0" * 3_000_000, "empty": b""}


def statement(files: dict[str, bytes], nonce: str = NONCE) -> Statement:
    """Return what an honest node states of files."""
    node = JoinedNode.__new__(JoinedNode)  # no home: it only signs
    node.name, node.signer = "n", NODE
    given = Given(ReplicaName(1, 0, 1), nonce, "u", b'{"quorum":{"agree":2,"distinct":["owner"]}}', NODE)
    return node.statement(given, files)


def liars(said: Statement, files: dict[str, bytes], signed: dict[str, bytes] | None = None) -> set[int]:
    """Return who never had files whose digests are those of `signed`."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in (signed or files).items()}
    return had_none({7: said}, digests, lambda name: io.BytesIO(files[name]))


def test_the_tag_is_an_hmac_of_the_bytes() -> None:
    """Worked out a second way, from the definition in the documentation."""
    key = hashlib.sha256(f"nexapod-batch possession 1\n{NONCE}\n{NODE.key_id}".encode()).digest()
    lines = [f"{hmac.new(key, data, 'sha256').hexdigest()}  {name}\n" for name, data in sorted(FILES.items())]
    assert statement(FILES).possession == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_who_had_the_bytes_is_believed() -> None:
    """Whatever their sizes; and one without a tag is passed over."""
    assert liars(statement(FILES), FILES) == set()
    assert liars(statement(FILES)._replace(possession=""), FILES) == set()


WRONG = {
    "of other bytes": statement({**FILES, "a.txt": b"alphA"}).possession,
    "of fewer files": statement({"a.txt": b"alpha"}).possession,
    "of another replica": statement(FILES, "cd" * 16).possession,
    "made of the digests": combined((name, hashlib.sha256(data).hexdigest()) for name, data in FILES.items()),
    "invented": "0" * 64,
}


@pytest.mark.parametrize("tag", WRONG.values(), ids=WRONG)
def test_a_tag_that_is_not_that_of_the_bytes(tag: str) -> None:
    """A copied digest without the bytes is worth nothing, nor is the tag that another replica has for them."""
    assert liars(statement(FILES)._replace(possession=tag), FILES) == {7}


def test_bytes_that_changed_later_are_no_lie() -> None:
    """The tag is held to the bytes that were signed, and to no others."""
    said = statement(FILES)
    assert liars(said, {**FILES, "a.txt": b"rotten"}, FILES) == set()


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_how_it_is_cut_does_not_matter(chunks: list[bytes]) -> None:
    """A tag is of the bytes, not of how they were read; several keys are served by one reading."""
    keys = [key_for(NONCE, "one"), key_for(NONCE, "two")]
    whole = tags_of(keys, [b"".join(chunks)])
    assert tags_of(keys, chunks) == whole
    assert whole[1][0] != whole[1][1]


@pytest.mark.parametrize("tag", ["", "A" * 64, "a" * 63, "g" * 64])
def test_a_statement_carries_a_tag_or_none(tag: str) -> None:
    """One byte form, with a field or without; nothing else can be signed."""
    said = statement(FILES)
    assert decode(encode(said)) == said
    if tag == "":
        assert (b"possession" in encode(said._replace(possession=tag)), b"possession" in encode(said)) == (False, True)
    else:
        with pytest.raises(ValueError, match="possession"):
            encode(said._replace(possession=tag))
