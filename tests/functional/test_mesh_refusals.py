"""What joined nodes never do, and what a server does not take: each is told with its cause, and others go on."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import rows, until
from homes import PROGRAM
from servers import environment, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

#: Images that nobody can have: the status, and a word of the answer.
IMAGES = {
    "registry that is not there": ("localhost:1/nobody/nothing:1", 502, "cannot be reached"),
    "host without a name": ("https:///nothing", 422, "image"),
    "digest that is none": ("localhost:1/a@sha256:xyz", 422, "image"),
    "name with a blank": ("no such image", 422, "image"),
    "path that leads up": ("../../etc/passwd", 422, "image"),
}
ASKED = {"command": ["true"], "name": "imaged", "quorum": {"agree": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests."""
    with running(tmp_path_factory.mktemp("refusals") / "c") as made:
        yield made


@pytest.mark.parametrize("what", IMAGES)
def test_images_that_do_not_exist(server: Running, what: str) -> None:
    """They are told when the job is submitted, which then is not there."""
    image, status, word = IMAGES[what]
    answer = server.ask("POST", "/v1/jobs", body={**ASKED, "docker_image": image})
    assert (answer.status, word in answer.body.decode()) == (status, True), answer.body
    assert ("imaged",) not in rows(server.home, "SELECT name FROM job")


@pytest.mark.slow
def test_a_stranger_runs_nothing_bare(tmp_path: Path) -> None:
    """Where nothing confines, nothing runs: the replica is lost, later jobs are not placed there, and the cause is told."""
    without = tmp_path / "bin"
    without.mkdir()
    for name in os.listdir("/usr/bin"):
        if name not in {"bwrap", "apptainer", "singularity"}:
            (without / name).symlink_to(f"/usr/bin/{name}")
    env = {**environment(tmp_path / "n"), "PATH": str(without)}
    argv = [PROGRAM, "node", "run", "--page-port", "off"]
    with running(tmp_path / "c") as server:
        joined(server, tmp_path / "n", "--name", "walls", "--owner", "ann")
        server.command("submit", "--agree", "1", "--", "true")  # before the node could say what it cannot do
        with (tmp_path / "n.err").open("wb") as err:
            node = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=err)
        until("a replica to be lost", lambda: ("lost",) in rows(server.home, "SELECT execution FROM replica"))
        said = server.command("explain", "1").stdout
        later = server.command("submit", "--agree", "1", "--", "true", check=False)
        shown = server.command("explain", "1").stdout
        node.terminate()
        assert node.wait(120) == 0
        assert ("reported",) not in rows(server.home, "SELECT execution FROM replica")
    assert "this node confines commands, and there is no bwrap" in said
    why = "commands without a container cannot be confined: no bwrap; install bubblewrap"
    assert f"some jobs are not for this node: {why}" in (tmp_path / "n.err").read_text()
    assert f"node walls says: {why}" in shown
    assert (later.returncode, f"node walls says: {why}" in later.stderr) == (65, True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_server_whose_disk_is_full(tmp_path: Path) -> None:
    """Reports stay where they are until there is room; nothing is lost, and the node is told why it waits."""
    home = tmp_path / "c"
    home.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=700", "none", str(home)], check=True)  # less than is spared
    try:
        with running(home) as server:
            joined(server, tmp_path / "n", "--name", "one", "--owner", "ann")
            with working(tmp_path / "n"):
                server.command("submit", "--agree", "1", "--", "true")
                told = tmp_path / "n.run.err"
                until("the node to be told", lambda: "the coordinator's disk is full" in told.read_text())
                assert rows(home, "SELECT count(*) FROM report") == [(0,)]
                subprocess.run(["mount", "-o", "remount,size=1g", str(home)], check=True)
                until("the job to end", lambda: rows(home, "SELECT n_accepted FROM job") == [(1,)])
            server.command("verify", "1")
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)
