"""A node as a witness: which heads it believes, what it signs for, and what it makes of a ledger that does not continue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import json as msgjson

from nexapod_batch.agent.witness import Witness, compared, read
from nexapod_batch.errors import UnreachableError, VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import Head, Proof, checkpoint, head_of
from nexapod_batch.ledger.edge import Edge
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.ledger.tree import Node, consistency_proof, inclusion_proof, leaf_hash
from nexapod_batch.mesh.witnessing import ForkError, OtherHead, WitnessAnswer, WitnessCall, cosignature_of
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COORDINATOR, NODE, OTHER = (Signer.from_seed(letter * 32) for letter in (b"c", b"n", b"o"))
EPOCH_2 = event(Kind.TAKEN_OVER, 9, epoch=2, size=3, root="r=")
EPOCH_3 = event(Kind.TAKEN_OVER, 9, epoch=3, size=3, root="r=")


class Log:
    """A coordinator with a ledger of these entries, which answers nodes by the rules."""

    def __init__(self, entries: Sequence[bytes], *, epoch: int = 1, key: Signer = COORDINATOR, origin: str = "log") -> None:
        """Hash every entry."""
        self.entries, self.epoch, self.key, self.origin = list(entries), epoch, key, origin
        self.others: list[tuple[str, Signer, str]] = []  # name and key of other nodes, and what they signed for
        self.cosigned: list[str] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        edge = Edge()
        for number, entry in enumerate(self.entries):
            leaf = leaf_hash(entry)
            for node in (Node(0, number, leaf), *edge.add(leaf)):
                self._nodes[node.level, node.number] = node.hash
        self.head = Head(origin, edge.size, edge.root())

    def _node(self, level: int, number: int) -> bytes:
        return self._nodes[level, number]

    def post(self, path: str, body: bytes) -> bytes:
        """Answer a node."""
        assert path == "/v1/witness"
        call = msgjson.decode(body, type=WitnessCall)
        if call.cosigned:
            self.cosigned.append(call.cosigned)
        size, note = self.head.size, checkpoint(self.head, self.key)
        hashes = consistency_proof(call.size, size, self._node) if 0 < call.size <= size else []
        began = ""
        for number, entry in enumerate(self.entries):
            if b"taken-over" in entry and self.epoch > call.epoch:
                began = str(Proof(number, tuple(inclusion_proof(number, size, self._node)), note, entry))
        answer = WitnessAnswer(
            checkpoint=str(note), consistency=tuple(one.hex() for one in hashes), epoch=self.epoch, taken_over=began,
            others=tuple(self._shown(*other) for other in self.others), also=tuple(map(self._proof, call.also)),
        )  # fmt: skip
        return msgjson.encode(answer)

    def _proof(self, size: int) -> tuple[str, ...]:
        known = 0 < size <= self.head.size
        return tuple(one.hex() for one in consistency_proof(size, self.head.size, self._node)) if known else ()

    def _shown(self, name: str, key: Signer, cosigned: str) -> OtherHead:
        proof = self._proof(head_of(notes.parse(cosigned)).size)
        return OtherHead(node=name, key=key.public.hex(), cosigned=cosigned, consistency=proof)


def entries(count: int, letter: str = "e") -> list[bytes]:
    """Return so many entries."""
    return [f"{letter}{number}".encode() for number in range(count)]


def no_other() -> None:
    """Find that the coordinator has no other key."""


def witness(folder: Path) -> Witness:
    """Return the witness of a node, as after a restart."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return Witness(folder / "witness.json", lambda: COORDINATOR.public, "n1", NODE)


#: What a node that saw seven entries is shown next, and whether it believes that; a word of why not.
NEXT = {
    "the same": (Log(entries(7)), ""),
    "more": (Log(entries(8)), ""),
    "much more": (Log(entries(300)), ""),
    "fewer": (Log(entries(6)), "shorter"),
    "nothing but the first": (Log(entries(1)), "shorter"),
    "as many others": (Log(entries(7, "x")), "two roots"),
    "one other": (Log([*entries(3), b"x", *entries(10)[4:]]), "rewritten"),
    "another end": (Log([*entries(6), b"x", b"y"]), "rewritten"),
    "another key": (Log(entries(8), key=OTHER), "signed"),
    "another ledger": (Log(entries(8), origin="other"), "signed"),
    "a new epoch that continues": (Log([*entries(7), EPOCH_2], epoch=2), ""),
    "a new epoch from an older copy": (Log([*entries(3), EPOCH_2, b"x"], epoch=2), ""),
    "a new epoch from an older copy that grew": (Log([*entries(3), EPOCH_2, *entries(40, "x")], epoch=2), ""),
    "a new epoch that the ledger does not name": (Log([*entries(3), b"x"], epoch=2), "proof"),
    "a new epoch by the entry of another one": (Log([*entries(3), EPOCH_3], epoch=2), "begin the epoch"),
    "an older copy without a new epoch": (Log([*entries(3), EPOCH_2], epoch=1), "shorter"),
}


