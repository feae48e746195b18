"""The real things: two Slurm clusters and an sshd, started once for all tests. A missing one is an error, never a skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from apptainer.trees import build_sif, make_python_tree
from clusters.daemons import mounts_are_seen
from clusters.slurm import Cluster, Clusters
from clusters.sshd import Sshd
from real.slurm_homes import SlurmHome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    """Yield both clusters and what they share; they run until the last test is done."""
    with mounts_are_seen(tmp_path_factory.getbasetemp()), Clusters.start() as clusters:
        yield clusters


@pytest.fixture(scope="session")
def python_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image with a Python of its own in it."""
    folder = tmp_path_factory.mktemp("python")
    return build_sif(make_python_tree(folder / "tree"), folder / "python.sif", compressed=False)


@pytest.fixture
def alpha(slurm: Clusters) -> Iterator[Cluster]:
    """Yield the cluster with short arrays and a short memory; its queue is empty before and after."""
    yield from _clean(slurm.alpha)


@pytest.fixture
def beta(slurm: Clusters) -> Iterator[Cluster]:
    """Yield the cluster with longer arrays and gpus; its queue is empty before and after."""
    yield from _clean(slurm.beta)


@pytest.fixture(params=["alpha", "beta"])
def cluster(request: pytest.FixtureRequest, slurm: Clusters) -> Iterator[Cluster]:
    """Yield each cluster in turn, with an empty queue before and after."""
    yield from _clean(slurm.each[request.param])


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Yield a running sshd of our own user."""
    with Sshd.create(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SlurmHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = SlurmHome(tmp_path)
    yield made
    made.end()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Return a file for which tasks wait."""
    return tmp_path / "gate"


def _clean(cluster: Cluster) -> Iterator[Cluster]:
    cluster.cancel_all()
    yield cluster
    cluster.cancel_all()
