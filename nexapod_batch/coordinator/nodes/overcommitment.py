"""Whether the nodes of this machine together promise more than it has: then their replicas take it from each other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from nexapod_batch.hardware.machine import memory_mib, usable_cpus
from nexapod_batch.model.node import LOCAL

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.node import Node

__all__ = ["crowded"]


def _working_here(c: Coordinator) -> list[Node]:
    """Return the nodes of this machine that may be given work."""
    return [node for node in c.nodes() if node.site == LOCAL and node.host == socket.gethostname() and node.active]


def crowded(c: Coordinator) -> str:
    """Return what they promise too much, in words; "" where it is there."""
    mine = _working_here(c)
    cpus, mem_mib = sum(node.cpus for node in mine), sum(node.mem_mib for node in mine)
    have_cpus, have_mib = usable_cpus(), memory_mib()
    if len(mine) < 2 or (cpus <= have_cpus and mem_mib <= have_mib):
        return ""
    names = ", ".join(node.name for node in mine)
    return (
        f"the nodes of this machine ({names}) together promise {cpus} CPUs and {mem_mib} MiB of memory, "
        f"it has {have_cpus} and {have_mib}: what they run side by side takes it from each other"
    )