@pytest.mark.parametrize("what", NEXT)
def test_what_follows_is_believed_or_not(tmp_path: Path, what: str) -> None:
    """Believed heads are signed for; of others the node keeps why, and the head that it saw before, also when restarted."""
    log, why = NEXT[what]
    node, first = witness(tmp_path), Log(entries(7))
    assert node.look(first.post, 0.0, no_other) is False
    node.soon = True
    assert node.look(log.post, 0.0, no_other) is bool(why)
    again = witness(tmp_path)
    assert (why in again.trouble, bool(again.trouble)) == (True, bool(why))
    assert [cosignature_of(text, "n1", NODE.public) for text in log.cosigned] == ([] if why else [log.head])
    assert read(tmp_path / "witness.json").note == str(checkpoint((first if why else log).head, COORDINATOR))


@pytest.mark.parametrize("what", [name for name, (_, why) in NEXT.items() if why])
def test_a_ledger_that_continues_again_is_believed_again(tmp_path: Path, what: str) -> None:
    """It is told once that it does not, and goes on when the right one is there; a gap between epochs stays shown."""
    node = witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    told = []
    for _ in range(2):
        node.soon = True
        told.append(node.look(NEXT[what][0].post, 0.0, no_other))
    node.soon = True
    node.look(Log(entries(9)).post, 0.0, no_other)
    assert (told, node.trouble, node.seen.gap) == ([True, False], "", "")


def test_a_gap_between_epochs_is_shown(tmp_path: Path) -> None:
    """It says how many entries are missing, and stays when the ledger grows."""
    node = witness(tmp_path)
    for log in (Log(entries(7)), Log([*entries(3), EPOCH_2], epoch=2), Log([*entries(3), EPOCH_2, b"x"], epoch=2)):
        node.soon = True
        node.look(log.post, 0.0, no_other)
    assert node.seen.gap.startswith("epoch 2 began from an older copy: the ledger is shorter than it was: got 4 entries")
    assert (node.trouble, node.seen.epoch) == ("", 2)


def test_who_is_killed_before_it_signs_signs_for_the_same_past(tmp_path: Path) -> None:
    """What it believes is written before anything is signed: a fork that is shown after the restart is refused."""
    log = Log(entries(7))

    def cut(path: str, body: bytes) -> bytes:
        if msgjson.decode(body, type=WitnessCall).cosigned:
            raise UnreachableError("cut")
        return log.post(path, body)

    with pytest.raises(UnreachableError):
        witness(tmp_path).look(cut, 0.0, no_other)
    fork, again = Log(entries(8, "x")), witness(tmp_path)
    assert again.look(fork.post, 0.0, no_other) is True
    assert (fork.cosigned, "rewritten" in again.trouble) == ([], True)


def test_reports_are_covered_by_what_is_asked_for_later(tmp_path: Path) -> None:
    """What was let go before a head was asked for; one that is not believed covers nothing."""
    node = witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    covered = node.covered_until
    assert covered > 0
    node.soon = True
    node.look(Log(entries(3)).post, covered + 1, no_other)
    assert node.covered_until == covered


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"<html>"], ids=["nothing", "list", "empty", "page"])
def test_answers_of_something_between_say_nothing(tmp_path: Path, answer: bytes) -> None:
    """A proxy's page is no fork."""
    node = witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    node.soon = True
    with pytest.raises(UnreachableError):
        node.look(lambda _path, _body: answer, 0.0, no_other)
    assert node.trouble == ""


@pytest.mark.parametrize(
    "answer",
    [b'{"checkpoint": ""}', b'{"checkpoint": "a\\n1\\nx\\n\\n"}', b'{"checkpoint": "a", "consistency": ["zz"]}'],
    ids=["no note", "no signature", "no hashes"],
)
def test_answers_that_are_no_head(tmp_path: Path, answer: bytes) -> None:
    """Whatever comes, the node keeps what it has seen, and why it does not go on."""
    node = witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    seen = node.seen.note
    node.soon = True
    assert node.look(lambda _path, _body: answer, 0.0, no_other) is True
    assert (read(tmp_path / "witness.json").note, bool(node.trouble)) == (seen, True)


