"""GPUs and memory that workers of Dask declare: required by launches, counted by the scheduler, passed on to commands."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from clusters.dask import DaskCluster
from real.dask_homes import DaskHome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: As a GPU's driver spells them; here there is no driver, so they stand for themselves.
GPUS = {"w1": "GPU-11111111-0000-4000-8000-000000000000", "w2": "GPU-22222222-0000-4000-8000-000000000000"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Yield a scheduler, two workers of two threads with one GPU each, and one that has a little memory to give."""
    with DaskCluster.start(tmp_path_factory.mktemp("dask"), workers=0) as made:
        for name, gpu in GPUS.items():
            made.start_worker(name, more=["--resources", "GPU=1"], env={"CUDA_VISIBLE_DEVICES": gpu})
        made.start_worker("w3", more=["--resources", "memory=1000000000"])
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DaskHome]:
    """Yield a home without sites."""
    made = DaskHome(tmp_path)
    yield made
    made.end()


def most_at_once(lines: list[str]) -> int:
    """Return how many were between `begin` and `end` at once."""
    found = running = 0
    for line in lines:
        running += 1 if line == "begin" else -1
        found = max(found, running)
    return found


def test_gpus_are_required_and_passed_on(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """One replica at a time on each worker with a GPU, none on the other; each sees the GPU that its worker was given."""
    home.pool(cluster.address, shared=True, partition={"gpus": 1})
    log = tmp_path / "log"
    command = f'echo "$CUDA_VISIBLE_DEVICES" >> {log}; echo begin >> {log}.$CUDA_VISIBLE_DEVICES; sleep 0.3; echo end >> {log}.$CUDA_VISIBLE_DEVICES'
    home.ended(home.start(home.tasks(6, command, more="gpus = 1\n")))
    seen = Counter(log.read_text().split())
    assert set(seen) == set(GPUS.values())
    assert seen.total() == 6
    for gpu in GPUS.values():
        assert most_at_once((tmp_path / f"log.{gpu}").read_text().split()) == 1


def test_a_job_without_gpus_sees_none(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """On the same workers the GPU is hidden from what did not ask for it."""
    home.pool(cluster.address, shared=True, partition={"gpus": 1, "workers": ["w1"]})
    home.ended(home.start(home.tasks(1, f'echo "<$CUDA_VISIBLE_DEVICES>" > {tmp_path}/seen')))
    assert (tmp_path / "seen").read_text() == "<>\n"


def test_memory_is_counted_by_the_scheduler(home: DaskHome, cluster: DaskCluster, tmp_path: Path) -> None:
    """Two threads, and memory for one: one runs after the other, where that memory is declared."""
    home.pool(cluster.address, shared=True, dask={"mem_resource": "memory"})
    log = tmp_path / "log"
    command = f"echo begin >> {log}; sleep 0.3; echo end >> {log}"
    job = home.start(home.tasks(4, command, more='mem = "600M"\n'))
    home.ended(job)
    lines = log.read_text().split()
    assert len(lines) == 8
    assert most_at_once(lines) == 1
    assert {row for row in home.replicas(job, "host")} == {"127.0.0.4"}
