"""Making room on a full disk: what `gc` would remove goes first, and the database hears of it when there is room.

Each removal may be repeated, so a process that is killed here leaves nothing to mend. Only what the database says is
over goes: it is read as it is, and nobody else writes meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator.commands.upkeep.left_uploads import remove_uploads
from nexapod_batch.coordinator.commands.upkeep.retention import dead_segments
from nexapod_batch.coordinator.context import PATIENCE_S
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.pass_faults import Faults
from nexapod_batch.coordinator.placement.input_cache import drop_stale
from nexapod_batch.coordinator.steps.publish import remove_work, unclean
from nexapod_batch.errors import NexapodError
from nexapod_batch.store.lease import refuse_other_host
from nexapod_batch.store.lock import exclusive

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["Room", "make_room"]

_ALL = 1_000_000


class Room(NamedTuple):
    """What was removed."""

    work_folders: int
    inputs: int
    segments: list[tuple[int, str]]  # (node, name): their rows can go as well
    uploads: int

    def __bool__(self) -> bool:
        return bool(self.work_folders or self.inputs or self.segments or self.uploads)


def make_room(c: Coordinator) -> Room:
    """Remove what is kept no longer, writing nothing; BusyError when somebody is at work, ConfigError for settings."""
    faults = Faults()
    nodes = usable(c, faults)
    with exclusive(c.store.path, wait_s=PATIENCE_S):
        refuse_other_host(c.store)
        work_folders = 0
        over = unclean(c, _ALL)
        for node in nodes:
            mine = [one for one in over if one.node_id == node.id]
            if mine and remove_work(c, node, mine, faults):
                work_folders += len(mine)
        inputs = drop_stale(c)
        segments = []
        for node in nodes:
            dead = dead_segments(c, node)
            try:
                c.backend(node).discard(c.context(node), dead)
            except (NexapodError, OSError):
                continue  # `gc` tries again, and tells
            segments += [(node.id, name) for name in dead]
        uploads = remove_uploads(c)
    log.info(__name__, "made room", work_folders=work_folders, inputs=inputs, segments=len(segments))
    return Room(work_folders, inputs, segments, uploads)
