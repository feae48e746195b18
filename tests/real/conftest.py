"""The real things: two Slurm clusters and an sshd, started once for all tests. A missing one is an error, never a skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from apptainer.registry import DOCKER, OCI, Registry
from apptainer.trees import build_sif, make_python_tree, make_tree
from clusters.daemons import mounts_are_seen
from clusters.slurm import Cluster, Clusters
from clusters.sshd import Sshd
from real.slurm_homes import SlurmHome
from real.ssh_sites import connected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_backends.slurm.ssh.transport import SshTransport


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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """Yield an sshd that may be broken."""
    with Sshd.create(tmp_path / "sshd") as made:
        yield made


@pytest.fixture
def transport(server: Sshd) -> Iterator[SshTransport]:
    """Yield a transport through an sshd that may be broken."""
    with connected(server) as made:
        yield made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system."""
    return make_tree(tmp_path_factory.mktemp("tree"), ballast=1 << 20)


@pytest.fixture(scope="module")
def sif(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SIF file of it."""
    return build_sif(tree, tmp_path_factory.mktemp("sif") / "box.sif")


@pytest.fixture(scope="module")
def registry(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Yield a registry with the tree in it: for this machine, in both formats, and for another machine."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as found:
        ours = found.push_tree("lib/box", "oci", tree, kinds=OCI)
        found.push_tree("lib/box", "docker", tree, kinds=DOCKER)
        theirs = found.push_tree("lib/box", "arm", tree, machine="arm64")
        found.push_list("lib/box", "both", {"arm64": theirs, "amd64": ours})
        found.push_list("lib/box", "theirs", {"arm64": theirs})
        yield found
