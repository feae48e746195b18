"""A real Prometheus reads the metrics of a server over its own TLS, with a token, and of a node."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from servers import running

from nexapod_batch.agent.page import NodePage
from nexapod_batch.agent.state import State
from nexapod_batch.local_nodes.owner_policy import Owned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: server
    scheme: https
    tls_config: {{insecure_skip_verify: true}}
    authorization: {{credentials: {token}}}
    static_configs: [{{targets: ["127.0.0.1:{server}"]}}]
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{node}"]}}]
"""


def program(name: str) -> str:
    """Return where a program of Prometheus is."""
    found = shutil.which(name)
    assert found is not None, "bin/test installs it"
    return found


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[int]:
    """Run a Prometheus of a folder of its own; yield its port."""
    (folder / "config.yml").write_text(config)
    process, port = started(folder)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


def started(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start it where nobody else listens: a port that was free a moment ago may be taken now."""
    for _ in range(10):
        port = free_port()
        argv = [
            program("prometheus"), f"--config.file={folder}/config.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--web.console.libraries=/nonexistent",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder)
        while process.poll() is None:
            if b"Server is ready" in (folder / "log").read_bytes():
                return process, port
            time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


def value_of(port: int, expression: str, process_log: Path) -> list[str]:
    """Return the values of an expression as soon as there are some."""
    url = f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}"
    for _ in range(3_000):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:  # it comes up
            result = []
        if result:
            return [one["value"][1] for one in result]
        time.sleep(0.1)
    raise AssertionError(process_log.read_text())


@pytest.mark.slow
def test_both_are_read(tmp_path: Path) -> None:
    """Each target is up, its numbers are there, and promtool has nothing to say about their names."""
    spool = tmp_path / "spool"
    for folder in ("inbox", "claims", "refused"):
        (spool / folder).mkdir(parents=True)
    settings = {"host": socket.gethostname(), "cpus": 4, "mem_mib": 4096, "work": str(tmp_path), "backend": "joined"}
    (spool / "node.json").write_text(json.dumps(settings))
    node = NodePage(Owned(name="one", spool=spool, settings=settings), lambda: State(begun_at=time.time()), 0)
    with running(tmp_path / "home") as server:
        check = [program("promtool"), "check", "metrics"]
        done = subprocess.run(check, input=server.ask("GET", "/metrics").body, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
        config = CONFIG.format(token=server.token, server=server.port, node=node.port)
        with prometheus(tmp_path, config) as port:
            log = tmp_path / "log"
            assert value_of(port, 'up{job="server"} == 1', log) == ["1"]
            assert value_of(port, 'up{job="node"} == 1', log) == ["1"]
            assert value_of(port, "nexapod_open_jobs", log) == ["0"]
            assert value_of(port, "nexapod_node_cpus", log) == ["4"]
    node.close()
