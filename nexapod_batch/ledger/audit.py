"""The audit of a whole ledger: every entry, every node of the tree that is kept, every head that was signed.

The tree is made again from the entries. What differs is named as closely as what is kept beside the entries allows: the
entry, the node, or, where somebody changed an entry and its mark alike, the node and the entries below it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from nexapod_batch.ledger.edge import Edge
from nexapod_batch.ledger.tree import leaf_hash, root_of_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nexapod_batch.ledger.checkpoint import Head

__all__ = ["KEPT_LEVEL", "Audited", "Fault", "SignedHead", "audit", "mark_of"]

#: Nodes of the tree are kept from this level on: 16 entries below each. Hashing those again takes 20 microseconds.
KEPT_LEVEL = 4
#: Faults that are listed; a ledger with more is not read to its end.
MAX_FAULTS = 100

_BLOCK = 1 << KEPT_LEVEL
_MARK_BYTES = 6


#: Number, content and mark of an entry.
Row: TypeAlias = tuple[int, bytes, int]


class Fault(NamedTuple):
    """Something that does not hold together."""

    place: str  # "entry 13", "node 4/0", "head of 120 entries"
    what: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.place}: {self.what}"


class SignedHead(NamedTuple):
    """A head that the ledger must continue."""

    head: Head
    source: str = ""  # where it is from, for people; "": it is kept beside the ledger


class Audited(NamedTuple):
    """What an audit found."""

    size: int
    root: bytes
    heads: int  # signed heads that were compared
    faults: tuple[Fault, ...]


def mark_of(leaf: bytes) -> int:
    """Return what is kept beside an entry of its leaf hash: six bytes of it."""
    return int.from_bytes(leaf[:_MARK_BYTES], "big")


def audit(
    entries: Iterable[Row],
    levels: Sequence[int],
    nodes: Callable[[int], Iterator[tuple[int, bytes]]],
    heads: Iterable[SignedHead],
) -> Audited:
    """Make the tree of all entries (number, content, mark) again, in order, and compare.

    `nodes` returns number and hash of the kept nodes of a level, in order. `heads` are in the order of their sizes.
    """
    check = _Check({level: nodes(level) for level in levels}, heads)
    for block in _blocks(entries, check):
        check.block(block)
        if len(check.faults) >= MAX_FAULTS:
            break
    else:
        check.end()
    return Audited(check.size, check.root(), check.compared, tuple(check.faults))


def _blocks(entries: Iterable[Row], check: _Check) -> Iterator[list[bytes]]:
    """Yield the leaf hashes of 16 entries each, of fewer at the end; a gap is the end."""
    rows, first = iter(entries), 0
    while block := list(islice(rows, _BLOCK)):
        is_whole = block[0][0] == first and block[-1][0] == first + len(block) - 1  # they come in order
        if not is_whole:
            block = _before_gap(block, first, check)
        leaves = [leaf_hash(entry) for _, entry, _ in block]
        for (number, _, mark), leaf in zip(block, leaves, strict=True):
            if int.from_bytes(leaf[:_MARK_BYTES], "big") != mark:
                check.changed(number)
        if leaves:
            yield leaves
        if not is_whole:
            break
        first += len(block)


def _before_gap(block: list[Row], first: int, check: _Check) -> list[Row]:
    """Return the entries before the first that is missing, which is named."""
    expected = first
    for number, _, _ in block:
        if number != expected:
            missing = f"entry {expected}" if number == expected + 1 else f"entries {expected} to {number - 1}"
            check.faults.append(Fault(missing, "missing; what comes after cannot be checked"))
            break
        expected += 1
    return block[: expected - first]


class _Check:
    """A tree that is made again, and what it is compared with."""

    def __init__(self, kept: dict[int, Iterator[tuple[int, bytes]]], heads: Iterable[SignedHead]) -> None:
        self.faults: list[Fault] = []
        self.size = 0
        self.compared = 0
        self._kept = kept
        self._next = {level: next(rows, None) for level, rows in kept.items()}
        self._heads = iter(heads)
        self._head = next(self._heads, None)
        self._blocks = Edge()  # over the hashes of whole blocks
        self._rest: list[bytes] = []  # leaves after the last whole block
        self._suspects: list[tuple[int, int]] = []  # first and last entry of what is known to be wrong

    def changed(self, number: int) -> None:
        """Note that an entry is not the one that was appended."""
        self.faults.append(Fault(f"entry {number}", "it is not what was appended: it was changed"))
        self._suspects.append((number, number))

    def block(self, leaves: list[bytes]) -> None:
        """Add up to 16 entries; only the last ones of all may be fewer."""
        first = self.size
        while self._head is not None and self._head.head.size < first + len(leaves):
            self._rest = leaves[: max(0, self._head.head.size - first)]
            self._compare_head(self._head)
        self.size += len(leaves)
        if len(leaves) < _BLOCK:
            self._rest = leaves
        else:
            self._rest = []
            whole = root_of_whole(leaves)
            number = self._blocks.size
            self._node(KEPT_LEVEL, number, whole)
            for node in self._blocks.add(whole):
                self._node(node.level + KEPT_LEVEL, node.number, node.hash)
        while self._head is not None and self._head.head.size == self.size:
            self._compare_head(self._head)

    def end(self) -> None:
        """Find what is kept beyond the last entry: nodes, and heads of a ledger that was longer."""
        while self._head is not None:
            if self._head.head.size == self.size:
                self._compare_head(self._head)
                continue
            what = f"signed ({self._head.source or 'kept here'}), and there are only {self.size}: its end was cut off"
            self.faults.append(Fault(f"head of {self._head.head.size} entries", what))
            self._head = next(self._heads, None)
        for level, row in self._next.items():
            left = row
            while left is not None and len(self.faults) < MAX_FAULTS:
                self.faults.append(Fault(f"node {level}/{left[0]}", "there are no entries that it could be made of"))
                left = next(self._kept[level], None)

    def root(self) -> bytes:
        """Return the root of all entries so far."""
        edge = self._blocks.copy(KEPT_LEVEL)
        for leaf in self._rest:
            edge.add(leaf)
        return edge.root()

    def _compare_head(self, signed: SignedHead) -> None:
        self.compared += 1
        size = signed.head.size
        is_explained = any(first < size for first, _ in self._suspects)
        if self.root() != signed.head.root and (signed.source or not is_explained):
            what = f"signed ({signed.source or 'kept here'}), and the entries are not those that it was signed of"
            self.faults.append(Fault(f"head of {size} entries", what))
        self._head = next(self._heads, None)

    def _node(self, level: int, number: int, made: bytes) -> None:
        row = self._next.get(level)
        while row is not None and row[0] < number:  # cannot be, with a primary key
            row = next(self._kept[level], None)
        if row is None or row[0] > number:
            self.faults.append(Fault(f"node {level}/{number}", "missing"))
            return
        self._next[level] = next(self._kept[level], None)
        if row[1] == made:
            return
        first, last = number << level, ((number + 1) << level) - 1
        if any(first <= suspect and until <= last for suspect, until in self._suspects):
            return  # what is wrong below it is named already
        self._suspects.append((first, last))
        what = f"it is not the hash of entries {first} to {last}: it was changed, or one of them was"
        self.faults.append(Fault(f"node {level}/{number}", what))
