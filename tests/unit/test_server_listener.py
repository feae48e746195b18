"""Clients that dawdle: silent ones, handshakes and heads that never end. Bounds are shortened, the sockets are real."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nexapod_batch.server import tls
from nexapod_batch.server.listener import ServerLimits, WebServer, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served(folder: Path, application: Any = hello) -> AsyncIterator[int]:
    """Serve on a port until the block ends."""
    certificate, key = tls.make(folder / "server", ["localhost"])
    listening = bind("127.0.0.1", 0)
    web = WebServer(application, listening, tls.context(certificate, key), behind_proxy=False)
    web.config.load()
    web.lifespan = web.config.lifespan_class(web.config)
    await web.startup()
    port = listening.getsockname()[1]
    ticking = asyncio.create_task(web.main_loop())
    try:
        yield port
    finally:
        web.should_exit = True
        await ticking
        await web.shutdown()


async def answered(port: int, data: bytes, *, tls_context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes and return everything that comes until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls_context)
    writer.write(data)
    got = await reader.read()
    writer.close()
    return got


async def silent(port: int) -> bytes:
    """Say nothing."""
    return await answered(port, b"")


async def slow_head(port: int) -> bytes:
    """Begin a request and never end its head."""
    return await answered(port, b"GET / HTTP/1.1\r\nHost: x\r\n")


async def slow_second_head(port: int) -> bytes:
    """Do so after a request that was answered."""
    got = await answered(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK")
    return got.partition(b"\r\n\r\nok")[2]


async def no_handshake(port: int) -> bytes:
    """Begin TLS and never go on."""
    return await answered(port, b"\x16\x03\x01\x02\x00")


@pytest.mark.parametrize(
    ("dawdle", "answer"),
    [(silent, b""), (no_handshake, b""), (slow_head, b"HTTP/1.1 408 "), (slow_second_head, b"HTTP/1.1 408 ")],
)
def test_who_dawdles_is_cut_off(
    dawdle: Callable[[int], Awaitable[bytes]], answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And others are answered meanwhile and afterwards."""
    for name in ("first_byte_s", "handshake_s", "head_s"):
        monkeypatch.setattr(ServerLimits, name, 0.3)

    async def work() -> tuple[bytes, bytes]:
        async with served(tmp_path) as port:
            first = await dawdle(port)
            return first, await answered(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    cut, other = asyncio.run(work())
    assert cut[: len(answer)] == answer
    assert len(answer) > 0 or cut == b""
    assert other.endswith(b"ok")


def test_connections_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there may be are refused; those that ended make room, however they ended."""
    monkeypatch.setattr(ServerLimits, "connections", 3)
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def work() -> list[bytes]:
        async with served(tmp_path) as port:
            held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            for one in held:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for one in held:
                await asyncio.to_thread(one.recv, 100)
            refused = b"?"
            try:
                refused = await answered(port, request)
            except ConnectionError:
                refused = b""
            for one in held:
                one.close()
            got = b""
            while not got:
                try:
                    got = await answered(port, request)
                except ConnectionError:
                    got = b""
            return [refused, got[-2:]]

    assert asyncio.run(work()) == [b"", b"ok"]


async def named(scope: Any, receive: Any, send: Any) -> None:
    """Read the body; answer with its size, and the names of the headers that there are then."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    said = b"%d " % size + b",".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
NAMES = b"host,transfer-encoding,connection"
#: What a client sends, and how the answer begins or ends.
HEADS = {
    "a trailer": (CHUNKED + b"2\r\nhi\r\n0\r\nHost: evil\r\nAuthorization: x\r\n\r\n", b"2 " + NAMES),
    "a short extension": (CHUNKED + b"2;a=b\r\nhi\r\n0\r\n\r\n", b"2 " + NAMES),
    "many pieces": (CHUNKED + b"1\r\n.\r\n" * 90_000 + b"0\r\n\r\n", b"90000 " + NAMES),
    "a long trailer": (CHUNKED + b"2\r\nhi\r\n0\r\nX: " + b"a" * 500_000, b"431"),
    "many trailers": (CHUNKED + b"2\r\nhi\r\n0\r\n" + b"X: aaaa\r\n" * 50_000, b"431"),
    "a long extension": (CHUNKED + b"2;" + b"a" * 500_000, b"431"),
    "a long number": (CHUNKED + b"0" * 500_000, b"431"),
    "another server's": (b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "another server's without a path": (b"GET http://evil.example HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "nobody's": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
}


@pytest.mark.parametrize("what", HEADS)
def test_what_stands_beside_a_body_is_bounded_and_says_nothing(what: str, tmp_path: Path) -> None:
    """Trailers and extensions of chunks become no headers, and do not go on for ever; this server is no proxy."""
    data, wanted = HEADS[what]

    async def work() -> bytes:
        async with served(tmp_path, named) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            got = b""
            try:
                while piece := await reader.read(1000):
                    got += piece
            except ConnectionError:  # the rest of what was sent is read by nobody
                pass
            writer.close()
            return got

    got = asyncio.run(work())
    assert got.endswith(wanted) or got.startswith(b"HTTP/1.1 " + wanted)


def test_many_requests_of_one_connection_are_many_heads(tmp_path: Path) -> None:
    """What is bounded is each head, not all of them together."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1000 + b"\r\n\r\n"

    async def work() -> list[bytes]:
        async with served(tmp_path) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = []
            for _ in range(100):
                writer.write(request)
                found.append(await reader.readuntil(b"ok"))
            writer.close()
            return found

    assert all(one.startswith(b"HTTP/1.1 200") for one in asyncio.run(work()))


def test_an_answer_that_finds_its_connection_at_its_end_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A head without end behind a good request ends both, without a word in the log."""

    async def work() -> bytes:
        async with served(tmp_path) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: " + b"a" * 100_000)
            try:
                got = await reader.read(1000)
            except ConnectionError:
                got = b""
            writer.close()
            return got

    assert asyncio.run(work())[:12] in {b"HTTP/1.1 431", b""}
    assert caplog.records == []
