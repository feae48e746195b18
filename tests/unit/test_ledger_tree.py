"""The tree of the ledger, against the recursive definition in RFC 6962 and its published roots."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_tree import Kept

from nexapod_batch.errors import VerificationError
from nexapod_batch.ledger import tree

#: Roots of RFC 6962's well-known test entries for sizes 0 to 8 (certificate-transparency, `merkletree` tests).
ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def by_definition(entries: list[bytes]) -> bytes:
    """Return MTH(D[n]) exactly as RFC 6962 defines it."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return tree.leaf_hash(entries[0])
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return tree.node_hash(by_definition(entries[:split]), by_definition(entries[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    """Every size of the well-known tree."""
    kept = Kept(ENTRIES)
    assert tree.root(size, kept.fetch).hex() == ROOTS[size]


@given(st.integers(1, 130))
def test_roots_are_those_of_the_definition(size: int) -> None:
    """Whatever the shape of the right edge."""
    entries = [b"%d" % number for number in range(size)]
    assert tree.root(size, Kept(entries).fetch) == by_definition(entries)


def test_every_entry_is_proved_in_every_size() -> None:
    """And in no other place, under no other root, and for no other entry."""
    entries = [b"%d" % number for number in range(40)]
    fetch = Kept(entries).fetch
    for size in range(1, 41):
        top = tree.root(size, fetch)
        for index in range(size):
            proof = tree.inclusion_proof(index, size, fetch)
            leaf = tree.leaf_hash(entries[index])
            tree.verify_inclusion(leaf, index, size, proof, top)
            for other in {index - 1, index + 1, index ^ 2} - {index}:
                with pytest.raises(VerificationError):
                    tree.verify_inclusion(leaf, other, size, proof, top)
            with pytest.raises(VerificationError):
                tree.verify_inclusion(tree.leaf_hash(b"x"), index, size, proof, top)


def test_every_size_is_the_beginning_of_every_larger_one() -> None:
    """And no other tree is."""
    fetch = Kept([b"%d" % number for number in range(40)]).fetch
    forged = Kept([b"%d" % (number if number != 3 else 99) for number in range(40)]).fetch
    for new in range(1, 41):
        top = tree.root(new, fetch)
        for old in range(new + 1):
            proof = tree.consistency_proof(old, new, fetch)
            tree.verify_consistency(old, new, proof, tree.root(old, fetch), top)
            if old > 3:
                with pytest.raises(VerificationError):
                    tree.verify_consistency(old, new, proof, tree.root(old, forged), top)


@given(st.integers(1, 70), st.data())
def test_no_changed_proof_verifies(size: int, data: st.DataObject) -> None:
    """Cut, extended, with one bit changed, or reversed where that makes another one."""
    fetch = Kept([b"%d" % number for number in range(size)]).fetch
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index, size, fetch)
    changed = [[*proof, b"\0" * 32], [b"\0" * 31, *proof]]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(proof[at], "big") ^ 1 << bit).to_bytes(32, "big")
        changed += [proof[:-1], [*proof[:at], flipped, *proof[at + 1 :]]]
    if proof != proof[::-1]:
        changed.append(proof[::-1])
    for other in changed:
        with pytest.raises(VerificationError):
            tree.verify_inclusion(tree.leaf_hash(b"%d" % index), index, size, other, tree.root(size, fetch))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (1 << 70, 3)])
def test_entries_that_are_not_there_have_no_proof(index: int, size: int) -> None:
    """Asked for, and offered."""
    fetch = Kept([b"0", b"1", b"2"]).fetch
    with pytest.raises(ValueError, match="no entry"):
        tree.inclusion_proof(index, size, fetch)
    with pytest.raises(VerificationError, match="not in the tree"):
        tree.verify_inclusion(b"\0" * 32, index, size, [], b"\0" * 32)


def test_a_shorter_ledger_is_none_that_continues() -> None:
    """What was cut off was there once."""
    fetch = Kept([b"0", b"1", b"2"]).fetch
    with pytest.raises(VerificationError, match="shorter than it was"):
        tree.verify_consistency(3, 2, [], tree.root(3, fetch), tree.root(2, fetch))
    with pytest.raises(ValueError, match="does not begin"):
        tree.consistency_proof(3, 2, fetch)
