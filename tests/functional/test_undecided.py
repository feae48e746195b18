"""What a replica reported is nobody's business before the verdict: every path, every caller, while a task is undecided."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from joined_nodes import JoinedNode
from servers import Running, running

from nexapod_batch.agent.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"what was found, 4711 times\n"
JOB = {
    "command": ["sh", "-c", "make > out.txt"],
    "outputs": [{"path": "out.txt"}],
    "quorum": {"agree": 2, "distinct": "owner"},
}


class Scene(NamedTuple):
    """A server with a task of which one of two nodes has reported."""

    server: Running
    tokens: dict[str, str]  # of people, by what they are
    node: JoinedNode  # that has not reported
    pin: str
    secrets: tuple[bytes, ...]  # what must not be seen


class _Home(NamedTuple):
    path: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Let one node report, and wait until a pass has taken it in."""
    with running(tmp_path_factory.mktemp("undecided") / "home", "--rate", "10000") as server:
        home = _Home(server.home)
        first, other = JoinedNode(home, "first"), JoinedNode(home, "other")  # type: ignore[arg-type]
        tokens = {"an administrator": server.token, "nobody": ""}
        for name in ("the submitter", "somebody else"):
            made = server.ask("POST", "/v1/tokens", body={"person": name.split()[-1], "scope": "submit"})
            tokens[name] = made.json["token"]
        job = server.ask("POST", "/v1/jobs", token=tokens["the submitter"], body=JOB)
        assert job.status == 202, job.body
        while not (given := first.take()):
            time.sleep(0.05)
        said = first.statement(given[0], {"out.txt": SECRET})
        carried = {"out.txt": base64.b64encode(SECRET).decode(), "stdout": "", "stderr": ""}
        first.report(given[0], said, carried=json.dumps(carried))
        while b'"reported"' not in server.command("show", "1", "--json").stdout.encode():
            server.command("reconcile", check=False)
        digests = [hashlib.sha256(SECRET).hexdigest(), said.vote, said.possession]
        spelled = [spelling for digest in digests for spelling in (digest, base64.b64encode(bytes.fromhex(digest)).decode())]
        found = (SECRET.strip(), base64.b64encode(SECRET)[:20], f'"size":{len(SECRET)}'.encode(), *(one.encode() for one in spelled))
        words = server.join.split()
        yield Scene(server, tokens, other, words[words.index("--fingerprint") + 1], found)


def unfolded(data: bytes) -> bytes:
    """Return what was answered, and behind it what stands there in base64."""
    found = [data]
    for text in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", data):
        with suppress(ValueError):
            found.append(base64.b64decode(text))
    return b"\n".join(found)


def paths_of(scene: Scene) -> list[str]:
    """Return every path that the server says it answers GET on, with what is in braces filled in."""
    document = scene.server.ask("GET", "/v1/openapi.json").json
    values = {"job": "1", "task": "0", "name": "out.txt", "stream": "stdout", "slug": "not-found", "tile": "0/000"}
    values |= {"digest": hashlib.sha256(SECRET).hexdigest(), "node": "other", "token": "1", "owner": "owner of first"}
    found = []
    for path, methods in document["paths"].items():
        if "get" in methods:
            named = re.sub(r"\{(\w+)(?::path)?\}", lambda match: values.get(match[1], "1"), path)
            found.append(named.replace(" ", "%20"))
    return sorted(found)


@pytest.mark.parametrize("who", ["the submitter", "somebody else", "an administrator", "nobody"])
def test_nobody_is_shown_what_one_node_reported(scene: Scene, who: str) -> None:
    """Neither content nor size nor digest, in whatever spelling, whoever asks; errors repeat nothing of it either."""
    seen = {}
    for path in paths_of(scene):
        if path.endswith(scene.secrets[3].decode()):
            continue  # the digest was asked for by who knows it
        answer = scene.server.ask("GET", path, token=scene.tokens[who])
        shown = unfolded(answer.body) + json.dumps(answer.headers).encode()
        if leaks := [secret for secret in scene.secrets if secret in shown]:
            seen[path] = leaks
    assert seen == {}


def test_no_node_is_shown_what_another_one_reported(scene: Scene) -> None:
    """Signed as a node, on every path; its own channel brings work, and no answer differs by what others said."""
    client = Client(scene.server.url, scene.pin, scene.node.signer)
    seen = {}
    with closing(client):
        for path in paths_of(scene):
            reply = client.ask("GET", path)
            shown = unfolded(reply.body) + json.dumps(reply.headers).encode()
            if leaks := [secret for secret in scene.secrets if secret in shown and not path.endswith(secret.decode("latin-1"))]:
                seen[path] = leaks
        digest = scene.secrets[3].decode()
        missing = client.ask("POST", "/v1/blobs/missing", json.dumps({"digests": [digest]}).encode())
        held = client.ask("HEAD", f"/v1/blobs/{digest}")
    assert seen == {}
    assert json.loads(missing.body) == {"missing": [digest]}
    assert held.headers.get("upload-complete", "?0") == "?0"


def test_no_log_has_it(scene: Scene) -> None:
    """Neither the server's log nor that of refused requests."""
    written = (scene.server.home.parent / f"{scene.server.home.name}.serve.err").read_bytes()
    refused = scene.server.home / "server/refused.jsonl"
    written += refused.read_bytes() if refused.exists() else b""
    asked_for = scene.secrets[3]
    assert [secret for secret in scene.secrets if secret in written and secret != asked_for] == []
