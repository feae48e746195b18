"""One cluster counts once, however many site files name it: by what its scheduler says, never by a label."""

from __future__ import annotations

from typing import Any

import pytest
from nexapod_backends.slurm.cli.parse import read_config

from nexapod_batch.coordinator.backend_guard import guarded
from nexapod_batch.errors import PluginFaultError
from nexapod_batch.model.job import Domain, Tier
from nexapod_batch.model.node import Node
from nexapod_batch.model.twins import with_twins
from nexapod_batch.plugins import NodeContext

SHORT, LONG = frozenset({"short"}), frozenset({"long"})


def node(number: int, site: str, cluster: str, owner: str = "o") -> Node:
    """Return a node of a site."""
    return Node(
        id=number, name=f"n{number}", key_id=f"k{number}", public_key=b"", site=site, owner=f"{owner}{number}",
        host=f"h{number}", tier=Tier.HPC, backend="slurm", cpus=1, mem_mib=1, cluster=cluster,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "partitions", "distinct"),
    [
        ([node(1, "a", "x"), node(2, "b", "y")], [SHORT, SHORT], (2, 2, 2, 2)),
        ([node(1, "a", ""), node(2, "b", "")], [SHORT, SHORT], (2, 2, 2, 2)),
        ([node(1, "a", "x"), node(2, "b", "x")], [SHORT, SHORT], (1, 1, 1, 1)),
        ([node(1, "a", "x"), node(2, "b", "x"), node(3, "c", "x")], [SHORT] * 3, (1, 1, 1, 1)),
        ([node(1, "a", "x"), node(2, "b", "x")], [SHORT, LONG], (2, 2, 1, 1)),
        ([node(1, "a", "x"), node(2, "b", "x")], [SHORT, SHORT | LONG], (1, 1, 1, 1)),
        ([node(1, "a", "x"), node(2, "b", "x")], [SHORT, None], (1, 1, 1, 1)),
        ([node(1, "a", "x"), node(2, "a", "x")], [SHORT, LONG], (2, 2, 1, 2)),
        ([node(1, "a", "x"), node(2, "a", "x"), node(3, "b", "x")], [SHORT, LONG, LONG], (2, 2, 1, 2)),
        ([node(1, "a", "x"), node(2, "b", "y"), node(3, "c", "x")], [SHORT] * 3, (2, 2, 2, 2)),
    ],
)
def test_domains_of_one_cluster(
    nodes: list[Node], partitions: list[frozenset[str] | None], distinct: tuple[int, int, int, int]
) -> None:
    """Nodes, hosts, sites and owners count as the first of the cluster; groups of one site stay what they are."""
    known = {one.id: names for one, names in zip(nodes, partitions, strict=True)}
    found = with_twins(nodes, lambda one: known[one.id])
    counts = tuple(
        len({one.domain(field, "") for one in found})
        for field in (Domain.NODE, Domain.HOST, Domain.SITE, Domain.OWNER)
    )
    assert counts == distinct
    assert [one.name for one in found] == [one.name for one in nodes]


CONFIG = "ClusterName = polar\nSlurmctldPort = 6817\nBOOT_TIME = 2026-11-01T00:00:00\n{}"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (CONFIG.format("SlurmctldHost[0] = ctl(10.0.0.1)\nSlurmctldHost[1] = ctl2"), "polar@ctl(10.0.0.1):6817"),
        (CONFIG.format("SlurmctldHost = ctl"), "polar@ctl:6817"),
        (CONFIG.format("ControlMachine = old"), "polar@old:6817"),
        (CONFIG.format("SlurmctldHost[0] = localhost"), "polar@localhost:6817 since 2026-11-01T00:00:00"),
        (CONFIG.format("SlurmctldHost[0] = 127.0.0.1"), "polar@127.0.0.1:6817 since 2026-11-01T00:00:00"),
        (CONFIG.format(""), ""),
        ("SlurmctldHost[0] = ctl\n", ""),
        ("", ""),
    ],
)
def test_slurm_names_its_cluster(text: str, identity: str) -> None:
    """By name and controller; one that calls itself a loopback, as many do, is told apart by when it started."""
    assert read_config(text).identity == identity


class Silent:
    """A backend of before, which says nothing of clusters."""


class Saying(Silent):
    """A backend that says something."""

    def __init__(self, answer: Any) -> None:
        """Take what it says."""
        self._answer = answer

    def cluster_id(self, context: NodeContext) -> Any:  # noqa: ARG002 - the port has it
        """Say it."""
        return self._answer


CONTEXT = NodeContext(node=node(1, "a", ""), spool=None, work=None, state=None, remote_spool=None, remote_work=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("answer", "kept"), [("x@y", "b:x@y"), ("", "")])
def test_the_word_of_a_backend_stands_beside_its_name(answer: str, kept: str) -> None:
    """Two kinds of schedulers never mean the same cluster; a backend may say nothing."""
    assert guarded(Saying(answer), "b").cluster_id(CONTEXT) == kept
    assert guarded(Silent(), "b").cluster_id(CONTEXT) == ""


@pytest.mark.parametrize("answer", [None, 7, b"x", "a\nb", "x" * 501, ["x"]])
def test_what_is_no_name_is_a_fault_of_the_backend(answer: Any) -> None:
    """It is never taken for the name of a cluster."""
    with pytest.raises(PluginFaultError):
        guarded(Saying(answer), "b").cluster_id(CONTEXT)