def seen_by(log: Log, name: str = "two", signer: Signer = OTHER, key: Signer | None = None) -> tuple[str, Signer, str]:
    """Return what another node signed for that was shown a ledger; with another `key` it claims to be somebody else."""
    note = checkpoint(log.head, log.key)
    return name, key or signer, str(notes.cosigned(note, name, signer, 1))


#: What another node saw where this one is shown nine entries, and whether that is told: agreed, forked, or nothing.
OTHERS = {
    "the same": (seen_by(Log(entries(9))), "agrees"),
    "less": (seen_by(Log(entries(4))), "agrees"),
    "another past": (seen_by(Log(entries(9, "x"))), "forked"),
    "another past that is shorter": (seen_by(Log(entries(4, "x"))), "forked"),
    "more than there is": (seen_by(Log(entries(11))), "forked"),
    "another past by another key": (seen_by(Log(entries(9, "x"), key=OTHER)), ""),
    "another past of another ledger": (seen_by(Log(entries(9, "x"), origin="other")), ""),
    "another past by somebody else": (seen_by(Log(entries(9, "x")), signer=NODE, key=OTHER), ""),
    "the same by somebody else": (seen_by(Log(entries(9)), signer=NODE, key=OTHER), ""),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_others_saw_must_be_the_same_ledger(tmp_path: Path, what: str) -> None:
    """Both heads of a fork are kept and nothing is signed for; what nobody vouches for says nothing."""
    other, told = OTHERS[what]
    log, node = Log(entries(9)), witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    log.others, node.soon = [other], True
    assert node.look(log.post, 0.0, no_other) is (told == "forked")
    seen = read(tmp_path / "witness.json")
    assert ("node two was shown another past" in seen.trouble, seen.disputed) == ((True, other[2]) if told == "forked" else (False, ""))
    assert (list(seen.agreeing), len(log.cosigned)) == (["two"] if told == "agrees" else [], 0 if told == "forked" else 1)


def test_a_fork_is_not_forgotten(tmp_path: Path) -> None:
    """Not with the next head that continues only what this node saw, nor by a restart; by one that continues both it is over."""
    witness(tmp_path).look(Log(entries(7)).post, 0.0, no_other)
    forked = Log(entries(9))
    forked.others = [seen_by(Log([*entries(8), b"x", b"y"]))]
    witness(tmp_path).look(forked.post, 0.0, no_other)
    witness(tmp_path).look(Log(entries(12)).post, 0.0, no_other)
    again = witness(tmp_path)
    assert "another node was shown another past" in again.trouble
    again.look(Log([*entries(8), b"x", b"y", b"z"]).post, 0.0, no_other)
    assert (again.trouble, again.seen.disputed) == ("", "")


def test_a_new_epoch_ends_a_dispute_and_says_so(tmp_path: Path) -> None:
    """As it does where this node's own past is not continued: whoever has the key can begin one, and not hide it."""
    node = witness(tmp_path)
    node.look(Log(entries(3)).post, 0.0, no_other)
    forked = Log(entries(9))
    forked.others = [seen_by(Log(entries(8, "x")))]
    for log in (forked, Log([*entries(9), EPOCH_2], epoch=2)):
        node.soon = True
        node.look(log.post, 0.0, no_other)
    assert (node.trouble, node.seen.epoch) == ("", 2)
    assert node.seen.gap == "epoch 2 does not continue what another node was shown"


def test_people_compare_what_their_nodes_saw(tmp_path: Path) -> None:
    """One ledger continues both heads, or the coordinator signed two and cannot show that."""
    node = witness(tmp_path)
    node.look(Log(entries(7)).post, 0.0, no_other)
    log = Log(entries(9))
    assert compared(log.post, node.seen, seen_by(Log(entries(8)))[2], COORDINATOR.public) == log.head
    for other in (Log(entries(8, "x")), Log(entries(20))):
        with pytest.raises(ForkError, match="was shown another past"):
            compared(log.post, node.seen, seen_by(other)[2], COORDINATOR.public)
    for other in (Log(entries(8), key=OTHER), Log(entries(8), origin="other")):
        with pytest.raises(VerificationError) as caught:
            compared(log.post, node.seen, seen_by(other)[2], COORDINATOR.public)
        assert not isinstance(caught.value, ForkError)
