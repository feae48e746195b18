"""How many replicas one Slurm job may hold for whom: half of what Slurm does not take or start, or ends for memory.

A packed job is larger and longer than what a user asked for, so a QOS, an association or a host may forbid it although
each replica keeps every limit. Which shapes that concerns is learnt from Slurm's own words, kept in a file, and tried
anew after a day: limits change. From `BUNDLE_MAX` replicas on it takes as many steps as that number can be halved, and
one more, until a replica is alone and has no minute more than it asks for: then whatever happens is its own.
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

__all__ = ["BARE", "SINGLE", "UNBOUNDED", "PackLimits", "fewer", "shape_of"]

#: The most replicas in one Slurm job: as the site file has it; one; and one without a minute more than it asks for.
UNBOUNDED, SINGLE, BARE = 1 << 30, 1, 0
_FORGET_S = 86_400.0
_SHAPES_MAX = 1_000  # that are remembered


def shape_of(charged: str, resources: Resources) -> str:
    """Return what of a job Slurm's limits see: to whom it is charged, and the size of one replica."""
    sizes = (resources.nodes, resources.ntasks, resources.cpus_per_task, resources.mem_mib, resources.gpus)
    texts = ["" if size is None else str(size) for size in (*sizes, resources.time_s)]
    return f"{charged} {'/'.join(texts)}"


def fewer(size: int) -> int:
    """Return how many replicas a Slurm job may hold where one with `size` of them was too many: half of them."""
    return size // 2


class PackLimits:
    """What was learnt of one site."""

    def __init__(self, file: Path) -> None:
        """Remember where it is kept."""
        self._file = file

    def max_replicas(self, shape: str, now: float) -> int:
        """Return how many replicas of a shape one Slurm job may hold: `UNBOUNDED` where nothing was learnt."""
        known, at = self._known().get(shape, (UNBOUNDED, 0.0))
        return known if 0 <= now - at < _FORGET_S else UNBOUNDED

    def learn(self, shape: str, max_replicas: int, now: float) -> bool:
        """Remember that Slurm jobs of a shape may hold so many replicas; say whether that is news."""
        if self.max_replicas(shape, now) <= max_replicas:
            return False
        known = self._known()
        known[shape] = (max_replicas, now)
        newest = sorted(known.items(), key=lambda item: item[1][1])[-_SHAPES_MAX:]
        own_folder(self._file.parent, below=self._file.parents[1])
        atomic.write(self._file, json.dumps(dict(newest)).encode(), mode=0o600)
        return True

    def _known(self) -> dict[str, tuple[int, float]]:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            known = json.loads(self._file.read_bytes())
            return {str(shape): (int(max_replicas), float(at)) for shape, (max_replicas, at) in known.items()}
        return {}
