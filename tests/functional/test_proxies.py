"""A server behind real proxies: what two programs could read differently never mixes up whose answer is whose."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from clusters.proxies import KINDS, certificate, proxy
from functional.test_mesh import working
from homes import PROGRAM
from servers import Running, environment, running

from nexapod_batch.agent.checking import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: In every answer that our server made itself, and in none of a proxy's own.
OURS = b"x-content-type-options: nosniff"
#: What would be run as somebody's request where a proxy and the server disagreed.
HIDDEN = b"PUT /v1/smuggled HTTP/1.1\r\nHost: localhost\r\nX: "
CHUNKED = b"Transfer-Encoding: chunked"


class Proxied(NamedTuple):
    """A server, and the port of a proxy before it."""

    server: Running
    port: int

    def ask(self, path: str, *, source: str = "127.0.0.1", **headers: str) -> tuple[int, bytes]:
        """Ask through the proxy, on a connection of its own; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120, source_address=(source, 0))
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, with an end to what is hidden in them; return all that comes back."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection, suppress(ConnectionError):
            connection.sendall(data + b"y\r\nConnection: close\r\n\r\n")
            while more := connection.recv(65536):
                got += more
        return got

    def answered(self) -> int:
        """Return how many requests the server answered, this one not counted."""
        text = self.server.ask("GET", "/metrics").body.decode()
        found = [line for line in text.splitlines() if line.startswith("nexapod_http_requests_total{")]
        return round(sum(float(line.rpartition(" ")[2]) for line in found))


@pytest.fixture(scope="module", params=KINDS)
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Yield a server behind each kind of proxy."""
    folder = tmp_path_factory.mktemp(request.param)
    with running(folder / "c", "--behind-proxy", "--rate", "10000") as server, proxy(request.param, folder / "p", server.port) as port:
        yield Proxied(server, port)


def chunks(*parts: bytes) -> bytes:
    """Return a body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


