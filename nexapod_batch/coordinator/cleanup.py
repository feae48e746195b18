"""Removing what nobody needs any more: launches that ended, segments that were read, folders, staged inputs.

Nothing is removed that was not taken in: a segment goes only when its writer is dead and its last byte was read.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.publish import clean
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.spool_lock import live_incarnation
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["drop_segments", "forget_ended", "gc"]

_BATCH = 1_000


def forget_ended(c: Coordinator, nodes: list[Node], faults: dict[str, str]) -> int:
    """Let the backends drop ended launches; return how many."""
    rows = c.store.all("launches_ended", limit=_BATCH)
    for node in nodes:
        mine = [row for row in rows if row["node_id"] == node.id]
        if not mine:
            continue
        try:
            c.backend(node).forget(c.context(node), [row["key"] for row in mine])
        except (NexapodError, OSError) as error:
            faults[f"forget:{node.name}"] = f"node {node.name}: {error}"
            continue
        with c.store.atomic():
            c.store.many("launch_forgotten", [(row["id"],) for row in mine])
    return len(rows)


def gc(c: Coordinator, *, dry_run: bool = False) -> dict[str, int]:
    """Remove everything that the retention rule gives up; return counts by kind."""
    if dry_run:
        rows = c.store.all("replicas_unclean", before=c.now(), limit=1_000_000)
        return {"work_folders": len(rows), "segments": sum(len(_dead_segments(c, node)) for node in c.nodes())}
    faults: dict[str, str] = {}
    with writer(c.store, wait_s=PATIENCE_S):
        removed = {"work_folders": clean(c, limit=1_000_000), "launches": 0}
        while forgotten := forget_ended(c, c.nodes(), faults):
            removed["launches"] += forgotten
            if faults:
                break
        removed["segments"] = drop_segments(c)
        removed["inputs"] = _inputs(c)
    return removed


def drop_segments(c: Coordinator) -> int:
    """Remove segments that were read to their end and whose writer is dead; return how many."""
    removed = 0
    for node in c.nodes():
        dead = _dead_segments(c, node)
        for name in dead:
            (c.context(node).spool / "reports" / name).unlink()
        if dead:
            with c.store.atomic():
                for name in dead:
                    c.store.run("segment_gone", node=node.id, name=name)
        removed += len(dead)
    return removed


def _dead_segments(c: Coordinator, node: Node) -> list[str]:
    """Return the segments of a node that were read to their end and whose writer cannot write any more."""
    spool = c.context(node).spool
    alive = live_incarnation(spool)
    dead = []
    for row in c.store.all("segments", node=node.id):
        path = spool / "reports" / row["name"]
        if alive is not None and row["name"].startswith(alive):
            continue
        try:
            with path.open("rb") as stream:
                stream.seek(row["position"])
                if b"\n" not in stream.read():  # read to its end, or torn there
                    dead.append(row["name"])
        except FileNotFoundError:
            continue
    return dead


def _inputs(c: Coordinator) -> int:
    """Remove staged inputs that no open job needs."""
    needed: set[str] = set()
    for row in c.store.all("jobs_open_documents"):
        needed.update(one["sha256"] for one in json.loads(row["body"])["inputs"])
    removed = 0
    if c.paths.inputs.is_dir():
        for entry in os.scandir(c.paths.inputs):
            if entry.name not in needed and not entry.name.startswith("."):
                os.unlink(entry.path)
                removed += 1
    return removed
