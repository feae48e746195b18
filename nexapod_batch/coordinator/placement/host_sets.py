"""Hosts inside a cluster, where a job's replicas must differ in `host`.

A cluster is one node, but made of many machines. For such a job its hosts are split into disjoint sets, one for each
replica number; a launch is bound to one set, and the planner sees each set as a machine of its own. What counts in the
end is the host that the signed statement names, if the scheduler's own list of hosts for the launch names it too; a
replica of whose host only the node says where it was does not count: it may have run beside any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.model.job import Domain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.planner import NodeLoad

__all__ = ["NEVER_TOLD", "as_set", "confirmed", "host_sets", "node_and_set", "number_of", "set_name", "split"]

#: In `launch.hosts`: the scheduler forgot the launch without ever saying where it ran.
NEVER_TOLD = "?"
#: More sets than this are never needed: it bounds `max_replicas`.
_MOST = 1024


def host_sets(job: Job, node: Node) -> int:
    """Return into how many sets the hosts of a node are split for a job; 0: they are not."""
    if Domain.HOST not in job.quorum.distinct or node.hosts < 2:
        return 0
    return min(node.hosts, job.quorum.max_replicas, _MOST)


def split(job: Job, loads: Sequence[NodeLoad]) -> list[NodeLoad]:
    """Return the loads as the planner sees them: each set of hosts as a machine with a number of its own."""
    found = []
    for load in loads:
        count = host_sets(job, load.node)
        if not count:
            found.append(load)
            continue
        for index in range(count):
            node = replace(
                as_set(load.node, index),
                id=number_of(load.node.id, index),
                max_queued=max(1, load.node.max_queued // count),
            )
            found.append(replace(load, node=node, out=load.out // count))
    return found


def as_set(node: Node, index: int) -> Node:
    """Return a node whose host is one set of its hosts."""
    rest = {field: value for field, value in node.counts_as.items() if field is not Domain.HOST}
    return replace(node, host=set_name(node, index), counts_as=rest)


def set_name(node: Node, index: int) -> str:
    """Return what a set of hosts is called where a host is expected; those of one cluster are called alike."""
    return f"{node.domain(Domain.HOST, '')}#{index}"


def node_and_set(number: int) -> tuple[int, int]:
    """Return the row id of the node and the set that a number of `split` stands for; -1 for no set."""
    if number < 0:
        return divmod(-number, _MOST)
    return (number, -1)


def number_of(node_id: int, host_set: int) -> int:
    """Return the number by which the planner knows a node, or one of its sets; -1 for no set."""
    if host_set < 0:
        return node_id
    return -(node_id * _MOST + host_set)


def confirmed(host: str, scheduler_hosts: str) -> bool:
    """Say whether the scheduler's list of hosts, with commas, names the host that the node signed."""
    return host != "" and host in scheduler_hosts.split(",")
