"""Rosters by the rules of TUF: as many as must have signed, of this version and of the one before, in time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.metadata import Metadata, Root

from nexapod_batch.errors import UsageError, VerificationError
from nexapod_batch.ledger.note import NoteKey
from nexapod_batch.ledger.roster import MAX_ROSTER, Anchors, checked, draft, opened, signed
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A, B, C, D = (Signer.from_seed(letter * 32) for letter in (b"a", b"b", b"c", b"d"))
NOW, LATER = datetime(2026, 11, 30, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC)
ANCHORS = Anchors(coordinators=(str(NoteKey("nexapod-batch/ab", A.public)),), urls=("https://example.org/ledger",))


def roster(
    by: Sequence[Signer] = (A, B), members: Sequence[Signer] = (A, B, C), threshold: int = 2, previous: bytes | None = None,
    expires: datetime = LATER,
) -> bytes:  # fmt: skip
    """Return a roster that some have signed."""
    data = draft([one.public for one in members], threshold, expires, ANCHORS, previous)
    for one in by:
        data = signed(data, one, previous)
    return data


FIRST = roster()


def test_the_first_one_counts_when_enough_of_its_own_signed() -> None:
    """What it says comes back, with who signed it."""
    found = checked(FIRST, None, NOW)
    assert (found.version, found.threshold, found.expires) == (1, 2, LATER)
    assert found.members == (A.key_id, B.key_id, C.key_id)
    assert found.signed_by == (A.key_id, B.key_id)
    assert found.anchors == ANCHORS


def test_the_next_one_needs_both_versions() -> None:
    """Two of the three before, one of whom leaves, and two of its own."""
    second = roster(by=(A, B, D), members=(A, D), previous=FIRST)
    assert checked(second, FIRST, NOW).members == (A.key_id, D.key_id)
    assert checked(roster(by=(A, D), members=(A, D), previous=second), second, NOW).version == 3


def test_python_tuf_reads_it_as_root_metadata() -> None:
    """And verifies it by itself."""
    metadata: Metadata[Root] = Metadata.from_bytes(FIRST)
    metadata.verify_delegate(Root.type, metadata)


def changed(change: Callable[[Any], None], data: bytes = FIRST) -> bytes:
    """Return a roster that was changed after it was signed."""
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def twice(document: Any) -> None:
    """Give one key two names, so that its signature would count twice."""
    keys, role = document["signed"]["keys"], document["signed"]["roles"]["root"]
    name = role["keyids"][0]
    keys["f" * 64] = keys[name]
    role["keyids"].append("f" * 64)
    document["signatures"].append({**document["signatures"][0], "keyid": "f" * 64})


SECOND = roster(by=(A, B, D), members=(A, D), previous=FIRST)
REFUSED: dict[str, tuple[bytes, bytes | None, str]] = {
    "one signature of two": (roster(by=(A,)), None, "too few signed.*got 1 members of its own, wanted at least 2"),
    "none": (roster(by=()), None, "too few signed"),
    "too few of before": (roster(by=(A, D), members=(A, D), previous=FIRST), FIRST, "got 1 members of the version before"),
    "too few of its own": (roster(by=(A, B), members=(A, D), previous=FIRST), FIRST, "got 1 members of its own"),
    "the same version": (FIRST, FIRST, "got version 1, wanted version 2"),
    "an older version": (FIRST, SECOND, "it is older than the one that is trusted"),
    "a version too far": (roster(by=(A, D), members=(A, D), previous=SECOND), FIRST, "give the versions between first"),
    "expired": (roster(expires=datetime(2026, 11, 1, tzinfo=UTC)), None, "has expired: got 2026-11-01"),
    "other anchors": (changed(lambda one: one["signed"]["x-nexapod"].update(urls=["https://evil.example"])), None, "too few signed"),
    "a lower threshold": (changed(lambda one: one["signed"]["roles"]["root"].update(threshold=1)), None, "too few signed"),
    "one key under two names": (changed(twice, roster(by=(A,))), None, "is not what its name says"),
    "no anchors": (changed(lambda one: one["signed"].pop("x-nexapod")), None, "not a roster"),
    "anchors of another form": (changed(lambda one: one["signed"]["x-nexapod"].update(urls=[1])), None, "another form"),
    "an anchor that is no key": (changed(lambda one: one["signed"]["x-nexapod"].update(witnesses=["x"])), None, "not a key for notes"),
    "another role": (changed(lambda one: one["signed"].update(_type="targets")), None, "not a roster"),
    "a key twice in an object": (FIRST.replace(b'"signatures"', b'"signatures": [], "signatures"', 1), None, "a key stands in it twice"),
    "no JSON": (b"junk", None, "not a roster"),
    "nothing": (b"", None, "not a roster"),
    "a list": (b"[]", None, "not a roster"),
    "nested": (b"[" * 100_000, None, "nested too deeply"),
    "too large": (b" " * (MAX_ROSTER + 1), None, "too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_follow_the_rules_is_refused(case: str) -> None:
    """With what is missing."""
    data, previous, why = REFUSED[case]
    with pytest.raises(VerificationError, match=f"(?s){why}") as refused:
        checked(data, previous, NOW)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("threshold", [0, 4, -1])
def test_a_threshold_is_within_reach(threshold: int) -> None:
    """Of the members that there are, each counted once."""
    with pytest.raises(UsageError, match="that many members cannot sign"):
        draft([one.public for one in (A, B, C, A)], threshold, LATER, ANCHORS)


def test_who_is_no_member_does_not_sign() -> None:
    """Members of the version before do: they hand on."""
    with pytest.raises(UsageError, match="no member's"):
        signed(FIRST, D)
    assert opened(roster(by=(B,), members=(A, D), previous=FIRST)).signed_by == ()
