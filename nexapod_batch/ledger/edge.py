"""The right edge of a growing tree: all that is needed to append to it, and to know its root.

A tree of n entries is made of whole subtrees, one for each bit of n that is set; their hashes are the edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.ledger.tree import EMPTY_ROOT, Node, node_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Edge"]


class Edge:
    """The edge of a tree, which moves with every entry that is added."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Mapping[int, bytes] | None = None) -> None:
        """Take the number of entries, and for each bit of it that is set the hash of that subtree, by its level."""
        self.size = size
        self._hashes = dict(hashes or {})

    def add(self, leaf: bytes) -> Sequence[Node]:
        """Append an entry with this leaf hash; return the nodes above it that are whole now, the lowest first."""
        number, level, current = self.size, 0, leaf
        self.size += 1
        made: list[Node] = []
        while number & 1:
            current = node_hash(self._hashes[level], current)
            level, number = level + 1, number >> 1
            made.append(Node(level, number, current))
        self._hashes[level] = current
        return made

    def copy(self, level: int = 0) -> Edge:
        """Return the edge of the same tree, as one over entries where the entries of this are nodes of that level."""
        return Edge(self.size << level, {above + level: value for above, value in self._hashes.items()})

    def root(self) -> bytes:
        """Return the root of the tree as it is."""
        found = None
        for level in range(self.size.bit_length()):
            if self.size >> level & 1:
                found = self._hashes[level] if found is None else node_hash(self._hashes[level], found)
        if found is None:
            return EMPTY_ROOT
        return found
