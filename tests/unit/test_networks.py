"""Networks that nodes call from: which addresses are of one, and that a task is never placed twice in one."""

from __future__ import annotations

import pytest

from nexapod_batch.model.job import Domain, Job, QuorumPolicy, Tier
from nexapod_batch.model.networks import network_of
from nexapod_batch.model.node import JOINED, Node
from nexapod_batch.model.reason import Code
from nexapod_batch.planner import Need, NodeLoad, plan, why_not

A, B, C = "198.51.100.0/24", "203.0.113.0/24", "2001:db8:7::/48"

NETWORKS = {
    "one": ("198.51.100.7", A),
    "its neighbour": ("198.51.100.250", A),
    "next door": ("198.51.101.7", "198.51.101.0/24"),
    "mapped": ("::ffff:198.51.100.7", A),
    "a /48": ("2001:db8:7:1::5", C),
    "another /64 of it": ("2001:db8:7:ffff::5", C),
    "another /48": ("2001:db8:8::5", "2001:db8:8::/48"),
    "with a zone": ("fe80::1%eth0", "fe80::/48"),
    "private": ("192.168.1.5", "192.168.1.0/24"),
    "this machine": ("127.0.0.1", ""),
    "this machine, mapped": ("::ffff:127.0.0.1", ""),
    "this machine by IPv6": ("::1", ""),
    "unspecified": ("::", ""),
    "a name": ("localhost", ""),
    "nothing": ("", ""),
    "too many numbers": ("1.2.3.4.5", ""),
}


@pytest.mark.parametrize(("address", "network"), NETWORKS.values(), ids=NETWORKS)
def test_which_network_an_address_is_of(address: str, network: str) -> None:
    """A /24 of IPv4, a /48 of IPv6; this very machine is none, or nodes on it could be tried out by nobody."""
    assert network_of(address) == network


def node(number: int, *networks: str) -> Node:
    """Return a node that joined, of an owner of its own."""
    return Node(
        id=number, name=f"n{number}", key_id=f"k{number}", public_key=bytes(32), site=f"~n{number}", owner=f"o{number}",
        host=f"h{number}", tier=Tier.CPU, backend=JOINED, cpus=4, mem_mib=8192, networks=networks,
    )  # fmt: skip


def job(distinct: Domain = Domain.OWNER) -> Job:
    """Return a job of two replicas."""
    return Job(name="j", command=("true",), quorum=QuorumPolicy(distinct=(distinct,)))


PLACED = {
    "two networks": ((node(1, A), node(2, B)), [1, 2]),
    "one network": ((node(1, A), node(2, A)), [1]),
    "one of three": ((node(1, A), node(2, A), node(3, B)), [1, 3]),
    "a laptop that was there once": ((node(1, A), node(2, B, A), node(3, C)), [1, 3]),
    "a laptop first": ((node(1, A, B, C), node(2, B), node(3, C)), [1]),
    "this very machine": ((node(1), node(2)), [1, 2]),
    "IPv4 and IPv6": ((node(1, A, C), node(2, C)), [1]),
}


@pytest.mark.parametrize(("nodes", "wanted"), PLACED.values(), ids=PLACED)
def test_a_task_is_never_placed_twice_in_one_network(nodes: tuple[Node, ...], wanted: list[int]) -> None:
    """Whatever must differ: owners here; a node that moved counts with every network that it called from."""
    made = plan(job(), [Need(task=0, want=2)], [NodeLoad(node=one) for one in nodes])
    assert sorted(where for _, where in made.placements) == wanted
    assert made.unplaceable == (set() if len(wanted) == 2 else {0})


def test_what_was_placed_before_counts_and_the_reason_says_so() -> None:
    """A replica that is out blocks its networks; no address is told to who asks why."""
    need = Need(task=0, want=1, taken=({Domain.OWNER: "owner o9"},), networks=frozenset({A}))
    loads = [NodeLoad(node=node(1, A)), NodeLoad(node=node(2, B))]
    assert plan(job(), [need], loads).placements == [(0, 2)]
    ((name, reason),) = why_not(job(), need, loads)
    assert (name, reason.code, dict(reason.parameters)) == ("n1", Code.NETWORK_USED, {})


def test_tasks_that_are_alike_but_for_networks_are_told_apart() -> None:
    """The needs of many tasks are served together only where their replicas came from the same networks."""
    taken = ({Domain.OWNER: "owner o9"},)
    needs = [Need(task=0, want=1, taken=taken, networks=frozenset({A})), Need(task=1, want=1, taken=taken)]
    made = plan(job(), needs, [NodeLoad(node=node(1, A))])
    assert (made.placements, made.unplaceable) == ([(1, 1)], {0})


def test_where_nothing_must_differ_networks_need_not() -> None:
    """With `run` one node takes both."""
    made = plan(job(Domain.RUN), [Need(task=0, want=2)], [NodeLoad(node=node(1, A))])
    assert made.placements == [(0, 1), (0, 1)]
