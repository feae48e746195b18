"""Bodies that arrive: however they are cut into pieces, over TLS or not, a handler sees what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request
from unit.test_server_listener import served

from nexapod_batch.server import bodies
from nexapod_batch.server.problems import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST = 4 << 20
#: Lengths around those of a TLS record, of the buffer of a server, and of a small body.
LENGTHS = (0, 1, 16_384, 49_152, 49_153, 65_536, 65_537, 300_000)


async def hashing(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the SHA-256 of a body, once the whole of it is there; or refuse it."""
    status, answer = 200, b""
    try:
        data = await bodies.read(Request(scope, receive), MOST)
    except RequestError as error:
        status = error.kind.status
    else:
        answer = hashlib.sha256(data).hexdigest().encode()
        bodies.give_back(data)
    headers = [(b"content-length", b"%d" % len(answer)), (b"connection", b"keep-alive")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def content(length: int) -> bytes:
    """Return bytes of which no two stretches are alike."""
    return hashlib.shake_128(b"%d" % length).digest(length)


def announced(body: bytes) -> bytes:
    """Return a request that says how long its body is."""
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    """Return a request with its body in chunks of another length than anything else has."""
    pieces = [body[at : at + 50_001] for at in range(0, len(body), 50_001)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"


def endless(body: bytes) -> bytes:
    """Return a request in chunks that does not end with its body."""
    return chunked(body).removesuffix(b"0\r\n\r\n")


async def answers(port: int, requests: bytes, count: int, cut: int, tls: ssl.SSLContext | None) -> list[bytes]:
    """Send requests on one connection, cut into pieces; return the bodies of the answers, or their status lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)

    async def send() -> None:
        for at in range(0, len(requests), cut):
            writer.write(requests[at : at + cut])
            await writer.drain()

    sending = asyncio.create_task(send())
    got = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        is_good = head.startswith(b"HTTP/1.1 200 ")
        got.append(await reader.readexactly(64) if is_good else head[:12])
    await sending
    writer.close()
    return got


def sent(folder: Path, requests: Sequence[bytes], *, cut: int, is_tls: bool) -> list[bytes]:
    """Return what a server answers to requests that go out without waiting for any answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def work() -> list[bytes]:
        async with served(folder, hashing) as port:
            return await answers(port, b"".join(requests), len(requests), cut, context if is_tls else None)

    return asyncio.run(work())


@pytest.mark.parametrize("is_tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("form", [announced, chunked])
@pytest.mark.parametrize("cut", [10_000, 70_000, 1 << 30], ids=["small pieces", "large pieces", "at once"])
def test_bodies_arrive_as_they_were_sent(tmp_path: Path, form: Any, cut: int, *, is_tls: bool) -> None:
    """Each body of many on one connection is its own, whatever the one before left in a place that is used again."""
    lengths = [*LENGTHS, MOST, *reversed(LENGTHS)]
    got = sent(tmp_path, [form(content(length)) for length in lengths], cut=cut, is_tls=is_tls)
    assert got == [hashlib.sha256(content(length)).hexdigest().encode() for length in lengths]


@pytest.mark.parametrize("form", [announced, chunked, endless])
def test_a_body_that_is_too_large_is_refused(tmp_path: Path, form: Any) -> None:
    """Whether it says so, or comes in chunks until it is, and nobody waits for its end."""
    assert sent(tmp_path, [form(content(MOST + 1))], cut=1 << 30, is_tls=True) == [b"HTTP/1.1 413"]
