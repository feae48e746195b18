"""Owners: people and labs that answer for nodes that joined. Nodes of one that is not approved get no work.

An owner comes with a node: approved by whoever approves that node, or by whoever handed out its join token, unless the
server asks for a word on each new owner. The ledger has every change. What was placed before a change goes on, and
counts: a verdict must not change because somebody is suspended.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.errors import NotFoundError, UsageError
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.model.owner import OwnerState
from nexapod_batch.model.words import OWNER, OWNER_WORDS
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from typing import Any

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["brought", "change", "check_name", "listed"]

_OWNER = re.compile(OWNER)


def check_name(name: str) -> None:
    """Raise UsageError unless a text can be the name of an owner."""
    if not _OWNER.fullmatch(name):
        raise UsageError("not an owner", got=repr(name[:80]), wanted=OWNER_WORDS)


def change(c: Coordinator, name: str, state: OwnerState, by: str, *, new: bool = False) -> None:
    """Say whether the nodes of an owner get work; `new` for one of whom nobody has heard yet.

    Raises:
        NotFoundError: There is no such owner.
        UsageError: The name is none, or the owner is there already.

    """
    check_name(name)
    with writer(c.store, wait_s=PATIENCE_S), c.store.atomic():
        known = [row["owner"] for row in listed(c)]
        if new and name in known:
            raise UsageError("this owner is there already", got=repr(name), hint="nexapod-batch owner ls lists all")
        if not new and name not in known:
            wanted, hint = ", ".join(known) or "none yet", "nexapod-batch owner new makes one"
            raise NotFoundError("there is no such owner", got=repr(name), wanted=wanted, hint=hint)
        _put(c, name, state, by)


def brought(c: Coordinator, name: str, state: OwnerState, by: str) -> None:
    """Note the owner of a node that joins, in the caller's transaction; one that waits is approved with its node."""
    known = c.store.people.owner(name)
    if known is None or (known.state == OwnerState.WAITS and state is OwnerState.APPROVED):
        _put(c, name, state, by)


def listed(c: Coordinator) -> list[dict[str, Any]]:
    """Return every owner of nodes that joined, and those of whom something was said, by name."""
    nodes: dict[str, list[str]] = {}
    for node in c.nodes():
        if node.joined:
            nodes.setdefault(node.owner, []).append(node.name)
    rows = {row.name: row for row in c.store.people.owners()}
    found = []
    for name in sorted(nodes.keys() | rows.keys()):
        row = rows.get(name)
        state, by = (OwnerState.APPROVED.value, "") if row is None else (row.state, row.by)
        since = None if row is None else row.since
        found.append({"owner": name, "state": state, "by": by, "since_ms": since, "nodes": sorted(nodes.get(name, []))})
    return found


def _put(c: Coordinator, name: str, state: OwnerState, by: str) -> None:
    c.store.people.put_owner(name=name, state=state.value, by=by[:200], now=c.now())
    c.store.ledger.append([event(Kind.OWNER, c.now(), owner=name, state=state.value, by=by[:200])])
