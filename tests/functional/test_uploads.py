"""Uploads that stop: what arrived of them, what others may do meanwhile, and the room that they give back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
from functional.test_mesh import joined
from functional.test_serve_inputs import CONTENT, DIGEST, WISH, send, state, token_of
from servers import running
from starlette.requests import Request

from nexapod_batch.agent import transfer
from nexapod_batch.agent.client import Client, RefusedError
from nexapod_batch.agent.home import AgentHome
from nexapod_batch.agent.lanes import Lanes
from nexapod_batch.agent.parts import Parts
from nexapod_batch.config.settings import Paths
from nexapod_batch.errors import TryAgainError
from nexapod_batch.mesh.blobs import KEPT_S, PART
from nexapod_batch.server import bodies, person_uploads
from nexapod_batch.server.problems import TOO_SLOW, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Running

    from nexapod_batch.agent.client import Reply

BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home, with a node that joined and does not run."""
    folder = tmp_path_factory.mktemp("uploads")
    with running(folder / "c") as started:
        joined(started, folder / "n", "--name", "n", "--owner", "ann")
        yield started


@pytest.fixture(scope="module")
def node(server: Running) -> Iterator[Client]:
    """Yield a client of the node."""
    agent = AgentHome(server.home.parent / "n/agent/n")
    client = Client(server.url, agent.settings().pin, agent.signer())
    yield client
    client.close()


def begun(server: Running, token: str, body: bytes) -> ssl.SSLSocket:
    """Begin to send the whole input on a connection of its own: the head, and so much of the body."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=60))
    head = [
        f"PATCH /v1/inputs/{DIGEST} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", f"Content-Type: {BINARY}",
        f"Content-Length: {len(CONTENT)}", "Upload-Offset: 0", f"Upload-Length: {len(CONTENT)}",
    ]  # fmt: skip
    connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return connection


def status_of(connection: ssl.SSLSocket) -> int:
    """Return the status of the answer that comes."""
    with connection:
        return int(connection.recv(4096).split(b" ", 2)[1])


def test_half_a_body_and_then_silence() -> None:
    """It ends with 408 and says how much came: nobody waits for the rest."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"12345", "more_body": True}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await asyncio.Future()

    request = Request({"type": "http", "method": "PATCH", "headers": [(b"content-length", b"10")]}, receive)
    with pytest.raises(RequestError) as told:
        asyncio.run(bodies.read(request, 100, patience_s=0.05))
    assert told.value.kind is TOO_SLOW
    assert str(told.value.got).startswith("5 bytes in ")


def test_half_a_body_and_then_nobody(server: Running) -> None:
    """Nothing of that part counts; another connection sends it, and the job gets the whole."""
    token = token_of(server, "ann")
    begun(server, token, CONTENT[:5]).close()
    assert state(server, token) == ("0", "?0")
    assert send(server, token, 0, CONTENT[:7]).status == 204
    begun(server, token, b"").close()
    assert state(server, token) == ("7", "?0")
    assert send(server, token, 7, CONTENT[7:]).status == 204
    assert state(server, token) == ("10", "?1")
    assert server.ask("POST", "/v1/jobs", token=token, body={**WISH, "files": {"in": {"sha256": DIGEST}}}).status == 202


def test_two_send_the_same_at_the_same_time(server: Running) -> None:
    """Whoever comes first is taken; the other hears that it is there. Its content is what it claims."""
    token = token_of(server, "bob")
    first, second = (begun(server, token, CONTENT[:4]) for _ in range(2))
    first.sendall(CONTENT[4:])
    assert status_of(first) == 204
    second.sendall(b"other!")
    assert status_of(second) == 204
    assert state(server, token) == ("10", "?1")
    folder = person_uploads.folder_of(Paths.of(server.home), "bob")
    assert (folder / DIGEST).read_bytes() == CONTENT


def test_what_stopped_gives_its_room_back(server: Running) -> None:
    """After a day without a part it is gone, with the next thing that is sent; what goes on stays."""
    token = token_of(server, "carol")
    folder = person_uploads.folder_of(Paths.of(server.home), "carol")
    assert send(server, token, 0, CONTENT[:5]).status == 204
    (partial,) = folder.iterdir()
    other = hashlib.sha256(b"x").hexdigest()
    for age_s, there in ((KEPT_S / 2, True), (2 * KEPT_S, False)):
        os.utime(partial, (time.time() - age_s,) * 2)
        assert send(server, token, 0, b"x", 1, other).status == 204
        (folder / other).unlink()
        assert partial.exists() == there


def part(node: Client, content: bytes, at: int, data: bytes, total: int) -> Reply:
    """Send a part of a file from the node."""
    more = {"upload-offset": str(at), "upload-length": str(total)}
    return node.ask("PATCH", f"/v1/blobs/{hashlib.sha256(content).hexdigest()}", data, media=BINARY, more=more)


def test_a_node_sends_no_more_than_it_was_asked_for(server: Running, node: Client) -> None:
    """Neither unasked, nor beyond what was asked for in all, however it announces it; that much it may send."""
    spool = server.home / "spool/n"
    assert part(node, CONTENT, 0, CONTENT, 10).status == 403
    (spool / "wanted/1_0.1").write_text("8\n")
    (spool / "wanted/1_1.1").write_text("7\n")
    assert part(node, CONTENT, 0, CONTENT[:5], 16).status == 413
    assert part(node, CONTENT, 0, CONTENT[:5], 10).status == 204
    assert part(node, CONTENT, 5, CONTENT[5:], 16).status == 413
    assert part(node, CONTENT, 5, CONTENT[5:], 10).status == 204
    assert part(node, b"beyond", 0, b"beyond", 6).status == 413
    assert part(node, b"small", 0, b"small", 5).status == 204


