"""Work folders of a site that cannot be made or written: told once, with a next step, and the job runs when they can."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clusters.slurm import Cluster
    from clusters.sshd import Sshd
    from real.slurm_homes import SlurmHome

ONE = '[job]\nname = "t"\ncommand = ["echo", "1"]\n[resources]\ntime = "60s"\n[quorum]\nagree = 1\n'


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Give a folder a file system of its own."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def told(home: SlurmHome) -> str:
    """Submit; return the one line that says why nothing runs, which `explain` says in the same words."""
    done = home.submit(ONE)
    assert done.code == 0, done.err
    (said,) = done.err.splitlines()
    assert f"  {said}\n" in home.explain()
    assert "UNKNOWN" not in home.explain()
    assert home.call("reconcile").err == ""  # it is not told twice
    assert home.job(1)["finished_at"] is None
    return said


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_a_parent_that_cannot_be_written(home: SlurmHome, alpha: Cluster, sshd: Sshd, tmp_path: Path, transport: str) -> None:
    """The folder that was to be made, what the system said, and what to do; then it runs."""
    work = tmp_path / "project/work"
    reach(home, alpha, sshd, work, transport)
    with mounted(work.parent, "ro"):
        said = told(home)
    assert said.startswith("site alpha: its work folder cannot be used: got ")
    assert f": {work}" in said
    assert "Read-only file system" in said or transport == "ssh"
    assert "[filesystem] work_dir in its site file" in said
    assert said.endswith("jobs wait until then")
    home.ended(1)


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_a_file_in_the_place_of_the_folder(home: SlurmHome, alpha: Cluster, sshd: Sshd, tmp_path: Path, transport: str) -> None:
    """It is named, and left alone."""
    work = tmp_path / "work"
    work.write_text("mine")
    reach(home, alpha, sshd, work, transport)
    said = told(home)
    assert f": {work}" in said
    assert "what stands there is no folder: move it away" in said or transport == "ssh"
    assert work.read_text() == "mine"
    work.unlink()
    home.ended(1)


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_no_room_in_the_folder(home: SlurmHome, alpha: Cluster, sshd: Sshd, tmp_path: Path, transport: str) -> None:
    """The place and that it is full; with room again the job runs."""
    work = tmp_path / "work"
    reach(home, alpha, sshd, work, transport)
    with mounted(work, "size=4m,mode=700"):
        fill(work / "hog")
        said = told(home)
        assert f": {work}/nexapod-" in said
        assert "make room there" in said or "is there room, or is the quota used up?" in said
        (work / "hog").unlink()
        home.ended(1)


def test_room_that_ends_before_a_launch(home: SlurmHome, alpha: Cluster, tmp_path: Path) -> None:
    """The node is known and worked before: the replica is kept, and `explain` says why it was not handed over."""
    work = tmp_path / "work"
    home.site(alpha, filesystem={"work_dir": str(work)})
    with mounted(work, "size=4m,mode=700"):
        home.ended(home.start(ONE))
        fill(work / "hog")
        done = home.submit(ONE)
        assert done.code == 0
        (said,) = done.err.splitlines()
        assert "its work folder cannot be used: got No space left on device: " in said
        assert f"was not handed this yet, {said}" in home.explain()
        (work / "hog").unlink()
        home.ended(2)


def test_another_site_takes_the_job(home: SlurmHome, alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    """Nothing is placed where it would wait for somebody to make room."""
    (tmp_path / "work").write_text("")
    home.site(alpha, filesystem={"work_dir": str(tmp_path / "work")})
    home.site(beta)
    for job in (1, 2):
        assert home.submit(ONE, "--wait").code == 0
        assert [one["site"] for one in home.json("show", job)["tasks"][0]["replicas"]] == ["beta"]


def reach(home: SlurmHome, alpha: Cluster, sshd: Sshd, work: Path, transport: str) -> None:
    """Write the site file with a work folder, reached in one of two ways."""
    more = {}
    if transport == "ssh":
        more["ssh"] = {"host": sshd.host, "port": sshd.port, "key": str(sshd.key), "known_hosts": str(sshd.known_hosts)}
        more["runner"] = {"python": sys.executable}
    home.site(alpha, scheduler={"transport": transport}, filesystem={"work_dir": str(work)}, **more)


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    with file.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))