#: Header lines, and what follows the head: {n} is the length of what is hidden there.
SHAPES: dict[str, tuple[bytes, bytes]] = {
    "a length, and chunks": (b"Content-Length: 60\r\n" + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "chunks, and a length": (CHUNKED + b"\r\nContent-Length: 4", chunks(HIDDEN)),
    "chunks twice": (CHUNKED + b"\r\n" + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "chunks and another coding": (CHUNKED + b"\r\nTransfer-Encoding: x", b"0\r\n\r\n" + HIDDEN),
    "chunks, then identity": (b"Transfer-Encoding: chunked, identity", b"0\r\n\r\n" + HIDDEN),
    "a coding like chunks": (b"Transfer-Encoding: xchunked", b"0\r\n\r\n" + HIDDEN),
    "chunks in capitals": (b"TRANSFER-ENCODING: CHUNKED", b"0\r\n\r\n" + HIDDEN),
    "a blank before the colon": (b"Transfer-Encoding : chunked", b"0\r\n\r\n" + HIDDEN),
    "a tab before chunks": (b"Transfer-Encoding:\tchunked", b"0\r\n\r\n" + HIDDEN),
    "a control character before chunks": (b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n" + HIDDEN),
    "chunks in quotes": (b'Transfer-Encoding: "chunked"', b"0\r\n\r\n" + HIDDEN),
    "chunks in a folded line": (b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n" + HIDDEN),
    "chunks behind a bare line feed": (b"X: a\nTransfer-Encoding: chunked", b"0\r\n\r\n" + HIDDEN),
    "chunks behind a bare carriage return": (b"X: a\rTransfer-Encoding: chunked", b"0\r\n\r\n" + HIDDEN),
    "an underscore in chunks": (b"Transfer_Encoding: chunked\r\nContent-Length: 2", b"{}" + HIDDEN),
    "an underscore in a length": (b"Content_Length: 80\r\nContent-Length: 2", b"{}" + HIDDEN),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 60", b"{}" + HIDDEN),
    "a list of lengths": (b"Content-Length: 2, 60", b"{}" + HIDDEN),
    "a length with a sign": (b"Content-Length: +2", b"{}" + HIDDEN),
    "a length in hex": (b"Content-Length: 0x2", b"{}" + HIDDEN),
    "a length with a zero before it": (b"Content-Length: 02", b"{}" + HIDDEN),
    "a length that no number holds": (b"Content-Length: 18446744073709551618", b"{}" + HIDDEN),
    "a chunk size with a sign": (CHUNKED, b"+2\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk size with 0x": (CHUNKED, b"0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk size that no number holds": (CHUNKED, b"10000000000000002\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk size that is none": (CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk that is longer than its size": (CHUNKED, b"1\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk with an extension": (CHUNKED, b'2;a="\r\n\r\n{}\r\n0\r\n\r\n' + HIDDEN),
    "chunks that end with a bare line feed": (CHUNKED, b"2\n{}\n0\n\n" + HIDDEN),
    "a trailer that says who is asking": (CHUNKED, b"2\r\n{}\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\nHost: evil.example\r\n\r\n"),
    "a folded line": (b"X: a\r\n b\r\nContent-Length: 2", b"{}" + HIDDEN),
    "a NUL in a header": (b"X: a\x00b\r\nContent-Length: 2", b"{}" + HIDDEN),
    "a header that is none": (b"what is this\r\nContent-Length: 2", b"{}" + HIDDEN),
    "a name with a blank": (b"Content Length: 60\r\nContent-Length: 2", b"{}" + HIDDEN),
    "two hosts": (b"Host: evil.example\r\nContent-Length: 2", b"{}" + HIDDEN),
    "headers that are of the hop": (b"Connection: close, Host, X-Forwarded-For, Content-Length\r\nContent-Length: 2", b"{}"),
    "another protocol": (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 2", b"{}"),
    "an expectation": (b"Expect: 100-continue\r\nContent-Length: 2", b"{}"),
}
#: Request lines; the body is `{}` with its length.
LINES = {
    "another host in the address": b"POST http://evil.example/v1/jobs HTTP/1.1",
    "a user in the address": b"POST http://localhost@evil.example/v1/jobs HTTP/1.1",
    "an address without a host": b"POST http:///v1/jobs HTTP/1.1",
    "only an authority": b"CONNECT evil.example:443 HTTP/1.1",
    "an old version": b"POST /v1/jobs HTTP/1.0",
    "no version": b"POST /v1/jobs",
    "a version to come": b"POST /v1/jobs HTTP/2.0",
    "a line feed in the path": b"POST /v1/jobs%0d%0aX:%20y HTTP/1.1",
    "blanks in the line": b"POST  /v1/jobs  HTTP/1.1",
    "a method in small letters": b"post /v1/jobs HTTP/1.1",
    "a fragment": b"POST /v1/jobs#x HTTP/1.1",
}


def request(proxied: Proxied, lines: bytes, rest: bytes, first: bytes = b"POST /v1/jobs HTTP/1.1") -> bytes:
    """Return a submission by an administrator, whose body is read."""
    token = proxied.server.token.encode()
    head = [first, b"Host: localhost", b"Authorization: Bearer " + token, b"Content-Type: application/json", lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + rest


def check_others(proxied: Proxied) -> None:
    """Have others ask on the connections that the proxy keeps: each gets the answer to its own question."""
    for _ in range(2):
        status, body = proxied.ask("/v1/health")
        assert (status, "read_ms" in json.loads(body)) == (200, True), body
        status, body = proxied.ask("/v1/me", Authorization=f"Bearer {proxied.server.token}")
        assert (status, json.loads(body)["scope"]) == (200, "admin"), body


def check_shape(proxied: Proxied, data: bytes) -> None:
    """Every request that the server answered is one that the client was answered, with a status that is no fault of ours."""
    before = proxied.answered()
    got = proxied.send(data)
    answered = proxied.answered() - before - 1
    assert answered == got.lower().count(OURS)
    assert b" 500 " not in got
    check_others(proxied)


@pytest.mark.parametrize("shape", SHAPES)
def test_bodies_that_two_programs_could_read_differently(proxied: Proxied, shape: str) -> None:
    """Nobody is given the answer to what was hidden in somebody else's body."""
    check_shape(proxied, request(proxied, *SHAPES[shape]))


@pytest.mark.parametrize("line", LINES)
def test_lines_that_two_programs_could_read_differently(proxied: Proxied, line: str) -> None:
    """Nothing is read as another's host, method or request."""
    check_shape(proxied, request(proxied, b"Content-Length: 2", b"{}", LINES[line]))


#: What a client may claim of where it comes from, by header lines of its own.
CLAIMS: dict[str, dict[str, str]] = {
    "another address": {"X_Forwarded_For": "192.0.2.{n}"},
    "a proxy of its own": {"X_Forwarded_For": "192.0.2.{n}, 127.0.0.1"},
    "many": {"X_Forwarded_For": ", ".join(["192.0.2.{n}"] * 50)},
    "no address": {"X_Forwarded_For": "{n}"},
    "nothing": {"X_Forwarded_For": ""},
    "another header": {"X_Real_IP": "192.0.2.{n}", "Forwarded": "for=192.0.2.{n}", "True_Client_IP": "192.0.2.{n}"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_limits_of_an_address_hold_whatever_it_claims(tmp_path: Path, kind: str) -> None:
    """An address counts by where it reached the proxy from; others are not held up by what it asks."""
    with running(tmp_path / "c", "--behind-proxy", "--rate", "0.1") as server, proxy(kind, tmp_path / "p", server.port) as port:
        proxied = Proxied(server, port)
        for number, claim in enumerate(CLAIMS.values(), 5):
            statuses = set[int]()
            for turn in range(1, 50):  # one is answered every ten seconds: of as many addresses all would be
                said = {name: value.format(n=turn) for name, value in claim.items()}
                statuses.add(proxied.ask("/v1/health", source=f"127.0.0.{number}", **said)[0])
                if 429 in statuses:
                    break
            assert statuses == {200, 429}, claim


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_works_through_a_proxy(tmp_path: Path, kind: str) -> None:
    """It trusts the proxy's key, polls through it, and what it signs reaches the server as it was signed."""
    crt = certificate(tmp_path)
    with running(tmp_path / "c", "--behind-proxy") as server, proxy(kind, tmp_path / "p", server.port, tls=crt) as port:
        pin = fingerprint_of("127.0.0.1", port)
        words = server.join.split()
        token = words[words.index("--token") + 1]
        argv = [PROGRAM, "node", "join", f"https://127.0.0.1:{port}", "--fingerprint", pin, "--token", token, "--name", "far"]
        subprocess.run(argv, env=environment(tmp_path / "n"), check=True, capture_output=True, timeout=120)
        with working(tmp_path / "n"):
            server.command("submit", "--agree", "1", "--wait", "--", "head", "-c", "300000", "/dev/zero")
        server.command("verify", "1")
    assert (tmp_path / "c/results/1/0/stdout").stat().st_size == 300_000
