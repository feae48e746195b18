"""Faults of one pass: every step tells its own, and a site out of reach is one fault."""

from __future__ import annotations

from nexapod_batch.coordinator.pass_faults import note, told
from nexapod_batch.errors import ConfigError, SchedulerError, UnreachableError
from nexapod_batch.model.job import Tier
from nexapod_batch.model.node import Node

NODES = [
    Node(
        id=number, name=f"n{number}", key_id="k", public_key=b"", site="far", owner="o", host="h", tier=Tier.HPC,
        backend="slurm", cpus=1, mem_mib=1,
    )
    for number in (1, 2)
]  # fmt: skip


def test_each_step_tells_its_own() -> None:
    """Two steps that fail for two reasons are two lines."""
    faults: dict[str, str] = {}
    note(faults, "launch", NODES[0], SchedulerError("sbatch failed"), "launch failed")
    note(faults, "status", NODES[0], OSError(5, "broken"))
    assert faults == {"launch:n1": "node n1: launch failed: sbatch failed", "status:n1": "node n1: [Errno 5] broken"}


def test_a_site_out_of_reach_is_told_of_once() -> None:
    """Whatever step came first, the key is the site's: the next pass knows that it was told."""
    for kind in (UnreachableError, ConfigError):
        faults: dict[str, str] = {}
        for step in ("settings", "status", "reports", "launch"):
            for node in NODES:
                note(faults, step, node, kind("site far: login cannot be reached", hint="wait"), step)
        note(faults, "forget", NODES[1], UnreachableError("the connection was lost"))
        assert faults == {"site:far": "site far: login cannot be reached\n  -> wait"}
        assert told(faults, kind("site far: login cannot be reached"))
        assert not told(faults, kind("another"))
