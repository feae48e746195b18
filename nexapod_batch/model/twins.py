"""Nodes of one cluster that several site files name: they count as the first of them does. Pure.

What makes two sites one is what their schedulers say of themselves, not how their files are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.model.job import Domain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.model.node import Node

__all__ = ["with_twins"]


def with_twins(nodes: Sequence[Node], partitions: Callable[[Node], frozenset[str] | None]) -> list[Node]:
    """Return nodes, each with the domains of the first node of its cluster where another site has that one.

    `partitions` says of which a node is made, None where nobody knows: those that share one, or may, are one machine.
    """
    first: dict[str, list[Node]] = {}
    found = []
    for node in nodes:
        others = first.setdefault(node.cluster, []) if node.cluster else []
        earlier = [other for other in others if other.site != node.site]
        if earlier:
            shown = {Domain.SITE: earlier[0].site, Domain.OWNER: earlier[0].owner}
            twin = next((other for other in earlier if _share(partitions(node), partitions(other))), None)
            if twin is not None:
                shown |= {Domain.NODE: twin.key_id, Domain.HOST: twin.host}
            found.append(replace(node, counts_as=shown))
        else:
            others.append(node)
            found.append(node)
    return found


def _share(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is None or other is None or bool(one & other)
