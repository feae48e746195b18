"""What goes wrong between nodes and their coordinator: every task ends as it would have, and nothing runs twice."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from chaos_proxy import between
from functional.test_mesh import joined, working
from homes import PROGRAM, Home
from servers import environment, running

from nexapod_batch.agent.client import Client
from nexapod_batch.agent.home import AgentHome
from nexapod_batch.mesh import signatures
from nexapod_batch.store import Store
from nexapod_batch.trust.dsse import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

TASKS = 4
ARRAY = """
schema = 1
[job]
name = "many"
command = ["sh", "-c", "echo {n}; head -c 90000 /dev/zero > out.bin"]
[array]
matrix = { n = [1, 2, 3, 4] }
[[outputs]]
path = "out.bin"
"""


def replicas_of(server: Running) -> list[tuple[int, int, str, str | None]]:
    """Return task, number, execution and validation of every replica of job 1."""
    store = Store.open(server.home / "state.db", write=False)
    try:
        return [
            (task, row.number, row.execution, row.validation)
            for task in range(TASKS)
            for row in store.replicas.of_task(1, task)
        ]
    finally:
        store.close()


def all_went_well(server: Running) -> None:
    """Each task has two replicas, the first and the second: none was lost, replaced or void."""
    wanted = [(task, number, "reported", "valid") for task in range(TASKS) for number in (1, 2)]
    assert sorted(replicas_of(server)) == wanted
    server.command("verify", "1")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])  # others were tried: each costs half a minute
def test_a_network_that_loses_repeats_and_refuses(tmp_path: Path, seed: int) -> None:
    """Three of ten requests meet with something; the job ends as if none had."""
    (tmp_path / "job.toml").write_text(ARRAY)
    with running(tmp_path / "c") as server, between(server.port, seed) as proxy, ExitStack() as stack:
        token = server.join.split()[-1]
        for name in ("one", "two"):
            argv = [PROGRAM, "node", "join", proxy.url, "--token", token, "--name", name, "--owner", name]
            subprocess.run(argv, env=environment(tmp_path / name), check=True, capture_output=True, timeout=120)
        proxy.wild = True
        for name in ("one", "two"):
            stack.enter_context(working(tmp_path / name))
        server.command("submit", str(tmp_path / "job.toml"), "--wait")
        all_went_well(server)
    assert sum(number for kind, number in proxy.met.items() if kind) > 0


def acknowledges_by_poll(body: bytes) -> str:
    """Let every long poll fail that acknowledges something."""
    asked = json.loads(body or b"{}")
    return "504 before" if asked.get("acknowledged") and asked.get("wait_s") else ""


@pytest.mark.slow
def test_reports_come_while_every_acknowledgement_of_a_poll_is_lost(tmp_path: Path) -> None:
    """What a launch needs before its reports count goes before them, by whichever call."""
    (tmp_path / "job.toml").write_text(ARRAY)
    with running(tmp_path / "c") as server, between(server.port, 0) as proxy, ExitStack() as stack:
        token = server.join.split()[-1]
        for name in ("one", "two"):
            argv = [PROGRAM, "node", "join", proxy.url, "--token", token, "--name", name, "--owner", name]
            subprocess.run(argv, env=environment(tmp_path / name), check=True, capture_output=True, timeout=120)
        server.command("submit", str(tmp_path / "job.toml"))
        proxy.rule = acknowledges_by_poll
        for name in ("one", "two"):
            stack.enter_context(working(tmp_path / name))
        until_all_reported(server)
        proxy.rule = lambda _: ""
        server.command("wait", "1")
        all_went_well(server)


def until_all_reported(server: Running) -> None:
    """Wait until no replica of job 1 is without a report."""
    end = time.monotonic() + 300
    while [state for _, _, state, _ in replicas_of(server)].count("reported") < 2 * TASKS:
        assert time.monotonic() < end, replicas_of(server)
        time.sleep(0.05)


@pytest.mark.slow
def test_server_and_agent_are_killed(tmp_path: Path) -> None:
    """Kill -9 of both while work is out: what was reported stays, what runs is reported, nothing runs a second time."""
    (tmp_path / "job.toml").write_text(ARRAY)
    with running(tmp_path / "c") as first, ExitStack() as stack:
        agents = []
        for name in ("one", "two"):
            joined(first, tmp_path / name, "--name", name, "--owner", name)
            agents.append(stack.enter_context(working(tmp_path / name)))
        first.command("submit", str(tmp_path / "job.toml"))
        while not any(execution == "reported" for _, _, execution, _ in replicas_of(first)):
            time.sleep(0.05)
        for process in (first.process, agents[0]):
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
        with running(tmp_path / "c", "--port", str(first.port), init=False) as second, working(tmp_path / "one"):
            second.command("wait", "1")
            all_went_well(second)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Signer]]:
    """Return a server, and the key of a node that joined it."""
    folder = tmp_path_factory.mktemp("mesh")
    with running(folder / "c") as server:
        joined(server, folder / "one", "--name", "one", "--owner", "ann")
        yield server, AgentHome(folder / "one/agent/one").signer()


def call(server: Running, signer: Signer, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Send what a node sends, where some of it is otherwise than it was signed; return status and problem."""
    body = json.dumps({"poll": os.urandom(16).hex(), "more": changes.get("more", "")}).encode()
    authority = f"127.0.0.1:{server.port}"
    signed = {"method": "POST", "authority": authority, "target": "/v1/work", "created": int(time.time()), **changes}
    headers = signatures.headers(
        signer, signed["method"], signed["authority"], signed["target"], body, created=signed["created"],
        nonce=changes.get("nonce", os.urandom(16).hex()),
    )  # fmt: skip
    headers |= {"content-type": "application/json", **changes.get("headers", {})}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/v1/work", changes.get("body", body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


