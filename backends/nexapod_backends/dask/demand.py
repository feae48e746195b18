"""How many workers the open launches of a node have work for. Pure.

A worker runs as many replicas side by side as it has threads for; replicas of one task that must agree go to different
workers, also to others than those that had one already.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nexapod_backends.dask.launch_records import Record

__all__ = ["workers_wanted"]


def workers_wanted(
    open_: Sequence[Record], threads: int, used: Callable[[Record], Collection[str]], alive: Collection[str]
) -> int:
    """Return for how many workers there is work; `used` names the workers that had a replica of a launch's tasks."""
    if not open_:
        return 0
    cpus = sum(len(one.replicas) * max(1, one.cpus) for one in open_)
    by_cpus = -(-cpus // threads)
    apart = [one for one in open_ if one.apart and not one.worker]
    return max(1, by_cpus, *_side_by_side(apart, used, alive))


def _side_by_side(
    apart: Sequence[Record], used: Callable[[Record], Collection[str]], alive: Collection[str]
) -> list[int]:
    """Return for each launch that waits how many workers its tasks need, those that had one of their replicas too."""
    together = Counter(task for one in apart for task in set(one.tasks))
    return [len(set(used(one)) & set(alive)) + max(together[task] for task in one.tasks) for one in apart]
