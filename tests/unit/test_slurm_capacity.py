"""What hosts have for jobs, by what scontrol says of them, and which of them a constraint admits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexapod_backends.slurm.cli.parse import HostRow
from nexapod_backends.slurm.jobs.capacity import Capacity, admits, read_nodes, usable

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"


@pytest.mark.parametrize(
    ("file", "host", "has"),
    [
        ("scontrol-nodes-20.11.txt", "n001", Capacity(cpus=60, mem_mib=191_000, kept_cpus=4, kept_mib=1_000, features=("avx2", "ib"), partitions=("short",))),
        ("scontrol-nodes-22.05.txt", "a1", Capacity(cpus=8, mem_mib=16_000, partitions=("short", "long"))),
        ("scontrol-nodes-22.05.txt", "a2", Capacity(cpus=6, mem_mib=15_000, kept_cpus=2, kept_mib=1_000, features=("ib",), partitions=("short", "long"))),
        ("scontrol-nodes-25.11.txt", "g01", Capacity(cpus=126, mem_mib=500_000, kept_cpus=2, kept_mib=15_000, features=("a100", "ib"), partitions=("gpu",))),
        ("scontrol-nodes-25.11.txt", "g02", Capacity(cpus=128, mem_mib=515_000, features=("a100",), partitions=("gpu",))),
    ],
)
def test_what_slurm_keeps_for_itself_no_job_gets(file: str, host: str, has: Capacity) -> None:
    """CPUEfctv where Slurm says it, else CoreSpecCount; RealMemory without MemSpecLimit."""
    assert read_nodes((GOLDEN / file).read_text("utf-8"))[host] == has


def test_hosts_that_differ_are_told_apart() -> None:
    """One row of sinfo becomes as many as there are kinds of hosts; a host that scontrol does not show stays as it was."""
    row = HostRow(partition="p", hosts=("a", "b", "c", "d"), cpus=8, mem_mib=16_000, state="idle", features=("x",))
    nodes = {"a": Capacity(cpus=8, mem_mib=16_000, features=("x",)), "b": Capacity(cpus=6, mem_mib=16_000, features=("x",)),
             "c": Capacity(cpus=8, mem_mib=16_000, features=("x", "y"))}  # fmt: skip
    found = usable([row], nodes)
    assert [(one.hosts, one.cpus, one.features) for one in found] == [(("a", "d"), 8, ("x",)), (("b",), 6, ("x",)), (("c",), 8, ("x", "y"))]


@pytest.mark.parametrize(
    ("constraint", "features", "wanted"),
    [
        ("", "", True), ("ib", "ib", True), ("ib", "ib2", False), ("ib&gpu", "ib", False), ("ib&gpu", "gpu ib", True), ("ib,gpu", "ib", False),
        ("a|b", "b", True), ("a|b", "c", False), ("a&(b|c)", "a c", True), ("a&(b|c)", "b c", False), ("[r1|r2]", "r2", True), ("[r1|r2]", "r3", False),
        ("a*2&b", "a b", True), ("a*2&b", "a", False), ("(a&b)|c", "c", True), ("a!b", "", True), ("a&", "a", True), ("((", "", True), (")", "", True),
    ],
)  # fmt: skip
def test_a_constraint_admits_the_hosts_that_slurm_would(constraint: str, features: str, wanted: bool) -> None:
    """What cannot be read is left to Slurm."""
    assert admits(constraint, features.split()) is wanted


@given(st.text("ab&|,()[]*2 ", max_size=40), st.lists(st.sampled_from("ab")))
def test_no_constraint_raises(constraint: str, features: list[str]) -> None:
    """It comes from descriptors."""
    assert admits(constraint, features) in {True, False}


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    """Whatever a controller prints."""
    assert isinstance(read_nodes(text), dict)
