"""What strangers send: each is refused with the right status, and the server goes on."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one home for all tests of this file."""
    with running(tmp_path_factory.mktemp("hostile") / "home", "--rate", "10000") as started:
        yield started


def send(server: Running, *parts: bytes, tls: bool = True) -> bytes:
    """Return everything that comes back until the connection ends, or an answer without an end of it is complete."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: socket.socket = context.wrap_socket(plain) if tls else plain
        with connection:
            got = b""
            try:
                for part in parts:
                    connection.sendall(part)
                while b"\r\n\r\n" not in got or not _is_complete(got):
                    more = connection.recv(65536)
                    if not more:
                        break
                    got += more
            except (ConnectionError, ssl.SSLError):
                pass  # it was cut off: what came before counts
            return got


def _is_complete(got: bytes) -> bool:
    head, _, body = got.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def status_of(answer: bytes) -> int:
    """Return the status of the first answer; 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def request(server: Running, *lines: bytes, method: bytes = b"POST", path: bytes = b"/v1/jobs", body: bytes = b"") -> bytes:
    """Return the bytes of a request with an administrator's token, and more header lines."""
    host = f"127.0.0.1:{server.port}".encode()
    head = [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Authorization: Bearer " + server.token.encode(), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def with_json(server: Running, body: bytes) -> bytes:
    """Return a submission of a body."""
    length = b"Content-Length: " + str(len(body)).encode()
    return request(server, b"Content-Type: application/json", length, body=body)


BODIES = {
    "not JSON": b"{",
    "nothing": b" ",
    "a key twice": b'{"command": ["true"], "command": ["false"]}',
    "a key twice, deep": b'{"job": {"env": {"A": "1", "A": "2"}}}',
    "NaN": b'{"command": ["true"], "x": NaN}',
    "Infinity": b'{"command": ["true"], "x": -Infinity}',
    "too large a number": b'{"command": ["true"], "x": 1e999}',
    "too long a number": b'{"command": ["true"], "x": ' + b"9" * 100_000 + b"}",
    "too deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "never closed": b"[" * 100_000,
    "half a surrogate pair": b'{"command": ["\\ud800"]}',
    "not UTF-8": b'{"command": ["\xff"]}',
    "UTF-16": '{"command": ["true"]}'.encode("utf-16"),
    "a control character": b'{"command": ["a\x01b"]}',
    "a list": b'["true"]',
    "a text": b'"true"',
    "null": b"null",
    "two values": b"{} {}",
}


@pytest.mark.parametrize("what", BODIES)
def test_bodies_that_are_no_descriptor(server: Running, what: str) -> None:
    """Status 400, and nothing is stored."""
    assert status_of(send(server, with_json(server, BODIES[what]))) == 400
    assert server.ask("GET", "/v1/jobs").json["items"] == []


HEADS = {
    "another host": (421, b"Host: evil.example"),
    "two hosts": (421, b"Host: localhost\r\nHost: localhost"),
    "no host": (421, b"X: y"),
    "a host with a bad port": (421, b"Host: localhost:99999999"),
    "a host with a user": (421, b"Host: user@localhost"),
    "a host that begins like ours": (421, b"Host: localhost.evil.example"),
    "an address": (200, b"Host: 127.0.0.1"),
    "our name in capitals": (200, b"Host: LOCALHOST"),
    "an IPv6 address": (200, b"Host: [::1]:80"),
}


@pytest.mark.parametrize("what", HEADS)
def test_hosts(server: Running, what: str) -> None:
    """A page in a browser cannot reach this server under a name of its own."""
    status, line = HEADS[what]
    assert status_of(send(server, b"GET /v1/health HTTP/1.1\r\n" + line + b"\r\n\r\n")) == status


#: Requests that two programs could read differently, or that are none; any refusal that ends the connection will do.
SHAPES = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length with a sign": b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": b"Content-Length: -4\r\n\r\nabcd",
    "a length in hex": b"Content-Length: 0x4\r\n\r\nabcd",
    "a length list": b"Content-Length: 4, 4\r\n\r\nabcd",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a header": b"X: a\x00b\r\n\r\n",
    "no header line": b"what is this\r\n\r\n",
}


@pytest.mark.parametrize("what", SHAPES)
def test_shapes_of_smuggling(server: Running, what: str) -> None:
    """Never two answers to what a proxy may have taken for one request."""
    head = request(server).removesuffix(b"\r\n\r\n") + b"\r\n"
    answer = send(server, head + SHAPES[what] + b"GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert 400 <= status_of(answer) < 500
    assert answer.count(b"HTTP/1.1 ") == 1


def test_what_is_no_http_at_all(server: Running) -> None:
    """Plain or inside TLS."""
    for tls in (True, False):
        for junk in (b"\x00" * 100, b"SSH-2.0-x\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000 + b"x\r\n\r\n"):
            assert status_of(send(server, junk, tls=tls)) in {0, 400}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Content-Length: 1000000000", b"Content-Type: application/json"), 413),
        ((b"Content-Length: 99999999999999999999999", b"Content-Type: application/json"), 413),
        ((b"Content-Length: 3", b"Content-Encoding: gzip"), 415),
        ((b"Content-Length: 3", b"Content-Encoding: identity, br"), 415),
        ((b"Content-Length: 3", b"Content-Type: text/xml"), 415),
        ((b"Content-Length: 3", b"Content-Type: multipart/form-data"), 415),
    ],
)
def test_bodies_that_are_not_read(server: Running, lines: tuple[bytes, ...], status: int) -> None:
    """They are refused by their headers; the connection ends, so that nobody reads on in them."""
    answer = send(server, request(server, *lines, body=b"abc"))
    assert status_of(answer) in {status, 400}
    assert b"connection: close" in answer.lower()


def test_a_body_that_is_packed_before_it_is_cut_into_chunks(server: Running) -> None:
    """It is not taken for plain JSON."""
    head = request(server, b"Transfer-Encoding: gzip, chunked", b"Content-Type: application/json")
    assert status_of(send(server, head, b"2\r\n{}\r\n0\r\n\r\n")) == 415


def test_chunks_without_end(server: Running) -> None:
    """They end at the bound, not at the end of the memory."""
    head = request(server, b"Transfer-Encoding: chunked", b"Content-Type: application/json")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert status_of(send(server, head, *[chunk] * 40)) in {413, 0}
    assert server.ask("GET", "/v1/health").status == 200


@pytest.mark.parametrize(
    "line",
    [b"X: " + b"a" * 100_000, b"\r\n".join(b"X%d: y" % number for number in range(10_000)), b"Cookie: " + b"a=b; " * 20_000],
    ids=["one header", "many headers", "cookies"],
)
def test_heads_without_end(server: Running, line: bytes) -> None:
    """Status 431, or the end of the connection."""
    assert status_of(send(server, request(server, line, method=b"GET"))) in {431, 0}
    assert server.ask("GET", "/v1/health").status == 200


def test_a_long_path(server: Running) -> None:
    """As a large head."""
    assert status_of(send(server, request(server, method=b"GET", path=b"/" + b"a" * 100_000))) in {431, 404, 400, 0}


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "TOKEN", "Authorization"])
def test_a_token_in_the_address(server: Running, name: str) -> None:
    """It would end in logs."""
    answer = server.ask("GET", f"/v1/health?{name}=nxp_x", token="")
    assert answer.status == 400
    assert "Authorization" in answer.json["wanted"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/0", "/v1/jobs/-1", "/v1/jobs/9999999999999999999999", "/v1/jobs/1%00", "/v1/jobs/..%2f..%2fetc", "/v1/jobs/%ff",
        "/v1/jobs/%F0%9F%98%80", "/v1/jobs/1/results/x/y", "/v1/jobs/1/tasks/-1/stdout", "/v1//jobs", "//v1/jobs", "/v1/jobs/",
        "/v1/jobs;x=1", "/v1/problems/..", "/../etc/passwd",
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(server: Running, path: str) -> None:
    """Not found, whatever they try."""
    assert server.ask("GET", path).status == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=1.5", "after=x", "after=-1", "after=99999999999999999999"])
def test_pages_that_are_none(server: Running, query: str) -> None:
    """What is wrong is named."""
    assert server.ask("GET", f"/v1/jobs?{query}").status == 400


def test_tls_is_of_today(server: Running) -> None:
    """Version 1.2 is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_guessing_tokens_ends_soon(tmp_path: Path) -> None:
    """An address that guesses is told to wait, before the database is asked."""
    with running(tmp_path / "home", "--rate", "0.1") as server:
        answers = [server.ask("GET", "/v1/me", token=f"nxp_{number:043d}") for number in range(5)]
        assert {answer.status for answer in answers} == {401, 429}
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.slow
def test_the_document_says_what_the_server_does(server: Running, tmp_path: Path) -> None:
    """Schemathesis finds no answer that the OpenAPI document does not allow, and no fault."""
    schemathesis = Path(sys.executable).with_name("schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
    argv = [
        str(schemathesis), "run", f"http://127.0.0.1:{server.port}/v1/openapi.json", "--header",
        f"Authorization: Bearer {server.token}", "--checks", checks, "--max-examples", "5", "--phases", "examples,coverage,fuzzing",
        "--exclude-path", "/v1/tokens/{token}", "--seed", "7", "--no-color", "--suppress-health-check", "all",
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
