"""Removing what nobody needs any more: launches that ended, segments that were read, folders, staged inputs.

Nothing is removed that was not taken in: a segment goes only when its writer is dead and its last byte was read.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.coordinator.commands.upkeep.left_uploads import left_uploads, remove_uploads
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.evidence.report_reader import END
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement import images
from nexapod_batch.coordinator.placement.input_cache import drop_stale, stale_inputs, unstage
from nexapod_batch.coordinator.steps.last_words import LAUNCHES_MAX, ask_ends, forgettable
from nexapod_batch.coordinator.steps.publish import clean, unclean
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import careful
from nexapod_batch.model.reason import Code
from nexapod_batch.plugins import BackendState
from nexapod_batch.quorum.expected import MAX_SKEW_MS
from nexapod_batch.spool import layout
from nexapod_batch.spool.lock import live_incarnation
from nexapod_batch.spool.segment_reader import Budget, blocks
from nexapod_batch.store import writer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["KINDS", "dead_segments", "drop_segments", "forget_ended", "gc"]

#: What is removed and counted.
KINDS = ("work_folders", "launches", "segments", "inputs", "uploads")

#: Bytes of the end of a segment that are looked through for one more line.
_REST = 4 << 20
_BATCH, _ALL = 1_000, 1_000_000
#: Seconds without a line after which the writer of a segment is dead: the longest deadline, and a day.
_SILENT_S = 8 * 86_400


def forget_ended(c: Coordinator, nodes: list[Node], faults: Faults, fully_told: Collection[int]) -> int:
    """Let the backends drop ended launches; return how many.

    Of backends that tell ends only those go of which all was told, by row id.
    """
    rows = c.store.launches.ended(LAUNCHES_MAX)
    forgotten = 0
    for node in nodes:
        mine = forgettable(c, node, [row for row in rows if row.node_id == node.id], fully_told)
        if not mine:
            continue
        try:
            c.backend(node).forget(c.context(node), [row.key for row in mine])
        except (NexapodError, OSError) as error:
            faults.of_node(Code.FORGET_FAULT, node, error)
            continue
        with c.store.atomic():
            c.store.launches.forget([row.id for row in mine])
        forgotten += len(mine)
    _expire(c, nodes, faults)
    return forgotten


def _expire(c: Coordinator, nodes: list[Node], faults: Faults) -> None:
    """Let the backends drop what keeps launches from being run again, when no runner's clock lets their bundles be."""
    rows = c.store.launches.claims_expired(before_s=(c.now() - MAX_SKEW_MS) // 1000, limit=_BATCH)
    for node in nodes:
        mine = [row for row in rows if row.node_id == node.id]
        if not mine:
            continue
        try:
            c.backend(node).expire(c.context(node), [row.key for row in mine])
        except (NexapodError, OSError) as error:
            faults.of_node(Code.FORGET_FAULT, node, error)
            continue
        with c.store.atomic():
            c.store.launches.expire_claims([row.id for row in mine])


def gc(c: Coordinator, *, dry_run: bool = False, discarded: Sequence[tuple[int, str]] = ()) -> dict[str, int]:
    """Remove everything that is kept no longer; return counts by kind. ConfigError when the settings cannot be read.

    `discarded` are segments that are gone already, as (node, name).
    """
    if dry_run:
        return {
            "work_folders": len(unclean(c, _ALL)),
            "launches": len(c.store.launches.ended(_ALL)),
            "segments": sum(len(dead_segments(c, node)) for node in usable(c, Faults())),
            "inputs": len(stale_inputs(c)),
            "uploads": len(left_uploads(c)),
        }
    c.retention()
    faults = Faults()
    nodes = usable(c, faults)
    with writer(c.store, wait_s=PATIENCE_S):
        with c.store.atomic():
            for node_id, name in discarded:
                c.store.reports.drop_segment(node_id, name)
        removed = {"work_folders": clean(c, faults, limit=_ALL), "launches": 0}
        while forgotten := forget_ended(c, nodes, faults, _ended_well(c, nodes, faults)):
            removed["launches"] += forgotten
            if faults:
                break
        removed["segments"] = drop_segments(c, nodes, faults)
        removed["inputs"] = drop_stale(c) + unstage(c, nodes, faults)
        removed["uploads"] = remove_uploads(c)
        images.hold(c)  # what ended needs its image no longer; pulls and `image prune` remove it when room is wanted
    log.info(__name__, "removed", **removed, faults=len(faults))
    return removed


def _ended_well(c: Coordinator, nodes: list[Node], faults: Faults) -> set[int]:
    """Return the launches of which nothing more is to be heard: what ended badly a pass judges, after their reports."""
    ends = ask_ends(c, nodes, faults)
    return {launch for launch, status in ends.items() if status.state is BackendState.COMPLETED}


def drop_segments(c: Coordinator, nodes: list[Node], faults: Faults) -> int:
    """Remove segments that were read to their end and whose writer is done; return how many."""
    removed = 0
    for node in nodes:
        try:
            dead = dead_segments(c, node)
            if not dead:
                continue
            c.backend(node).discard(c.context(node), dead)
        except (NexapodError, OSError) as error:
            faults.of_node(Code.SEGMENTS_FAULT, node, error)
            continue
        with c.store.atomic():
            for name in dead:
                c.store.reports.drop_segment(node.id, name)
        removed += len(dead)
    return removed


def dead_segments(c: Coordinator, node: Node) -> list[str]:
    """Return the segments of a node that were read to their end and whose writer cannot write any more.

    A runner that ends says so in its last line. One that was killed did not: its segment goes when no worker holds
    the spool, or, where several work on it, when a replica could not report any more.
    """
    context = c.context(node)
    alive = live_incarnation(context.spool)
    old = time.time() - _SILENT_S
    dead = []
    for name, position in c.store.reports.segments(node.id).items():
        path = context.spool / layout.segment(name)
        try:
            with careful.stream(path) as stream:
                stream.seek(max(0, position - len(END) - 1))
                last = stream.read(len(END) + 1)
                if next(blocks(path, position, Budget(_REST)), None) is not None:  # there is more to read
                    continue
                changed = os.fstat(stream.fileno()).st_mtime
            ended = last == END + b"\n"
            silent = changed < old if context.site else alive is None or not name.startswith(alive)
            if ended or silent:
                dead.append(name)
        except careful.NotPlainError:  # what was read is gone, and something else is there
            dead.append(name)
        except FileNotFoundError:
            continue
    return dead
