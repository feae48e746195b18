"""A tree of the ledger in memory, made entry by entry."""

from __future__ import annotations

from nexapod_batch.ledger import tree
from nexapod_batch.ledger.edge import Edge


class Kept:
    """The nodes of a tree in memory."""

    def __init__(self, entries: list[bytes]) -> None:
        """Append the entries one by one; no node may be made twice."""
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.edge = Edge()
        for number, entry in enumerate(entries):
            leaf = tree.leaf_hash(entry)
            for node in (tree.Node(0, number, leaf), *self.edge.add(leaf)):
                assert (node.level, node.number) not in self.nodes
                self.nodes[node.level, node.number] = node.hash

    def fetch(self, level: int, number: int) -> bytes:
        """Return a node."""
        return self.nodes[level, number]
