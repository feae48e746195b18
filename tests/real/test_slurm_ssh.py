"""A cluster that is reached over a real sshd: the same jobs, through connections that are cut, refused and changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters.sshd import Sshd
from real.slurm_homes import SlurmHome, mark, queue, slurm_jobs, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.slurm import Cluster

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"


class FarHome(SlurmHome):
    """A home on one machine, a work folder on another, which here is the same."""

    def __init__(self, folder: Path) -> None:
        """Name the folders."""
        super().__init__(folder)
        self.far = folder / "far"

    def over_ssh(self, cluster: Cluster, sshd: Sshd, **ssh: Any) -> None:
        """Write a site file that reaches a cluster through sshd."""
        reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
        self.site(
            cluster,
            scheduler={"transport": "ssh"},
            ssh={**reached, "connect_timeout": "10s", **ssh},
            filesystem={"work_dir": str(self.far)},
        )

    def there(self, pattern: str) -> list[Path]:
        """Return what lies on the other side."""
        return sorted(self.far.glob(f"nexapod-*/*/{pattern}"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FarHome]:
    """Yield a home without sites; its runners are ended afterwards."""
    made = FarHome(tmp_path)
    yield made
    made.end()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """Yield an sshd that may be broken."""
    with Sshd.create(tmp_path / "sshd") as made:
        yield made


def ising(folder: Path) -> Path:
    """Copy the first example into a folder; return its descriptor."""
    for name in ("job.toml", "ising.py"):
        shutil.copy(ISING / name, folder / name)
    return folder / "job.toml"


def test_the_first_example_runs_from_the_archive(home: FarHome, alpha: Cluster, sshd: Sshd, tmp_path: Path) -> None:
    """Nothing of ours is installed there: interpreter and packages were brought along, once; the home stays here."""
    home.over_ssh(alpha, sshd)
    done = home.call("submit", ising(tmp_path), "--wait")
    assert done.code == 0, done.err
    assert home.call("verify", "last").code == 0
    assert "ising.csv" in {path.name for path in (home.path / "results" / "1").rglob("*")}
    assert queue(alpha) == []
