"""How tightly replicas may be packed for whom: what Slurm does not take, or never starts, is packed less tightly.

A packed job is larger and longer than what a user asked for, so a QOS, an association or a host may forbid it although
each replica keeps every limit. Which shapes that concerns is learnt from Slurm's own words, kept in a file, and tried
anew after a day: limits change.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.model.job import Resources

__all__ = ["BARE", "PACKED", "SINGLE", "PackLimits", "shape_of"]

#: How tightly: as the site file has it; each replica for itself; and without a minute more than it asks for.
PACKED, SINGLE, BARE = 0, 1, 2
_FORGET_S = 86_400.0
_MOST = 1_000  # shapes that are remembered


def shape_of(charged: str, resources: Resources) -> str:
    """Return what of a job Slurm's limits see: to whom it is charged, and the size of one replica."""
    sizes = (resources.nodes, resources.ntasks, resources.cpus_per_task, resources.mem_mib, resources.gpus)
    told = ["" if one is None else str(one) for one in (*sizes, resources.time_s)]
    return f"{charged} {'/'.join(told)}"


class PackLimits:
    """What was learnt of one site."""

    def __init__(self, file: Path) -> None:
        """Remember where it is kept."""
        self._file = file

    def level(self, shape: str, now: float) -> int:
        """Return how tightly replicas of a shape may be packed."""
        level, at = self._known().get(shape, (PACKED, 0.0))
        return level if 0 <= now - at < _FORGET_S else PACKED

    def learn(self, shape: str, level: int, now: float) -> bool:
        """Remember that a shape was not taken at a level; say whether that is news."""
        if self.level(shape, now) > level:
            return False
        known = self._known()
        known[shape] = (level + 1, now)
        newest = sorted(known.items(), key=lambda one: one[1][1])[-_MOST:]
        own_folder(self._file.parent, below=self._file.parents[1])
        atomic.write(self._file, json.dumps(dict(newest)).encode(), mode=0o600)
        return True

    def _known(self) -> dict[str, tuple[int, float]]:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            known = json.loads(self._file.read_bytes())
            return {str(shape): (int(level), float(at)) for shape, (level, at) in known.items()}
        return {}
