"""What the largest hosts of each partition have for jobs, so that packing never asks for more than there is.

The site file says what it was told, which may be what the machines have and not what Slurm leaves of it. Slurm is asked
once a day, when replicas are about to be placed, and what it said is kept in a file. Where it does not say, the site
file alone counts.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, read_nodes
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.jobs.capacity import Capacity
    from nexapod_batch.model.job import Resources
    from nexapod_batch.model.site import Partition

__all__ = ["Largest", "largest"]

#: Seconds for which an answer counts, and after which Slurm is asked again where there was none.
_KNOWN_S, _SILENT_S = 86_400.0, 900.0


class Largest:
    """The largest hosts of one cluster."""

    def __init__(self, slurm: Slurm, file: Path) -> None:
        """Remember whom to ask and where it is kept."""
        self._slurm, self._file = slurm, file

    def look(self, now: float) -> None:
        """Ask Slurm when it is time to; what fails is left for a while."""
        until, _ = self._kept()
        if 0 <= until - now <= _KNOWN_S:
            return
        found: Mapping[str, tuple[int, int]] = {}
        with suppress(NexapodError):
            found = largest(read_nodes(self._slurm.call(SCONTROL_NODES).stdout))
        until = now + (_KNOWN_S if found else _SILENT_S)
        with suppress(OSError):  # then it is asked at the next occasion
            own_folder(self._file.parent, below=self._file.parents[1])
            document = json.dumps({"until": until, "largest": found}).encode()
            atomic.write(self._file, document, mode=0o600, durable=False)

    def fitted(self, partition: Partition, resources: Resources) -> Partition:
        """Return the partition with no more for packing than its largest hosts have; one replica keeps its place."""
        has = self._kept()[1].get(partition.name)
        if has is None:
            return partition
        cpus = min(partition.max_cpus, max(has[0], resources.cpus))
        mem_mib = min(partition.max_mem_mib, max(has[1], resources.mem_mib or 0))
        return replace(partition, max_cpus=cpus, max_mem_mib=mem_mib)

    def _kept(self) -> tuple[float, dict[str, tuple[int, int]]]:
        """Return until when the last answer counts, and the answer."""
        try:
            kept: dict[str, Any] = careful.load(self._file)
            found = {str(name): (int(cpus), int(mem_mib)) for name, (cpus, mem_mib) in kept["largest"].items()}
            return float(kept["until"]), found
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return 0.0, {}


def largest(nodes: Mapping[str, Capacity]) -> dict[str, tuple[int, int]]:
    """Return the most CPUs and the most MiB that a host of each partition has for jobs."""
    found: dict[str, tuple[int, int]] = {}
    for one in nodes.values():
        for name in one.partitions:
            cpus, mem_mib = found.get(name, (1, 1))
            found[name] = (max(cpus, one.cpus), max(mem_mib, one.mem_mib))
    return found
