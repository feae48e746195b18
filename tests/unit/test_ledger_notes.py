"""Signed notes, checkpoints and proofs, against a note that another program signed and against every change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_tree import Kept

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger import note as notes
from nexapod_batch.ledger.checkpoint import Head, Proof, checkpoint, head_of, open_checkpoint, parse_proof, verify_proof
from nexapod_batch.ledger.note import Kind, NoteKey
from nexapod_batch.ledger.tree import inclusion_proof, leaf_hash, root
from nexapod_batch.trust.dsse import Signer

#: The example in the documentation of Go's golang.org/x/mod/sumdb/note.
PUBLISHED = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

SIGNER, OTHER = Signer.from_seed(b"\1" * 32), Signer.from_seed(b"\2" * 32)
NAME = "ledger.example/a"
KEY = NoteKey(NAME, SIGNER.public)
WITNESS = NoteKey("witness.example", OTHER.public, Kind.WITNESS)


def test_a_note_that_go_signed_verifies() -> None:
    """Its key as Go writes it, too."""
    key = notes.parse_key(PUBLISHED_KEY)
    assert str(key) == PUBLISHED_KEY
    note = notes.parse(PUBLISHED)
    assert notes.opened(note, [key]) == {key: None}
    assert str(note) == PUBLISHED


@pytest.mark.parametrize(
    "text",
    [
        "", "name", "name+00000000", "name+00000000+AQ==", PUBLISHED_KEY.replace("c74f", "c74e"), PUBLISHED_KEY[:-4],
        PUBLISHED_KEY.replace("Peter", "Peter "), PUBLISHED_KEY.replace("+AR", "+Ag"), "a" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    """Also a key with the id of another one, and one of another kind."""
    with pytest.raises(VerificationError, match="not a key for notes"):
        notes.parse_key(text)


@given(st.data())
def test_no_changed_note_verifies(data: st.DataObject) -> None:
    """Whatever character of the text or of the signature is another one."""
    published = str(notes.signed("a head\n3\n", NAME, SIGNER))
    at = data.draw(st.integers(0, len(published) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != published[at]))
    changed = published[:at] + other + published[at + 1 :]
    with pytest.raises(VerificationError):
        notes.opened(notes.parse(changed), [KEY])


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "\n\n", "a\n\n", "a\n", "a\n\nb\n", "a\n\n— x\n", "a\n\n— x !!!\n", "a\n\n— x AAAA\n", "a\n\n— x y AAAAAAAA\n",
        "a\n\n- x AAAAAAAA\n", "a\x01\n\n— x AAAAAAAA\n", "a\r\n\n— x AAAAAAAA\n", "a\n\n— x AAAAAAAA", "a\n\n" + "— x AAAAAAAA\n" * 65,
        "a" * 70_000 + "\n\n— x AAAAAAAA\n",
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    """Cut, without signatures, with odd ones, with controls, or too large."""
    with pytest.raises(VerificationError):
        notes.parse(text)


def test_unknown_signatures_say_nothing_and_wrong_ones_spoil_the_note() -> None:
    """As the specification has it."""
    note = notes.cosigned(notes.signed("a\n", NAME, SIGNER), WITNESS.name, OTHER, 1_700_000_000)
    assert notes.opened(note, [KEY]) == {KEY: None}
    assert notes.opened(note, [KEY, WITNESS]) == {KEY: None, WITNESS: 1_700_000_000}
    first, second = note.signatures
    wrong = second._replace(value=second.value[:-1] + bytes([second.value[-1] ^ 1]))
    assert notes.opened(note._replace(signatures=(first, wrong)), [KEY]) == {KEY: None}
    with pytest.raises(VerificationError, match="does not verify"):
        notes.opened(note._replace(signatures=(first, wrong)), [KEY, WITNESS])
    with pytest.raises(VerificationError, match="nobody that is trusted"):
        notes.opened(note, [NoteKey("else", SIGNER.public)])


def test_a_witness_signs_a_time_and_signs_once() -> None:
    """Another time is another signature; the newer one takes the place of the older."""
    note = notes.cosigned(notes.signed("a\n", NAME, SIGNER), WITNESS.name, OTHER, 5)
    again = notes.cosigned(note, WITNESS.name, OTHER, 6)
    assert len(again.signatures) == 2
    assert notes.opened(again, [WITNESS]) == {WITNESS: 6}
    moved = again.signatures[1]._replace(value=(7).to_bytes(8, "big") + again.signatures[1].value[8:])
    with pytest.raises(VerificationError, match="does not verify"):
        notes.opened(again._replace(signatures=(moved,)), [WITNESS])


@pytest.mark.parametrize("text", ["a", "", "\n", "a\tb\n", "\na\n"])
def test_texts_that_no_note_can_have_are_not_signed(text: str) -> None:
    """They would be read as another note."""
    with pytest.raises(ValueError, match="text of a note"):
        notes.signed(text, NAME, SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "x" * 201])
def test_names_that_no_key_can_have_are_not_used(name: str) -> None:
    """A blank would end the name, a plus its key."""
    with pytest.raises(ValueError, match="name of a key"):
        notes.signed("a\n", name, SIGNER)
    with pytest.raises(ValueError, match="name of a key"):
        notes.cosigned(notes.signed("a\n", NAME, SIGNER), name, OTHER, 1)


def test_a_checkpoint_is_the_head_of_its_own_ledger() -> None:
    """One of another name, or that only a witness signed, is none."""
    head = Head(NAME, 8, b"\5" * 32)
    note = notes.parse(str(checkpoint(head, SIGNER)))
    assert open_checkpoint(note, KEY) == (head, {})
    assert open_checkpoint(notes.cosigned(note, WITNESS.name, OTHER, 9), KEY, [WITNESS]) == (head, {WITNESS: 9})
    with pytest.raises(VerificationError, match="another ledger's"):
        open_checkpoint(notes.signed(str(head._replace(origin="b")), NAME, SIGNER), KEY)
    only = notes.cosigned(note, WITNESS.name, OTHER, 9)
    with pytest.raises(VerificationError, match="itself did not sign"):
        open_checkpoint(only._replace(signatures=only.signatures[1:]), KEY, [WITNESS])


@pytest.mark.parametrize(
    "text",
    ["a\n", "a\n1\n", "a\n01\nAAAA\n", "a\n-1\nAAAA\n", "a\n1\nAAAA\n", "a\nx\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=\n\nx\n"],
)
def test_notes_that_are_no_heads_are_refused(text: str) -> None:
    """Fewer lines, a size that is none, a root of another length, an empty line."""
    with pytest.raises(VerificationError, match="not the head"):
        head_of(notes.signed(text, "a", SIGNER))


def test_an_entry_is_proved_by_one_file() -> None:
    """And no other entry, number or key by the same."""
    entries = [b"%d" % number for number in range(11)]
    fetch = Kept(entries).fetch
    note = checkpoint(Head(NAME, 11, root(11, fetch)), SIGNER)
    text = str(Proof(4, tuple(inclusion_proof(4, 11, fetch)), note))
    found = parse_proof(text)
    assert str(found) == text
    assert verify_proof(found, b"4", KEY).size == 11
    for proof, content, key in ((found, b"5", KEY), (found._replace(entry=5), b"4", KEY), (found, b"4", WITNESS)):
        with pytest.raises(VerificationError):
            verify_proof(proof, content, key)
    assert leaf_hash(b"4") not in found.path


@pytest.mark.parametrize(
    "text",
    ["", "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2\nindex 1\n\na\n\n— x AAAAAAAA\n", "c2sp.org/tlog-proof@v1\nindex 01\n\na\n",
     "c2sp.org/tlog-proof@v1\nindex 1\n!\n\na\n\n— x AAAAAAAA\n", "c2sp.org/tlog-proof@v1\n\na\n\n— x AAAAAAAA\n", "x" * 100_000],
)  # fmt: skip
def test_what_is_no_proof_is_refused(text: str) -> None:
    """Cut, of another version, with a number or a hash that is none."""
    with pytest.raises(VerificationError):
        parse_proof(text)
