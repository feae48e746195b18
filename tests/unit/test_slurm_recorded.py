"""What Slurm 24.11.5 and 26.05.5 printed of the same jobs, hosts and settings, and what our readers make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from nexapod_backends.slurm.cli import parse
from nexapod_backends.slurm.cli.states import read_state, reason_in_words
from nexapod_backends.slurm.jobs.capacity import read_nodes, usable
from nexapod_backends.slurm.jobs.largest_hosts import HostSize, host_sizes
from nexapod_backends.slurm.site_check.job_probe import _would

from nexapod_batch.runner.execution.launcher.steps import read_steps

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"

pytestmark = pytest.mark.parametrize("version", ["24.11", "26.05"])


def said(name: str, version: str) -> str:
    """Return what a command printed."""
    return (GOLDEN / f"{name}-{version}.txt").read_text("utf-8")


def test_the_queue(version: str) -> None:
    """Ended, running and pending elements, reasons, a limit on elements, and a name with what separates columns."""
    listing = parse.read_squeue(said("squeue", version))
    assert listing.unreadable == 0
    found = parse.by_element(listing.rows)
    assert [found[1, index].state for index in range(5)] == ["COMPLETED", "FAILED", "FAILED", "COMPLETED", "FAILED"]
    assert {index for job, index in found if job == 2} == set(range(41)) - {30}
    assert [found[2, index].state for index in (0, 1, 2, 40)] == ["RUNNING", "RUNNING", "PENDING", "PENDING"]
    assert [found[place].reason for place in ((2, 5), (4, None), (8, 3), (3, None))] == ["JobArrayTaskLimit", "JobHeldUser", "BeginTime", "RaisedSignal:9(Killed)"]
    assert (found[3, None].name, found[7, None].state, found[5, None].hosts) == ("a|b~x", "CANCELLED", "n2")
    assert all(read_state(row.state).known and (not row.reason or reason_in_words(row.reason) != row.reason) for row in listing.rows if row.reason != "NonZeroExitCode")


def test_the_accounting(version: str) -> None:
    """The same jobs, with exit codes and signals, and who cancelled."""
    listing = parse.read_sacct(said("sacct", version))
    assert listing.unreadable == 0
    found = parse.by_element(listing.rows)
    assert [found[1, index].exit_code for index in range(5)] == [0, 1, 2, 0, 1]
    assert (found[3, None].exit_signal, found[7, None].state) == (9, "CANCELLED by 0")
    assert read_state(found[7, None].state).blame == "person"
    assert [found[2, index].state for index in (0, 1, 2, 40)] == ["RUNNING", "RUNNING", "PENDING", "PENDING"]
    assert (found[4, None].start_s, found[6, None].hosts) == (None, "n2")


def test_hosts_and_what_jobs_can_have_of_them(version: str) -> None:
    """Of the first one Slurm keeps two CPUs and 1,000 MiB, and it has features."""
    rows = parse.read_sinfo(said("sinfo", version))
    nodes = read_nodes(said("scontrol-nodes", version))
    assert rows.unreadable == 0
    assert [(row.partition, row.hosts, row.cpus, row.mem_mib, row.features) for row in usable(rows.rows, nodes)] == [
        ("short", ("n1",), 6, 15_000, ("amd", "large")), ("short", ("n2",), 8, 16_000, ()), ("long", ("n2",), 8, 16_000, ()),
    ]  # fmt: skip
    assert host_sizes(nodes) == {"short": (HostSize(6, 15_000, ("amd", "large")), HostSize(8, 16_000)), "long": (HostSize(8, 16_000),)}


def test_partitions_and_settings(version: str) -> None:
    """26.05 prints an Exclusive of its own, and other settings."""
    rows = {row.name: row for row in parse.read_partitions(said("scontrol-partitions", version)).rows}
    assert (rows["short"].default, rows["short"].max_time_s, rows["short"].max_nodes, rows["short"].exclusive) == (True, 3_600, None, False)
    assert (rows["long"].default, rows["long"].max_time_s, rows["long"].max_nodes, rows["long"].accounts) == (False, 172_800, 1, ("root",))
    config = parse.read_config(said("scontrol-config", version))
    assert config.version.startswith(version)
    assert (config.accounting, config.max_array, config.min_job_age_s, config.memory_is_counted, config.hidden) == (True, 1_001, 300, True, frozenset())


def test_steps_and_the_answer_to_a_test(version: str) -> None:
    """CPU time of two ranks, and the host on which sbatch would start a job."""
    steps = read_steps(said("sacct-steps", version))
    assert steps is not None
    assert (steps.number, steps.ended, steps.out_of_memory, steps.max_rss_kib) == (1, True, (), None)
    assert 500 < (steps.cpu_ms or 0) < 700
    assert _would(said("sbatch-test-only", version)) == "would start on n1"