HOSTILE: dict[str, tuple[dict[str, Any], int]] = {
    "as it should be": ({}, 200),
    "unsigned": ({"headers": {"signature": "", "signature-input": ""}}, 401),
    "stale": ({"created": int(time.time()) - 86_400}, 401),
    "from before the server": ({"created": int(time.time()) - 250}, 401),
    "of the future": ({"created": int(time.time()) + 86_400}, 401),
    "for another host": ({"authority": "other.example:5000"}, 401),
    "for another path": ({"target": "/v1/nodes"}, 401),
    "for another query": ({"target": "/v1/work?x=1"}, 401),
    "for another method": ({"method": "PATCH"}, 401),
    "with another body": ({"body": b'{"poll":"%s"}' % (b"0" * 32)}, 401),
    "with a token instead": ({"headers": {"signature": "", "authorization": f"Bearer nxp_{'A' * 43}"}}, 401),
}


@pytest.mark.parametrize(("changes", "status"), HOSTILE.values(), ids=HOSTILE)
def test_requests_that_a_node_did_not_sign_so(
    node: tuple[Running, Signer], changes: dict[str, Any], status: int
) -> None:
    """Each is a problem with a reason, before anything of it is looked at."""
    server, signer = node
    got, said = call(server, signer, **changes)
    assert (got, bool(status == 200 or said["detail"])) == (status, True)


def test_a_request_counts_once(node: tuple[Running, Signer]) -> None:
    """The same nonce again is refused, also in another request."""
    server, signer = node
    nonce = os.urandom(16).hex()
    answers = [call(server, signer, nonce=nonce) for _ in range(2)]
    assert [status for status, _ in answers] == [200, 401]
    assert "came before" in answers[1][1]["detail"]


def test_a_key_that_is_no_nodes(node: tuple[Running, Signer]) -> None:
    """A good signature by a stranger's key opens nothing."""
    status, said = call(node[0], Signer.from_seed(os.urandom(32)))
    assert (status, "no node's here" in said["detail"]) == (401, True)


