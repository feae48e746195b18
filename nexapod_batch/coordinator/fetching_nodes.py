"""Which nodes fetch inputs by themselves, because their site says so and their backend can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.model.node import LOCAL

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["fetch_folder"]


def fetch_folder(c: Coordinator, node: Node) -> str:
    """Return where a node keeps the inputs that it fetches by itself; "" where all of them are brought."""
    site = None if node.site == LOCAL else c.sites().get(node.site)
    if site is None or site.fetch == "here" or not c.backend(node).fetches:
        return ""
    return str(c.context(node).remote_spool / "fetched")
