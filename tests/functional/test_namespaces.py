"""Machines of their own, as far as one can be had: network namespaces, accounts, TLS; two are neighbours, one is behind NAT."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from apptainer.accounts import become
from homes import PROGRAM, open_folder
from namespaces import NEAR, SERVER, Net, network
from servers import Running, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces and accounts")]

MACHINES = (*NEAR, "far")
JOB = """schema = 1
[job]
name = "apart"
command = ["sh", "-c", "id -u > who; seq 2000 > out"]
[array]
ids = "1-4"
[[outputs]]
path = "out"
[quorum]
agree = 2
distinct = "owner"
"""


@contextmanager
def process(argv: Sequence[str], home: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program on a home until the block ends."""
    env = {**environment(home), "HOME": str(home.parent)}
    with log.open("ab") as errors:
        running = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=home.parent)
    assert running.stdout is not None
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(120)
        running.stdout.close()


@contextmanager
def account(folder: Path) -> Iterator[str]:
    """Make an account whose own a folder is, and remove it again."""
    name = f"nx{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", str(folder), "--user-group", name], check=True)
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
        yield name
    finally:
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


@contextmanager
def serving(net: Net, folder: Path) -> Iterator[Running]:
    """Serve a home inside the server's namespace."""
    argv = [*net.inside("server"), PROGRAM, "serve", "--init", "--host", SERVER, "--port", "0"]
    (folder / "server").mkdir()
    with process(argv, folder / "server/c", folder / "serve.err") as running:
        assert running.stdout is not None
        lines = [running.stdout.readline().rstrip("\n") for _ in range(3)]
        assert lines[0].startswith(f"https://{SERVER}:"), (folder / "serve.err").read_text()
        yield Running(folder / "server/c", lines[0], lines[1], lines[2], running)


def test_neighbours_share_no_task_and_one_behind_nat_works(tmp_path: Path) -> None:
    """Three owners, two networks: each task has one of the neighbours and the one elsewhere, whose router's address is seen."""
    with open_folder() as folder, network() as net, ExitStack() as stack:
        server = stack.enter_context(serving(net, folder))
        for machine in MACHINES:
            mine = folder / machine
            before = [*net.inside(machine), *become(stack.enter_context(account(mine)))]
            env = {**environment(mine / "home"), "HOME": str(mine)}
            join = [*before, PROGRAM, *server.join.split()[1:], "--name", machine, "--owner", machine]
            done = subprocess.run(join, env=env, capture_output=True, text=True, check=False, timeout=120, cwd=mine)
            assert done.returncode == 0, done.stderr
            stack.enter_context(process([*before, PROGRAM, "node", "run"], mine / "home", folder / f"{machine}.err"))
        (tmp_path / "job.toml").write_text(JOB)
        server.command("submit", str(tmp_path / "job.toml"), "--wait=4m")
        tasks = json.loads(server.command("show", "1", "--json").stdout)["tasks"]
        seen = json.loads(server.command("ledger", "log", "--json").stdout)["entries"]
        server.command("verify", "1")
        owners = {path.owner() for path in folder.glob("*/home/agent/*/work")}
    placed = [sorted(one["node"] for one in task["replicas"]) for task in tasks]
    assert all("far" in nodes and len(nodes) == 2 for nodes in placed), placed
    networks = {entry["node"]: entry["network"] for entry in seen if entry.get("kind") == "seen"}
    assert networks == {"near": "198.51.100.0/24", "neighbour": "198.51.100.0/24", "far": "203.0.113.0/24"}
    assert len(owners) == len(MACHINES)