def test_what_a_node_stopped_sending_gives_its_room_back(server: Running, node: Client) -> None:
    """After a day, with the next part of anything: it takes nothing of what the node may send."""
    spool = server.home / "spool/n"
    for path in (*(spool / "wanted").iterdir(), *(spool / "blobs").iterdir()):
        path.unlink()
    (spool / "wanted/1_0.1").write_text("10\n")
    assert part(node, b"never", 0, b"nev", 5).status == 204
    assert part(node, CONTENT, 0, CONTENT, 10).status == 413
    (partial,) = (spool / "blobs").iterdir()
    os.utime(partial, (time.time() - 2 * KEPT_S,) * 2)
    assert part(node, CONTENT, 0, CONTENT, 10).status == 204
    assert [path.name for path in (spool / "blobs").iterdir()] == [DIGEST]


@pytest.mark.parametrize(
    ("size", "there"),
    [(0, 0), (1, 0), (PART, 0), (PART + 1, 0), (4 * PART + 5, 0), (3 * PART, PART + 3), (2 * PART + 5, 2 * PART)],
    ids=["empty", "one byte", "one part", "a byte more", "many parts", "gone on with", "its end alone"],
)
def test_a_file_of_some_parts_arrives_as_it_is(server: Running, node: Client, tmp_path: Path, size: int, there: int) -> None:
    """Whatever is on its way at once; from the byte on at which it was cut off."""
    spool, content = server.home / "spool/n", hashlib.shake_128(b"a file").digest(size)
    (spool / "wanted/1_0.1").write_text("")
    (tmp_path / "out").write_bytes(content)
    for at in range(0, there, PART):
        assert part(node, content, at, content[at : min(at + PART, there)], size).status == 204
    digest = transfer.send(node, tmp_path, "out")
    assert digest == hashlib.sha256(content).hexdigest()
    assert (spool / "blobs" / digest).read_bytes() == content


def test_what_a_server_began_its_next_process_goes_on_with(server: Running, node: Client, tmp_path: Path) -> None:
    """It does not know the SHA-256 of what is there, and asks for that of each part."""
    spool, content = server.home / "spool/n", hashlib.shake_128(b"begun").digest(2 * PART + 5)
    (spool / "wanted/1_0.1").write_text("")
    (tmp_path / "out").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (spool / "blobs" / f".{digest}.part").write_bytes(content[:PART])
    head = node.ask("HEAD", f"/v1/blobs/{digest}").headers
    assert (head["upload-offset"], head["want-content-digest"]) == (str(PART), "sha-256")
    assert transfer.send(node, tmp_path, "out") == digest
    assert (spool / "blobs" / digest).read_bytes() == content


def test_a_file_that_changes_while_it_is_sent_is_refused(server: Running, node: Client, tmp_path: Path) -> None:
    """No byte of it counts that was not hashed before; what came before stays, and the same client is used again."""
    spool, content = server.home / "spool/n", hashlib.shake_128(b"changes").digest(3 * PART)
    (spool / "wanted/1_0.1").write_text("")
    path = tmp_path / "out"
    path.write_bytes(content)
    with path.open("r+b") as stream:
        parts = Parts(stream.fileno())
        stream.seek(PART + 17)
        stream.write(b"other")
        stream.flush()
        sent = f"/v1/blobs/{parts.sha256}"
        with Lanes(node, sent, parts) as lanes:
            lanes.so_far = True
            reply = lanes.send(0)
    assert reply is not None
    assert (reply.status, b"not the one that was signed" in reply.body) == (401, True)
    assert node.ask("HEAD", sent).headers["upload-offset"] == str(PART)
    path.write_bytes(content)
    assert transfer.send(node, tmp_path, "out") == parts.sha256
    assert (spool / "blobs" / parts.sha256).read_bytes() == content


def test_a_file_that_becomes_shorter_while_it_is_sent_is_told(server: Running, node: Client, tmp_path: Path) -> None:
    """The part that it ends in does not arrive, and the next request is answered as ever."""
    spool, content = server.home / "spool/n", hashlib.shake_128(b"shorter").digest(PART + 500_000)
    (spool / "wanted/1_0.1").write_text("")
    path = tmp_path / "out"
    path.write_bytes(content)
    with path.open("r+b") as stream:
        parts = Parts(stream.fileno())
        stream.truncate(PART + 300_000)
        with Lanes(node, f"/v1/blobs/{parts.sha256}", parts) as lanes, pytest.raises(TryAgainError, match="became shorter"):
            lanes.send(0)
    assert node.ask("HEAD", f"/v1/blobs/{parts.sha256}").headers["upload-offset"] == str(PART)


def test_a_file_that_is_taken_no_more_is_told(server: Running, node: Client, tmp_path: Path) -> None:
    """Of parts that are on their way at once the first one that was refused says why."""
    (server.home / "spool/n/wanted/1_0.1").write_text(f"{PART}\n")
    (tmp_path / "out").write_bytes(bytes(3 * PART))
    with pytest.raises(RefusedError, match="more than was asked for"):
        transfer.send(node, tmp_path, "out")
