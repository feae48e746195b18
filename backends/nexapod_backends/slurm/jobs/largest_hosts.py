"""What the largest hosts of each partition have for jobs, so that packing never asks for more than there is.

The site file says what it was told, which may be what the machines have and not what Slurm leaves of it. Slurm is asked
once a day, when replicas are about to be placed, and what it said is kept in a file: the sizes of hosts that there are,
with the features that constraints name. Where it does not say, the site file alone counts.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import astuple, replace

from nexapod_backends.slurm.jobs.capacity import SCONTROL_NODES, admits, read_nodes
from nexapod_batch.errors import NexapodError
from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.cli.commands import Slurm
    from nexapod_backends.slurm.jobs.capacity import Capacity
    from nexapod_batch.model.job import Resources
    from nexapod_batch.model.site import Partition

__all__ = ["HostSize", "LargestHosts", "host_sizes"]

#: Seconds for which an answer counts, and after which Slurm is asked again where there was none.
_KNOWN_S, _SILENT_S = 86_400.0, 900.0


class HostSize(Struct, frozen=True):
    """What hosts of a partition that are alike have for jobs."""

    cpus: int
    mem_mib: int
    features: tuple[str, ...] = ()


class LargestHosts:
    """The largest hosts of one cluster."""

    def __init__(self, slurm: Slurm, file: Path, ask: Callable[[float], str | None] = lambda _: None) -> None:
        """Remember whom to ask and where it is kept; `ask` may know what scontrol would print at a time."""
        self._slurm, self._file, self._ask = slurm, file, ask

    def look(self, now: float) -> None:
        """Ask Slurm when it is time to; what fails is left for a while."""
        until, _ = self._kept()
        if 0 <= until - now <= _KNOWN_S:
            return
        found: Mapping[str, tuple[HostSize, ...]] = {}
        with suppress(NexapodError):
            text = self._ask(now)
            found = host_sizes(read_nodes(self._slurm.call(SCONTROL_NODES).stdout if text is None else text))
        until = now + (_KNOWN_S if found else _SILENT_S)
        sizes = {name: [astuple(size) for size in alike] for name, alike in found.items()}
        with suppress(OSError):  # then it is asked at the next occasion
            own_folder(self._file.parent, below=self._file.parents[1])
            document = json.dumps({"until": until, "sizes": sizes}).encode()
            atomic.write(self._file, document, mode=0o600, durable=False)

    def fitted(self, partition: Partition, resources: Resources, constraints: Sequence[str] = ()) -> Partition:
        """Return the partition with no more for packing than its largest hosts that all constraints admit have.

        One replica keeps its place: what it asks for is for Slurm to refuse.
        """
        sizes = self._kept()[1].get(partition.name, ())
        for constraint in constraints:
            sizes = tuple(size for size in sizes if admits(constraint, size.features))
        if not sizes:
            return partition
        max_cpus = max(resources.cpus, *(size.cpus for size in sizes))
        max_mem_mib = max(resources.mem_mib or 0, *(size.mem_mib for size in sizes))
        return replace(
            partition, max_cpus=min(partition.max_cpus, max_cpus), max_mem_mib=min(partition.max_mem_mib, max_mem_mib)
        )

    def _kept(self) -> tuple[float, dict[str, tuple[HostSize, ...]]]:
        """Return until when the last answer counts, and the answer."""
        found: dict[str, tuple[HostSize, ...]] = {}
        try:
            kept: dict[str, Any] = careful.load(self._file)
            for name, sizes in kept["sizes"].items():
                found[str(name)] = tuple(HostSize(int(cpus), int(mem_mib), tuple(has)) for cpus, mem_mib, has in sizes)
            return float(kept["until"]), found
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return 0.0, {}


def host_sizes(nodes: Mapping[str, Capacity]) -> dict[str, tuple[HostSize, ...]]:
    """Return what hosts there are in each partition: of those with the same features, the most CPUs and the most MiB.

    The two may be of different hosts: no job needs to have both.
    """
    largest: dict[str, dict[tuple[str, ...], HostSize]] = {}
    for node in nodes.values():
        features = tuple(sorted(node.features))
        for name in node.partitions:
            alike = largest.setdefault(name, {})
            known = alike.get(features, HostSize(1, 1, features))
            alike[features] = HostSize(max(known.cpus, node.cpus), max(known.mem_mib, node.mem_mib), features)
    return {name: tuple(alike.values()) for name, alike in largest.items()}
