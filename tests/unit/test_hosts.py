"""Replicas that must differ in their host, inside one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexapod_batch.coordinator.placement.host_sets import confirmed, host_sets, node_and_set, split
from nexapod_batch.model.job import Domain, Job, QuorumPolicy, Tier
from nexapod_batch.model.node import Node
from nexapod_batch.planner import Need, NodeLoad, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

CLUSTER = Node(
    id=3, name="alpha", key_id="SHA256:a", public_key=b"a" * 32, site="alpha", owner="o", host="alpha", tier=Tier.HPC,
    backend="slurm", cpus=8, mem_mib=1000, hosts=3,
)  # fmt: skip


def job(*distinct: Domain, most: int = 6) -> Job:
    return Job(name="j", command=("true",), quorum=QuorumPolicy(distinct=distinct, max_replicas=most))


@pytest.mark.parametrize(
    ("distinct", "most", "sets"),
    [((Domain.HOST,), 6, 3), ((Domain.HOST,), 2, 2), ((Domain.NODE,), 6, 0), ((Domain.HOST, Domain.SITE), 6, 3)],
)
def test_hosts_are_split_where_hosts_count(distinct: Sequence[Domain], most: int, sets: int) -> None:
    assert host_sets(job(*distinct, most=most), CLUSTER) == sets


def test_each_set_is_a_machine_for_the_planner() -> None:
    """Three replicas go to three sets, a fourth finds none left; numbers lead back to node and set."""
    wanted = job(Domain.HOST)
    placed = plan(wanted, [Need(task=0, want=4)], split(wanted, [NodeLoad(node=CLUSTER)]))
    found = [node_and_set(number) for _, number in placed.placements]
    assert sorted(found) == [(3, 0), (3, 1), (3, 2)]
    assert 0 in placed.unplaceable
    assert node_and_set(3) == (3, -1)


@pytest.mark.parametrize(
    ("said", "told", "sure"),
    [("a1", "a1", True), ("a2", "a1,a2", True), ("a1", "a11,a2", False), ("a9", "?", False), ("", "", False), ("", "a1", False)],
)
def test_a_host_is_sure_when_the_scheduler_says_so_too(said: str, told: str, sure: bool) -> None:
    """The node's word alone is not enough."""
    assert confirmed(said, told) is sure
