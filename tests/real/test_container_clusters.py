"""Containers on real Slurm clusters: images are copied where they are not seen, used, and removed when nobody needs them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real.slurm_homes import SlurmHome, queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd

ISING = Path(__file__).resolve().parents[2] / "examples" / "ising"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SlurmHome]:
    """Yield a home with the first example, shortened and in a container."""
    made = SlurmHome(tmp_path)
    shutil.copy(ISING / "ising.py", tmp_path)
    yield made
    made.end()


def job(image: Path, more: str = "") -> str:
    """Return the first example in a container."""
    text = (ISING / "job.toml").read_text().replace("1000", "20").replace("schema = 1\n", "")
    return text.replace('distinct = "run"', 'distinct = "site"') + f'[container]\nimage = "{image}"\n{more}'


def test_the_first_example_in_containers_of_two_clusters(
    home: SlurmHome, alpha: Cluster, beta: Cluster, sshd: Sshd, python_image: Path, tmp_path: Path
) -> None:
    """One over SSH, to which the image is copied; one beside it. Both agree; gc removes the copy where it is too much, and only when it may."""
    far = tmp_path / "far"
    reached = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
    far_site = {"scheduler": {"transport": "ssh"}, "ssh": reached, "filesystem": {"work_dir": str(far)}}
    home.site(alpha, **far_site)
    home.site(beta)
    done = home.submit(job(python_image), "--wait=90s")
    assert done.code == 0, done.out + done.err + home.describe()
    (task,) = home.json("show", "last")["tasks"]
    assert (task["state"], task["reason"]) == ("accepted", "2 of 2 agree, from 2 sites, all run by one account")
    assert [one["isolation"] for one in task["replicas"]] == ["container", "container"]
    shown = home.submit(job(python_image), "--dry-run").out
    assert shown.count("in a container, there as it would be here: /usr/bin/apptainer ") == 2
    assert home.call("submit", tmp_path / "job.toml").code == 0
    (image,) = home.path.glob("images/*.sif")
    (copy,) = far.glob("nexapod-*/*/spool/inputs/" + image.stem)
    assert home.call("gc").code == 0
    assert copy.exists()
    home.ended(2)
    assert home.call("reconcile").code == 0
    assert home.call("gc").code == 0
    assert copy.exists()  # for the next job that wants it
    home.site(alpha, site={"fetch_cache": "1MiB"}, **far_site)
    assert home.json("gc")["inputs"] >= 1
    assert not copy.exists()
    assert queue(alpha) + queue(beta) == []


def test_a_cluster_without_containers_agrees_with_one_that_has(
    home: SlurmHome, alpha: Cluster, beta: Cluster, python_image: Path
) -> None:
    """Where the job allows it; the statements say which is which."""
    home.site(alpha)
    home.site(beta, container={"runtime": "/none/apptainer"})
    done = home.submit(job(python_image, 'isolation = "any"\n'), "--wait=90s")
    assert done.code == 0, done.out + done.err + home.describe()
    (task,) = home.json("show", "last")["tasks"]
    assert {one["site"]: one["isolation"] for one in task["replicas"]} == {"alpha": "container", "beta": "none"}
    assert task["reason"] == "2 of 2 agree, from 2 sites, all run by one account"
