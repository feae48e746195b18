"""What a node makes of the keys that its coordinator shows: those that the trusted one led to, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import json as msgjson

from nexapod_batch.agent.client import RefusedError, Reply
from nexapod_batch.agent.coordinator_keys import CoordinatorKeys
from nexapod_batch.errors import UnreachableError, VerificationError
from nexapod_batch.mesh.key_chain import KeyChain, followed
from nexapod_batch.trust.dsse import Signer
from nexapod_batch.trust.rotation import Rotation, seal_rotation

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.mesh.key_chain import TrustedKeys

A, B, C, D, THIEF = (Signer.from_seed(letter * 32) for letter in (b"a", b"b", b"c", b"d", b"t"))


def rotation(old: Signer, new: Signer) -> str:
    """Return the envelope by which a key takes the place of another one."""
    said = Rotation(ledger="log", holder="coordinator", old=old.public, new=new.public, time_ms=1)
    return seal_rotation(said, old, new).decode()


AB, BC, CD = rotation(A, B), rotation(B, C), rotation(C, D)


def chain(key: Signer, *rotations: str, under_way: tuple[str, ...] = ()) -> KeyChain:
    """Return what a coordinator shows."""
    return KeyChain(key=key.public.hex(), rotations=rotations, under_way=under_way)


#: What is shown to a node that trusts a key, and the keys that it then knows.
GOOD = {
    "never rotated": (A, chain(A), [A]),
    "once": (A, chain(B, AB), [A, B]),
    "three times": (A, chain(D, AB, BC, CD), [A, B, C, D]),
    "joined between": (B, chain(D, AB, BC, CD), [A, B, C, D]),
    "joined with the newest": (D, chain(D, AB, BC, CD), [A, B, C, D]),
    "what was before is left out": (B, chain(D, BC, CD), [B, C, D]),
}


@pytest.mark.parametrize("what", GOOD)
def test_keys_that_follow_are_trusted(what: str) -> None:
    """The newest one is in force, whatever of the chain was known."""
    known, shown, ever = GOOD[what]
    found = followed(shown, known.public)
    assert (found.current, list(found.ever)) == (ever[-1].public, [one.public for one in ever])
    assert found.bundles == {ever[-1].key_id: ever[-1].public}


#: What is shown to a node that trusts A.
BAD = {
    "another coordinator": chain(THIEF),
    "a key without its rotation": chain(B),
    "rotations that lead to it, and another key": chain(THIEF, AB),
    "one rotation is missing": chain(C, BC),
    "in another order": chain(C, BC, AB),
    "a rotation by somebody else": chain(B, rotation(THIEF, B)),
    "the old key in the middle did not sign": chain(D, AB, rotation(THIEF, C), CD),
    "the key in force is not where they lead": chain(D, AB, BC),
    "no envelope": chain(B, "{}"),
    "no text that can be read": chain(B, "\x00"),
    "a key that is none": KeyChain(key="00"),
    "a key that is no hex": KeyChain(key="zz" * 32),
    "far too many": chain(B, *[AB] * 521),
}


@pytest.mark.parametrize("what", BAD)
def test_keys_that_do_not_follow_are_not(what: str) -> None:
    """Nobody can put a key in the place of the trusted one who does not have that."""
    with pytest.raises(VerificationError):
        followed(BAD[what], A.public)


def test_bundles_that_are_under_way_are_taken() -> None:
    """Of earlier keys that the coordinator names, and that are its own; of one that was revoked nothing is."""
    found = followed(chain(D, AB, BC, CD, under_way=(C.key_id, THIEF.key_id)), A.public)
    assert found.bundles == {C.key_id: C.public, D.key_id: D.public}


class Coordinator:
    """Answers nodes who ask for keys."""

    def __init__(self, shown: KeyChain | bytes, status: int = 200) -> None:
        """Keep what is shown."""
        self.body, self.status = shown if isinstance(shown, bytes) else msgjson.encode(shown), status

    def ask(self, method: str, path: str) -> Reply:
        """Answer a node."""
        assert (method, path) == ("GET", "/v1/ledger/keys")
        return Reply(self.status, {}, self.body)


def nobody(found: TrustedKeys) -> None:
    """Be told of other keys, and do nothing."""


def keys(folder: Path) -> CoordinatorKeys:
    """Return the keys that a node knows, as after a restart."""
    return CoordinatorKeys(folder / "keys.json", A.public)


def test_what_was_followed_is_known_after_a_restart(tmp_path: Path) -> None:
    """The file keeps what shows it; the same again is no news."""
    node, coordinator = keys(tmp_path), Coordinator(chain(C, AB, BC, under_way=(B.key_id,)))
    told: list[tuple[TrustedKeys, bytes]] = []
    for _ in range(2):
        node.follow(coordinator.ask, lambda found: told.append((found, node.trusted.current)))
    expected = followed(chain(C, AB, BC, under_way=(B.key_id,)), A.public)
    assert keys(tmp_path).trusted == node.trusted == expected
    assert told == [(expected, A.public)]  # the worker knows them before a bundle is taken by them


def test_nobody_leads_back_to_an_earlier_key(tmp_path: Path) -> None:
    """Who stole the first key signs another one with it; a node that went on from it does not go there."""
    node = keys(tmp_path)
    node.follow(Coordinator(chain(B, AB)).ask, nobody)
    for shown in (chain(A), chain(THIEF, rotation(A, THIEF))):
        with pytest.raises(VerificationError, match="does not lead"):
            node.follow(Coordinator(shown).ask, nobody)
    assert keys(tmp_path).trusted.current == B.public


@pytest.mark.parametrize(("answer", "error"), [
    (Coordinator(b"", 503), RefusedError),
    (Coordinator(b"<html>"), UnreachableError),
    (Coordinator(b"[]"), UnreachableError),
    (Coordinator(b"\xff"), UnreachableError),
    (Coordinator(b"", 404), None),
])  # fmt: skip
def test_answers_that_are_none(tmp_path: Path, answer: Coordinator, error: type[Exception] | None) -> None:
    """What is known stays; an older coordinator, which has no such answer, is no fault."""
    node = keys(tmp_path)
    if error is None:
        node.follow(answer.ask, nobody)
    else:
        with pytest.raises(error):
            node.follow(answer.ask, nobody)
    assert node.trusted.current == A.public


@pytest.mark.parametrize("content", [b"", b"{", b"{}", msgjson.encode(chain(THIEF)), b"\xff\x00"])
def test_a_file_that_says_something_else_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """The key that was joined is what counts; the rest is fetched again."""
    (tmp_path / "keys.json").write_bytes(content)
    (tmp_path / "keys.json").chmod(0o600)
    node = keys(tmp_path)
    assert node.trusted.current == A.public
    node.follow(Coordinator(chain(B, AB)).ask, nobody)
    assert node.trusted.current == B.public
