"""Nodes, as far as anybody may know of them."""

from __future__ import annotations

from msgspec import Struct

from nexapod_batch.coordinator.queries import views
from nexapod_batch.server.calls import Access, Call, Query, Route
from nexapod_batch.server.paging import LIMIT, limit_of

__all__ = ["ROUTES"]

#: What is told of a node.
_AFTER = Query("after", str, "The name of the last node of the page before.")


class NodeShown(Struct, frozen=True, kw_only=True):
    """What anybody may know of a node."""

    id: str  # its name, as the NexaPod documents have it
    name: str
    key: str  # fingerprint of its key
    tier: str
    status: str  # `available`, `busy` or `offline`, as the NexaPod documents have it
    cpus: int
    mem_mib: int
    gpus: int
    gpu_type: str
    out: int  # replicas that it has
    created: str | None


class Nodes(Struct, frozen=True, kw_only=True):
    """A page of nodes by name."""

    items: list[NodeShown]
    next: str | None
    nodes: list[NodeShown]  # the same as `items`, as the NexaPod documents have it


async def listing(call: Call) -> Nodes:
    """Return a page of nodes."""
    limit, after = limit_of(call), call.query.get("after", "")
    found = await call.service.read(lambda c: views.nodes(c.store))
    left = [node for node in found if node["name"] > after]
    items = [_shown(node) for node in left[:limit]]
    return Nodes(items=items, next=items[-1].name if len(left) > limit else None, nodes=items)


def _shown(node: views.Document) -> NodeShown:
    status = "offline"
    if node["active"]:
        status = "busy" if node["out"] else "available"
    return NodeShown(
        id=node["name"], name=node["name"], key=node["key"], tier=node["tier"], status=status, cpus=node["cpus"],
        mem_mib=node["mem_mib"], gpus=node["gpus"], gpu_type=node["gpu_type"] or "", out=node["out"],
        created=node["created"],
    )  # fmt: skip


ROUTES = (
    Route(
        method="GET", path="/v1/nodes", access=Access.PUBLIC, handler=listing, answers=Nodes, query=(_AFTER, LIMIT),
        summary="The nodes, by name.",
    ),
    Route(
        method="GET", path="/nodes", access=Access.PUBLIC, handler=listing, answers=Nodes, query=(_AFTER, LIMIT),
        summary="As /v1/nodes; the path of the NexaPod documents.",
    ),
)  # fmt: skip
