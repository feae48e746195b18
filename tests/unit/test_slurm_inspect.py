"""Site files from a cluster's own words: accepted by the loader whatever the cluster calls its things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nexapod_backends.slurm.cli import parse
from nexapod_backends.slurm.cli.parse import ClusterConfig, HostRow, PartitionRow
from nexapod_backends.slurm.site_check.site_draft import site_file
from strategies import built

from nexapod_batch.config.site.sites import parse_site
from nexapod_batch.errors import SchedulerError

if TYPE_CHECKING:
    from nexapod_batch.model.site import Site

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
CONFIG = parse.read_config((GOLDEN / "scontrol-config-25.11.txt").read_text("utf-8"))
PARTITIONS = parse.read_partitions((GOLDEN / "scontrol-partitions-25.11.txt").read_text("utf-8"))
HOSTS = parse.read_sinfo((GOLDEN / "sinfo-25.11.txt").read_text("utf-8"))


def _site(text: str) -> Site:
    name = next(line for line in text.splitlines() if line.startswith("name = ")).split('"')[1]
    return parse_site(text, Path(f"/etc/nexapod/sites.d/{name}.toml")).site


def test_golden() -> None:
    """The whole file, as an admin finds it."""
    assert site_file(CONFIG, PARTITIONS.rows, HOSTS.rows) == (GOLDEN / "site-25.11.toml").read_text("utf-8")


def test_what_the_file_says() -> None:
    """The loader reads from it what the cluster has: shared hosts are one node, the smallest host counts."""
    site = _site(site_file(CONFIG, PARTITIONS.rows, HOSTS.rows))
    short, long, gpu = site.partitions
    assert {name: [one.name for one in group] for name, group in site.groups().items()} == {
        "polar-short": ["short", "long"],
        "polar-gpu": ["gpu"],
    }
    assert (short.hosts, short.max_time_s, short.max_nodes, short.max_cpus, short.max_mem_mib) == (
        4,
        14_400,
        4,
        32,
        65_536,
    )
    assert (long.hosts, long.max_time_s, long.max_nodes, long.max_cpus) == (4, 7 * 86_400, None, 30)
    assert (gpu.gpus, gpu.gpu_types, gpu.max_time_s, gpu.max_mem_mib) == (4, ("a100",), None, 515_000)
    assert short.features == ("avx2", "ib")
    assert site.limits.max_array == 1_000
    assert site.scheduler.accounting == "sacct"


def recorded(name: str) -> str:
    """Return what a real cluster said."""
    return (GOLDEN / f"{name}-22.05.txt").read_text("utf-8")


def test_real_cluster() -> None:
    """A recorded cluster with two hosts of which one has GPUs: the partition of both promises none."""
    config = parse.read_config(recorded("scontrol-config"))
    partitions = parse.read_partitions(recorded("scontrol-partitions"))
    hosts = parse.read_sinfo(recorded("sinfo"))
    text = site_file(config, partitions.rows, hosts.rows)
    site = _site(text)
    assert [(one.name, one.hosts, one.gpus) for one in site.partitions if one.name in {"short", "gpu"}] == [
        ("short", 2, 0),
        ("gpu", 1, 2),
    ]
    assert "gpus = 0  # hosts differ: 0 to 2 GPUs; the smallest counts" in text
    assert list(site.groups()) == ["beta"]


def test_nothing_to_write() -> None:
    """A file without a partition would be refused; so none is written, and what was seen is said."""
    with pytest.raises(SchedulerError, match="partition admin is left out: only root may use it"):
        site_file(CONFIG, PARTITIONS.rows[3:], HOSTS.rows)


def test_one_group_needs_no_word() -> None:
    """A cluster whose partitions all share hosts is one node."""
    site = _site(site_file(CONFIG, PARTITIONS.rows[:2], HOSTS.rows))
    assert list(site.groups()) == ["polar"]


def test_partitions_that_share_over_a_third() -> None:
    """Sharing is transitive: a with b and b with c is one group of machines."""
    rows = [PartitionRow(name=name, hosts=hosts) for name, hosts in [("a", "n1"), ("c", "n2"), ("b", "n[1-2]")]]
    site = _site(site_file(CONFIG, [*rows, PartitionRow(name="d", hosts="n3")], []))
    assert [one.node for one in site.partitions] == ["a", "a", "a", "d"]


def test_without_accounting() -> None:
    """Ended jobs are only in squeue's short memory, so it is looked at often enough."""
    site = _site(site_file(replace(CONFIG, accounting=False, min_job_age_s=30), PARTITIONS.rows, HOSTS.rows))
    assert (site.scheduler.accounting, site.limits.poll_interval_s) == ("squeue", 10)


def test_words_stay_apart() -> None:
    """Names that differ only in what a node's name cannot hold do not become one node."""
    rows = [PartitionRow(name=f"{'p' * 30}.{number}", hosts=f"n{number}") for number in range(3)]
    assert len(_site(site_file(CONFIG, rows, [])).groups()) == 3


NAMES = st.text(max_size=70) | st.sampled_from(
    ["a", "a.b", "a b", 'a"', "a\\", "a\n[x]", "é", "-x", "", "#", "\x1b[2J"]
)
COUNTS = st.integers(0, 10**15)


@given(
    config=built(
        ClusterConfig,
        version=NAMES,
        cluster=NAMES,
        accounting=st.booleans(),
        max_array=st.none() | COUNTS,
        min_job_age_s=st.none() | COUNTS,
    ),
    partitions=st.lists(
        built(
            PartitionRow,
            name=NAMES,
            hosts=NAMES,
            state=st.sampled_from(["UP", "DOWN", "\x07"]),
            default=st.booleans(),
            max_time_s=st.none() | COUNTS,
            max_nodes=st.none() | COUNTS,
            max_cpus_per_node=st.none() | COUNTS,
            max_mem_mib_per_node=st.none() | COUNTS,
            total_nodes=COUNTS,
            accounts=st.lists(NAMES, max_size=3).map(tuple),
        ),
        max_size=5,
    ),
    hosts=st.lists(
        built(
            HostRow,
            partition=st.sampled_from(["a", "a.b"]) | NAMES,
            hosts=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
            cpus=COUNTS,
            mem_mib=COUNTS,
            state=NAMES,
            gres=NAMES | st.sampled_from(["gpu:a:999999", "gpu:1"]),
            features=st.lists(NAMES, max_size=3).map(tuple),
        ),
        max_size=5,
    ),
)
def test_every_cluster_gives_a_file_that_loads(
    config: ClusterConfig, partitions: list[PartitionRow], hosts: list[HostRow]
) -> None:
    """Whatever Slurm prints, the file is valid, and holds no partition that Slurm did not show."""
    try:
        text = site_file(config, partitions, hosts)
    except SchedulerError:
        assert not [one for one in partitions if one.state == "UP" and one.name.isascii() and one.name.isalnum()]
        return
    assert {one.name for one in _site(text).partitions} <= {one.name for one in partitions}
    assert all(line.isprintable() for line in text.split("\n"))