def test_a_key_that_was_revoked(node: tuple[Running, Signer], tmp_path: Path) -> None:
    """It opens nothing any more; a node that was only drained may still report."""
    server, _ = node
    said = joined(server, tmp_path / "gone", "--name", "gone", "--owner", "bob")
    signer = AgentHome(tmp_path / "gone/agent/gone").signer()
    server.command("node", "drain", "gone")
    answered(server, signer, 200)
    server.command("key", "revoke", said["key"], "--since", "0")
    answered(server, signer, 401)
    assert "was revoked" in call(server, signer)[1]["detail"]
    resumed = server.command("node", "resume", "gone", check=False)
    again = Home(tmp_path, "gone").call(*server.join.split()[1:], "--name", "gone", "--owner", "bob")
    for code, told in ((resumed.returncode, resumed.stderr), (again.code, again.err)):
        assert (code, "was revoked" in told, "node leave --force" in told) == (2, True, True)


def answered(server: Running, signer: Signer, status: int) -> None:
    """Call until this is the answer: keys are read once a second."""
    end = time.monotonic() + 60
    while (got := call(server, signer)[0]) != status:
        assert time.monotonic() < end, f"the answer is {got} still"
        time.sleep(0.05)


def test_a_clock_that_is_days_off(node: tuple[Running, Signer]) -> None:
    """The first answer tells what time it is there, and the request is signed by that."""
    server, signer = node
    client = Client(f"http://127.0.0.1:{server.port}", "", signer)
    client.ahead_s = -3 * 86_400.0
    answer = client.post("/v1/work", json.dumps({"poll": os.urandom(16).hex()}).encode())
    client.close()
    assert json.loads(answer)["messages"] == []
    assert abs(client.ahead_s) < 3_600


BODIES = {
    "no JSON": (b"{", 400),
    "invalid UTF-8": (b'{"poll": "\xff"}', 400),
    "too deep": (b"[" * 100_000, 400),
    "another type": (b'{"poll": 1}', 400),
    "a key twice": (b'{"poll": "%s", "wait_s": 9, "wait_s": 0}' % (b"0" * 32), 400),
    "a key twice within": (b'{"poll": "%s", "launches": {"a": {"state": "x"}, "a": {"state": "y"}}}' % (b"0" * 32), 400),
    "no number": (b'{"poll": "%s", "wait_s": NaN}' % (b"0" * 32), 400),
    "a time that is over": (b'{"poll": "%s", "wait_s": -1}' % (b"0" * 32), 422),
    "an epoch before all": (b'{"poll": "%s", "epoch": -1}' % (b"0" * 32), 422),
    "no poll": (b"{}", 400),
    "a poll that is a path": (b'{"poll": "../../etc/passwd"}', 422),
    "another version": (b'{"poll": "%s", "protocol": 99}' % (b"0" * 32), 400),
    "a segment elsewhere": (b'{"poll": "%s", "lines": [{"segment": "../x.jsonl", "at": 0, "text": "x\\n"}]}' % (b"0" * 32), 422),
    "too large": (b" " * (5 << 20), 413),
}


@pytest.mark.parametrize(("body", "wanted"), BODIES.values(), ids=BODIES)
def test_bodies_that_no_agent_sends(node: tuple[Running, Signer], body: bytes, wanted: int) -> None:
    """Signed or not: refused with what was got, and the node works on."""
    server, signer = node
    signed = signatures.headers(
        signer, "POST", f"127.0.0.1:{server.port}", "/v1/work", body, created=int(time.time()), nonce=os.urandom(16).hex()
    )
    answer = server.ask("POST", "/v1/work", token="", body=body, **{name.replace("-", "_"): value for name, value in signed.items()}, content_type="application/json")
    assert answer.status == wanted
    assert call(server, signer)[0] == 200


def test_a_node_that_says_very_much_waits_for_its_turn(node: tuple[Running, Signer]) -> None:
    """It cannot keep the server reading: what it says counts by its size, and after a while it is heard again."""
    server, signer = node
    with ThreadPoolExecutor(8) as crowd:
        found = list(crowd.map(lambda _: call(server, signer, more="x" * 4_000_000), range(64)))
    assert {status for status, _ in found} == {200, 429}
    assert {answer["detail"] for status, answer in found if status == 429} == {"too many requests with this key"}
    answered(server, signer, 200)
