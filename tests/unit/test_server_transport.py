"""Connections of a server: what is read slowly arrives whole, and who is refused while they send hears why."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from unit.test_server_listener import served

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n"
#: More than the buffers of the kernel between two sockets take.
LARGE = hashlib.shake_128(b"large").digest(24 << 20)


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer with many bytes, in pieces."""
    headers = [(b"content-length", b"%d" % len(LARGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(LARGE), 1 << 20):
        piece = LARGE[at : at + (1 << 20)]
        await send({"type": "http.response.body", "body": piece, "more_body": at + len(piece) < len(LARGE)})


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Answer with a piece at once, and with another one, some turns of the loop later, when the client has the first."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"on", "more_body": True})
    await receive()  # the end of the request, which the client sends then
    await send({"type": "http.response.body", "body": b"ce"})


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Refuse a request without a look at its body."""
    headers = [(b"content-length", b"2"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


def trusting() -> ssl.SSLContext:
    """Return TLS that trusts anybody."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def connected(port: int, *, tls: bool) -> socket.socket:
    """Return a connection."""
    made = socket.create_connection(("127.0.0.1", port))
    return trusting().wrap_socket(made) if tls else made


def everything(connection: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    found = bytearray()
    with connection:
        while piece := connection.recv(1 << 20):
            found += piece
    return bytes(found)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_large_answer_arrives_whole(tmp_path: Path, *, tls: bool) -> None:
    """Over a connection that takes little at a time, which the server ends when all of it was sent."""

    async def work() -> bytes:
        async with served(tmp_path, large) as port:
            connection = await asyncio.to_thread(connected, port, tls=tls)
            connection.sendall(REQUEST + b"Connection: close\r\n\r\n")
            return await asyncio.to_thread(everything, connection)

    head, _, body = asyncio.run(work()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert hashlib.sha256(body).digest() == hashlib.sha256(LARGE).digest()


def test_a_head_travels_with_the_body_behind_it(tmp_path: Path) -> None:
    """In one record, which is what one look at a connection over TLS gives; what follows later follows alone."""

    async def work() -> tuple[bytes, bytes]:
        async with served(tmp_path, slow) as port:
            with await asyncio.to_thread(connected, port, tls=True) as connection:
                connection.sendall(REQUEST + b"Content-Length: 1\r\n\r\n")
                first = await asyncio.to_thread(connection.recv, 1 << 16)
                connection.sendall(b"x")
                return first, await asyncio.to_thread(connection.recv, 1 << 16)

    first, second = asyncio.run(work())
    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (body, second) == (b"on", b"ce")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_who_is_refused_hears_it(tmp_path: Path, *, tls: bool) -> None:
    """Also who sends all of a large body before reading anything: what is unread breaks no connection."""

    def send_first(port: int) -> bytes:
        connection = connected(port, tls=tls)
        connection.sendall(REQUEST.replace(b"GET", b"POST") + b"Content-Length: %d\r\n\r\n" % len(LARGE))
        for at in range(0, len(LARGE), 1 << 20):
            connection.sendall(LARGE[at : at + (1 << 20)])
        return everything(connection)

    async def work() -> bytes:
        async with served(tmp_path, refusing) as port:
            return await asyncio.to_thread(send_first, port)

    assert asyncio.run(work()).startswith(b"HTTP/1.1 413 ")


def with_new_keys(port: int) -> bytes:
    """Ask three times over one connection, with new keys for both sides in between; return all answers."""
    argv = ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes) as client:  # type: ignore[call-overload]
        said, answers, notes = (stream.fileno() for stream in (client.stdin, client.stdout, client.stderr))
        got = noted = b""
        for number in range(3):
            if number:
                os.write(said, b"K\n")  # counts where it is read alone
                while noted.count(b"KEYUPDATE") < number:
                    noted += os.read(notes, 4096)
            os.write(said, REQUEST + b"\r\n")
            while got.count(b"\r\n\r\nok") <= number:
                got += os.read(answers, 65536)
        client.stdin.close()
        return got


def test_keys_may_change(tmp_path: Path) -> None:
    """A client that asks for new keys between two requests is answered under them."""

    async def work() -> bytes:
        async with served(tmp_path) as port:
            return await asyncio.to_thread(with_new_keys, port)

    assert asyncio.run(work()).count(b"HTTP/1.1 200 OK") == 3


def test_who_resets_a_connection_ends_it(tmp_path: Path) -> None:
    """While an answer is on its way: others are answered."""

    def reset(port: int) -> None:
        connection = connected(port, tls=True)
        connection.sendall(REQUEST + b"\r\n")
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    async def work() -> bytes:
        async with served(tmp_path, large) as port:
            await asyncio.to_thread(reset, port)
            connection = await asyncio.to_thread(connected, port, tls=True)
            connection.sendall(REQUEST + b"Connection: close\r\n\r\n")
            return await asyncio.to_thread(everything, connection)

    assert asyncio.run(work()).endswith(LARGE[-100:])
