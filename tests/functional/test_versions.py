"""Agents of another version than their coordinator: both sides are told, with what to install; the right one goes on."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from functional.test_mesh import joined, working
from functional.test_standby import rows, until
from homes import PROGRAM
from servers import environment, running

import nexapod_batch
from nexapod_batch import __version__
from nexapod_batch.agent.client import Client
from nexapod_batch.agent.home import AgentHome
from nexapod_batch.mesh.messages import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Running

#: How much older or newer the protocol of the agent is, and what is to be done then.
OTHERS = {
    "older": (-1, f"update the agent, on the node: pip install --upgrade 'nexapod-batch=={__version__}'"),
    "newer": (1, "update the coordinator: pip install --upgrade 'nexapod-batch[server]'"),
}


class Meeting(NamedTuple):
    """A server with a node that joined, and a client of that node."""

    server: Running
    folder: Path
    client: Client


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meeting]:
    """Yield a server and a node that joined it with the right version."""
    folder = tmp_path_factory.mktemp("versions")
    with running(folder / "c") as server:
        joined(server, folder / "n", "--name", "n", "--owner", "ann")
        agent = AgentHome(folder / "n/agent/n")
        client = Client(server.url, agent.settings().pin, agent.signer())
        yield Meeting(server, folder, client)
        client.close()


def other(folder: Path, change: int) -> dict[str, str]:
    """Return what makes a program of ours one of another version: a copy of the package with another number in it."""
    source = Path(nexapod_batch.__file__).parent
    shutil.copytree(source, folder / "nexapod_batch", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "nexapod_batch/mesh/messages.py"
    text, changed = re.subn(r"(?m)^PROTOCOL = \d+$", f"PROTOCOL = {PROTOCOL + change}", file.read_text())
    assert changed == 1
    file.write_text(text)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("which", OTHERS)
def test_a_node_of_another_version_waits_and_both_sides_are_told(meeting: Meeting, tmp_path: Path, which: str) -> None:
    """It keeps asking, takes no work, and works as soon as it is of the right version."""
    change, told = OTHERS[which]
    server, home = meeting.server, meeting.folder / "n"
    job = server.command("submit", "--agree", "1", "--parsable", "--", "true").stdout.strip().partition(";")[0]
    env = {**environment(home), **other(tmp_path, change)}
    said = tmp_path / "said"
    with said.open("wb") as log:
        node = subprocess.Popen([PROGRAM, "node", "run", "--page-port", "off"], env=env, stdout=log, stderr=log)
    try:
        until("the owner to be told", lambda: told in said.read_text())
        until("the coordinator to know", lambda: "another version" in server.command("explain", job).stdout)
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
    assert f"got protocol {PROTOCOL + change} (nexapod-batch/{__version__})" in said.read_text()
    assert told in server.command("explain", job).stdout
    with working(home):
        until("the job to end", lambda: rows(server.home, "SELECT n_accepted FROM job WHERE id = ?", job) == [(1,)])


def test_joining_with_another_version(meeting: Meeting, tmp_path: Path) -> None:
    """It is refused for good, with what to install; nothing is registered."""
    change, told = OTHERS["older"]
    env = {**environment(tmp_path / "n"), **other(tmp_path, change)}
    argv = [PROGRAM, *meeting.server.join.split()[1:], "--name", "late"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert ("late",) not in rows(meeting.server.home, "SELECT name FROM node")


POLL = '"poll": "' + "0" * 32 + '"'
#: Calls in the words of other versions: status, and what is told.
CALLS = {
    "words that nobody knows yet": (f'{{{POLL}, "protocol": {PROTOCOL}, "mood": "good", "later": {{"x": [1]}}}}', 200, ""),
    "words of another version": ('{"protocol": 99, "ask": "work"}', 400, "agent and coordinator are of different versions"),
    "a number without words": (f'{{"protocol": {PROTOCOL}}}', 400, "missing required field"),
    "no number": ('{"ask": "work"}', 400, "no protocol"),
    "a number that is none": (f'{{{POLL}, "protocol": "two"}}', 400, "the body is not as it must be"),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_other_versions_may_say(meeting: Meeting, what: str) -> None:
    """More than is known is left out; what is missing, and what is said otherwise, is told by the version."""
    body, status, told = CALLS[what]
    reply = meeting.client.ask("POST", "/v1/work", body.encode())
    assert (reply.status, told in reply.body.decode()) == (status, True), reply.body
