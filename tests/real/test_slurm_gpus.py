"""GPUs in real Slurm jobs: what Slurm gave is shared out among the replicas of a job, and never more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nvml import FIRST, SECOND, Driver
from real.slurm_homes import SlurmHome, mark, slurm_jobs, until

if TYPE_CHECKING:
    from pathlib import Path

    from clusters.slurm import Cluster

PARTITION = {"name": "gpu", "hosts": 1, "gpus": 2, "gpu_types": ["fake"]}
#: Leaves which GPU a replica sees, and fails when another one sees the same meanwhile.
ALONE = """
mkdir "{folder}/held.$CUDA_VISIBLE_DEVICES" || exit 1
echo "$CUDA_VISIBLE_DEVICES" >> {folder}/seen
sleep 0.3
rmdir "{folder}/held.$CUDA_VISIBLE_DEVICES"
"""


@pytest.fixture
def home(tmp_path: Path) -> SlurmHome:
    """Give a home without sites."""
    return SlurmHome(tmp_path)


def test_replicas_of_one_slurm_job_share_its_gpus(beta: Cluster, home: SlurmHome, tmp_path: Path) -> None:
    """Four replicas in one Slurm job with both GPUs, two side by side, never two on one."""
    home.site(beta, partition=PARTITION)
    before = mark(beta)
    job = home.start(home.tasks(4, ALONE.format(folder=tmp_path), more='gpus = 1\ngpu_type = "fake"\n'))
    home.ended(job)
    assert sorted((tmp_path / "seen").read_text().split()) == ["0", "0", "1", "1"]
    until(lambda: slurm_jobs(beta, before), "accounting to know it")
    assert sum(map(len, slurm_jobs(beta, before).values())) == 1


def test_indexes_become_uuids_where_a_driver_answers(beta: Cluster, home: SlurmHome, tmp_path: Path) -> None:
    """And the statement names the model."""
    driver = Driver(tmp_path)
    home.site(beta, partition=PARTITION, environment={"setup": [f"export {name}={value}" for name, value in driver.env.items()]})
    job = home.start(home.tasks(2, ALONE.format(folder=tmp_path), more="gpus = 1\n"))
    home.ended(job)
    assert sorted((tmp_path / "seen").read_text().split()) == [FIRST, SECOND]
    assert "NVIDIA GeForce RTX 4090" in home.call("explain", f"{job}_0").out


def test_without_a_gpu_of_its_own_a_replica_sees_none(beta: Cluster, home: SlurmHome, tmp_path: Path) -> None:
    """Whatever the host has."""
    home.site(beta, partition=PARTITION)
    job = home.start(home.tasks(1, f'echo "<$CUDA_VISIBLE_DEVICES>" > {tmp_path}/seen'))
    home.ended(job)
    assert (tmp_path / "seen").read_text() == "<>\n"
