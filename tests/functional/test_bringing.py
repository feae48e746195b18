"""A node whose coordinator is slow to give an input: nothing else waits for it, and what nobody wants is not run."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from chaos_proxy import between
from functional.test_mesh import working
from homes import PROGRAM
from servers import environment, running
from spools import until

from nexapod_client import NexaPodClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = {"command": "touch begun; sleep 600", "quorum": {"agree": 1}}
SHORT = {"command": "echo here", "quorum": {"agree": 1}}
WITH_INPUT = """
schema = 1
[job]
name = "large"
command = ["wc", "-c", "in.txt"]
[[inputs]]
source = "in.txt"
[array]
ids = "0-1"
[quorum]
agree = 1
"""


class Held:
    """Lets no input through until it is told to."""

    def __init__(self) -> None:
        """Have been asked for none."""
        self.asked, self.go_on, self.for_s = threading.Event(), threading.Event(), 300.0
        self.cancelled: set[str] = set()  # names of messages with cancellations that the node has taken in

    def __call__(self, path: str) -> None:
        """Look at the path of a request."""
        if path.startswith("/v1/blobs/"):
            self.asked.set()
            self.go_on.wait(self.for_s)

    def note(self, body: bytes) -> str:
        """Look at the body of a request: nothing happens to it."""
        names = json.loads(body or b"{}").get("acknowledged", ())
        self.cancelled.update(name for name in names if name.startswith("cancel-"))
        return ""


@contextmanager
def mesh(folder: Path) -> Iterator[tuple[NexaPodClient, Any, Held]]:
    """Yield a client, a server and what holds its inputs; one node works behind it."""
    held = Held()
    with running(folder / "c") as server, between(server.port, 0) as proxy:
        proxy.hold, proxy.rule = held, held.note
        argv = [PROGRAM, "node", "join", proxy.url, "--token", server.join.split()[-1], "--name", "one", "--owner", "ann"]
        subprocess.run(argv, env=environment(folder / "one"), check=True, capture_output=True, timeout=120)
        (folder / "in.txt").write_text("in\n")
        (folder / "job.toml").write_text(WITH_INPUT)
        with working(folder / "one"), NexaPodClient(server.url, token=server.token) as client:
            try:
                yield client, server, held
            finally:
                held.go_on.set()


@pytest.mark.slow
def test_what_comes_slowly_keeps_nothing_else_waiting(tmp_path: Path) -> None:
    """A job that runs is cancelled, another one starts and ends, and the one with the input comes to its end after all."""
    with mesh(tmp_path) as (client, server, held):
        long = client.submit_job(LONG)
        until(lambda: list((tmp_path / "one").rglob("begun")), "the command to begin")
        server.command("submit", str(tmp_path / "job.toml"))
        assert held.asked.wait(60)
        client.cancel(long)
        until(lambda: not list((tmp_path / "one").rglob("begun")), "the command to be stopped, and its folder to go")
        assert client.wait(client.submit_job(SHORT), timeout=60).state == "accepted"
        assert not held.go_on.is_set()
        held.go_on.set()
        server.command("wait", "2", "--timeout", "60s")


@pytest.mark.slow
def test_what_is_cancelled_meanwhile_is_not_run(tmp_path: Path) -> None:
    """All of one job, and a part of another: the rest of that runs."""
    with mesh(tmp_path) as (_, server, held):
        server.command("submit", str(tmp_path / "job.toml"))
        assert held.asked.wait(60)
        server.command("submit", str(tmp_path / "job.toml"))
        server.command("cancel", "1")
        server.command("cancel", "2_1")
        until(lambda: len(held.cancelled) == 2, "the node to hear of both")
        held.go_on.set()
        for job in ("1", "2"):
            server.command("wait", job, "--timeout", "60s", check=False)
        tasks = [json.loads(server.command("show", job, "--json").stdout)["tasks"] for job in ("1", "2")]
    ends = [(task["state"], task["replicas"][0]["wall_ms"] is None) for of_job in tasks for task in of_job]
    assert ends == [("cancelled", True), ("cancelled", True), ("accepted", False), ("cancelled", True)]


@pytest.mark.slow
def test_how_far_an_input_is_is_told(tmp_path: Path) -> None:
    """Apart from what runs, by the coordinator's own word of what there is to bring; and no more when it is there."""
    size = 100 << 20

    def staging() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(server.command("show", "1", "--json").stdout)["job"].get("staging", [])
        return found

    with mesh(tmp_path) as (_, server, held):
        held.for_s = 1.0  # each part
        with (tmp_path / "in.txt").open("wb") as file:
            file.truncate(size)
        server.command("submit", str(tmp_path / "job.toml"))
        (way,) = until(staging, "a word on what is brought")
        assert (way["node"], way["files"], way["size"], 0 < way["sent"] < size) == ("one", 1, size, True)
        assert " waiting for inputs" in (tmp_path / "one.run.err").read_text()
        assert " of 100 MiB (1 file) sent to one" in server.command("show", "1").stdout
        held.go_on.set()
        server.command("wait", "1", "--timeout", "60s")
        assert staging() == []
        assert not list((tmp_path / "c/staging").iterdir())
