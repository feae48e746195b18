"""Writing a node into the registry, and what the ledger says of that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.files.accounts import own_account
from nexapod_batch.ledger.events import Kind, digest_of, event
from nexapod_batch.store import writer
from nexapod_batch.trust.profile import signed_bytes

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.nodes import NodeFields

__all__ = ["profile_event", "record"]


def record(c: Coordinator, node: Node, envelope: bytes | None = None) -> None:
    """Write a node into the registry, or what changed of one that is there, and its signed profile."""
    fields: NodeFields = {
        "name": node.name, "key_id": node.key_id, "public_key": node.public_key, "site": node.site,
        "owner": node.owner, "host": node.host, "tier": node.tier.value, "backend": node.backend, "cpus": node.cpus,
        "mem_mib": node.mem_mib, "gpus": node.gpus, "gpu_type": node.gpu_type, "hosts": node.hosts,
        "max_queued": node.max_queued, "classes": json.dumps(dict(node.classes), sort_keys=True),
        "made_by": node.made_by if node.joined else own_account(),
    }  # fmt: skip
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        is_known = any(row.name == node.name for row in c.store.nodes.known(name=node.name, key_id=""))
        c.store.nodes.put(now=c.now(), **fields)
        row = json.dumps({**fields, "public_key": node.public_key.hex()}, sort_keys=True).encode()
        events = [
            event(
                Kind.CHANGED if is_known else Kind.REGISTERED, c.now(), node=node.name, key=node.key_id,
                owner=node.owner, site=node.site, sha256=digest_of(row),
            )
        ]  # fmt: skip
        if envelope is not None:
            c.store.nodes.put_profile(node.name, envelope)
            events.append(profile_event(c, node, envelope))
        entry = c.store.ledger.append(events)
        c.store.nodes.given(node.key_id, entry)


def profile_event(c: Coordinator, node: Node, envelope: bytes) -> bytes:
    """Return what the ledger says of a profile that the node's key signed; VerificationError where it did not."""
    signed = signed_bytes(envelope, node.key_id, node.public_key)
    return event(Kind.PROFILE, c.now(), node=node.name, sha256=digest_of(signed))
