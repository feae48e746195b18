"""From which networks nodes that joined call: taken from their mailboxes into the registry and the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.model.networks import KEPT_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["note_networks"]


def note_networks(c: Coordinator, nodes: Iterable[Node]) -> None:
    """Store networks that nodes were seen in; one that calls from elsewhere later counts with all of them."""
    for node in nodes:
        box = Mailbox(c.context(node).spool) if node.joined else None
        if box is None or not (seen := box.networks()):
            continue
        new = [network for network in seen if network not in node.networks]
        if new:
            kept = [*node.networks, *new][-KEPT_NETWORKS:]
            with c.store.atomic():
                c.store.nodes.put_networks(node.id, " ".join(kept))
                events = [event(Kind.SEEN, c.now(), node=node.name, network=network) for network in new]
                c.store.ledger.append(events)
        box.forget_networks(seen)
