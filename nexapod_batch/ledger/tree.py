"""The Merkle tree of RFC 6962, section 2.1, over nodes that somebody else keeps.

A *node* (level, number) is the hash of the 2**level entries from number * 2**level on. Only nodes of whole subtrees are
kept, which never change once they are there; the right edge of a tree of any size is folded from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256 as _sha256
from typing import NamedTuple

from nexapod_batch.errors import VerificationError

__all__ = [
    "EMPTY_ROOT", "HASH_BYTES", "Fetch", "Node", "consistency_proof", "inclusion_proof", "leaf_hash",
    "node_hash", "root", "root_of_whole", "verify_consistency", "verify_inclusion",
]  # fmt: skip

HASH_BYTES = 32
#: The root of the tree without entries.
EMPTY_ROOT = _sha256(b"").digest()
#: No proof in a tree of 2**63 entries is longer.
_MAX_PROOF = 64

#: Returns the hash of a node (level, number); the caller asks only for nodes that the size of its tree implies.
Fetch = Callable[[int, int], bytes]


class Node(NamedTuple):
    """A node of a whole subtree."""

    level: int
    number: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return _sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours."""
    return _sha256(b"\1" + left + right).digest()


def root_of_whole(leaves: list[bytes]) -> bytes:
    """Return the hash of a whole subtree with these leaf hashes, a power of two of them."""
    while len(leaves) > 1:
        leaves = [_sha256(b"\1" + left + right).digest() for left, right in zip(leaves[::2], leaves[1::2], strict=True)]
    return leaves[0]


def root(size: int, fetch: Fetch) -> bytes:
    """Return the root of the tree of the first `size` entries."""
    if size:
        return _range_hash(0, size, fetch)
    return EMPTY_ROOT


def inclusion_proof(index: int, size: int, fetch: Fetch) -> list[bytes]:
    """Return the path from entry `index` to the root of the first `size` entries, the entry's sibling first.

    ValueError for an entry that such a tree does not have.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} entries has no entry {index}")
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(_range_hash(middle, last, fetch))
            last = middle
        else:
            path.append(_range_hash(first, middle, fetch))
            first = middle
    return path[::-1]


def consistency_proof(old: int, new: int, fetch: Fetch) -> list[bytes]:
    """Return what shows that the tree of `old` entries is the beginning of that of `new`; empty for 0 and for equal.

    ValueError for an old tree that is larger than the new one.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} entries does not begin with {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    first, last, whole = 0, new, True
    while first + (known := old - first) < last:
        middle = first + _split(last - first)
        if known <= middle - first:
            path.append(_range_hash(middle, last, fetch))
            last = middle
        else:
            path.append(_range_hash(first, middle, fetch))
            first, whole = middle, False
    if not whole:
        path.append(_range_hash(first, last, fetch))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], wanted: bytes) -> None:
    """Check that the entry with this leaf hash is number `index` of the tree whose root is `wanted`.

    As in RFC 9162, section 2.1.3.2. VerificationError says why it is not.
    """
    if not 0 <= index < size:
        raise VerificationError("the entry is not in the tree", got=f"entry {index} of {size}")
    found = leaf
    for sibling, is_left in _climb(index, size - 1, proof, "inclusion"):
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
    if found != wanted:
        raise VerificationError(f"entry {index} does not lead to the root", got=found.hex(), wanted=wanted.hex())


def verify_consistency(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `old` entries is the beginning of that of `new`.

    As in RFC 9162, section 2.1.4.2. VerificationError says why it is not.
    """
    if old > new or old < 0:
        raise VerificationError("the ledger is shorter than it was", got=f"{new} entries", wanted=f"at least {old}")
    if old in (0, new):
        _verify_trivial(old, proof, old_root, new_root)
        return
    path = proof if old & (old - 1) else [old_root, *proof]
    if not path:
        raise VerificationError("the consistency proof is empty")
    number, last = old - 1, new - 1
    while number % 2:
        number, last = number >> 1, last >> 1
    before = after = path[0]
    for sibling, is_left in _climb(number, last, path[1:], "consistency"):
        if is_left:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    if before != old_root:
        raise VerificationError("the ledger was rewritten", got=before.hex(), wanted=old_root.hex())
    if after != new_root:
        raise VerificationError("the ledger does not lead to its root", got=after.hex(), wanted=new_root.hex())


def _climb(number: int, last: int, path: list[bytes], what: str) -> Iterator[tuple[bytes, bool]]:
    """Yield each hash on the way up from node `number` of a level that ends with node `last`, and whether it is left.

    VerificationError for a path that does not end at the root.
    """
    if len(path) > _MAX_PROOF or any(len(sibling) != HASH_BYTES for sibling in path):
        raise VerificationError(f"not a proof of {what}", wanted=f"at most {_MAX_PROOF} hashes of {HASH_BYTES} bytes")
    for sibling in path:
        if last == 0:
            raise VerificationError(f"the {what} proof is too long", got=f"{len(path)} hashes")
        is_left = number % 2 == 1 or number == last
        yield sibling, is_left
        while is_left and number and number % 2 == 0:  # at the right edge: levels without a neighbour are passed over
            number, last = number >> 1, last >> 1
        number, last = number >> 1, last >> 1
    if last:
        raise VerificationError(f"the {what} proof is too short", got=f"{len(path)} hashes")


def _verify_trivial(old: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check what needs no proof: a tree begins with nothing, and with itself."""
    if proof:
        raise VerificationError("the consistency proof is too long", got=f"{len(proof)} hashes", wanted="none")
    known = EMPTY_ROOT if old == 0 else new_root
    if old_root != known:
        raise VerificationError("two roots for one size", got=old_root.hex(), wanted=known.hex())


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _range_hash(first: int, last: int, fetch: Fetch) -> bytes:
    """Return the hash of the entries from `first` to before `last`, where `first` is where such a subtree begins."""
    parts: list[bytes] = []
    while first < last:
        level = (last - first).bit_length() - 1
        parts.append(fetch(level, first >> level))
        first += 1 << level
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found
