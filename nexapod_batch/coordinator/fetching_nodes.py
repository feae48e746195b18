"""Which nodes fetch inputs by themselves, because their site or, where they joined, their owner says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.joined import is_joined_site

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["fetch_folder"]


def fetch_folder(c: Coordinator, node: Node) -> str:
    """Return where a node keeps the inputs that it fetches by itself; "" where all of them are brought."""
    if not is_joined_site(node.site):  # one that joined says it itself
        site = c.sites().get(node.site)
        if site is None or site.fetch == "here":
            return ""
    return c.backend(node).fetch_folder(c.context(node))
