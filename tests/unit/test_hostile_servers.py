"""Servers that answer what no server of files should: told early, bounded in time and size, and nothing gets a name."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest
from clusters.certificates import Authority
from connect_proxy import connect_proxy
from raw_server import RawServer, raw_server
from web_server import web_server

from nexapod_batch.errors import NexapodError, UnreachableError
from nexapod_batch.sources import SourceError, SourceSettings
from nexapod_batch.sources.addresses import is_public
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.https import HttpsSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(DATA).hexdigest()
HERE = SourceSettings(private_hosts=("localhost",), window_s=0.2)
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(DATA) + DATA


class Quiet:
    """Progress that nobody hears."""

    def start(self, *_: object) -> None:
        """Say nothing."""

    def advance(self, _: int) -> None:
        """Say nothing."""

    def say(self, _: str) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return who signs the server's certificate."""
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """Yield a server that is trusted here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with raw_server(*authority.issue("server", "localhost")) as made:
        yield made


def brought(url: str, folder: Path, settings: SourceSettings = HERE, sha256: str = "") -> str:
    """Fetch a file; return its digest, of what really lies there."""
    digest = fetch(HttpsSource(), url, folder, settings, Quiet(), sha256=sha256, pause=lambda _: None)
    assert hashlib.sha256((folder / digest).read_bytes()).hexdigest() == digest
    return digest


def nothing_there(folder: Path) -> bool:
    """Say whether nothing got a name."""
    return not [name for name in os.listdir(folder) if not name.startswith(".")]


def now_and_then(server: RawServer, first: bytes, again: bytes) -> Iterator[bytes]:
    """Yield something, and then a little of something else again and again, until the test is over."""
    yield first
    while not server.over.wait(0.02):
        yield again


#: What a server answers -> a part of what is said, of an error that no other try would mend.
REFUSED: dict[str, tuple[bytes | Iterable[bytes], str]] = {
    "headers without end": (chain([OK], repeat(b"X: y\r\n", 100_000)), "does not answer as a server of files does"),
    "a header without end": (chain([OK, b"X: "], repeat(b"y" * 1000, 1000)), "does not answer as a server of files does"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "is no file: got 204"),
    "another answer": (b"HTTP/1.1 203 So They Say\r\nContent-Length: 1\r\n\r\nx", "is no file: got 203"),
    "several to choose from": (b"HTTP/1.1 300 Multiple Choices\r\nContent-Length: 0\r\n\r\n", "was refused"),
    "a part that nobody asked for": (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx", "sends a part"),
    "parts that nobody asked for": (b"HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=b\r\n\r\n--b--", "sends a part"),
    "what is packed": (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(1 << 20)), "packed bytes (gzip)"),
    "a size that is exceeded": (OK + b"\r\n" + bytes(1000), "is too large"),
    "a redirect with a login": (b"HTTP/1.1 302 F\r\nLocation: https://me:secret@localhost/\r\n\r\n", "leads to what is no URL"),
    "a redirect to half an address": (b"HTTP/1.1 302 F\r\nLocation: https://[::1/x\r\n\r\n", "leads nowhere"),
    "a redirect to a label of 70 letters": (b"HTTP/1.1 302 F\r\nLocation: https://" + b"a" * 70 + b".example/\r\n\r\n", "leads nowhere"),
    "a redirect to no port": (b"HTTP/1.1 302 F\r\nLocation: https://localhost:port/x\r\n\r\n", "leads to what is no URL"),
    "a redirect to data": (b"HTTP/1.1 302 F\r\nLocation: data:text/plain,x\r\n\r\n", "was refused"),
    "a redirect to a file": (b"HTTP/1.1 307 T\r\nLocation: FILE:///etc/passwd\r\n\r\n", "was refused"),
    "a redirect to another private host": (b"HTTP/1.1 308 P\r\nLocation: https://127.0.0.1:%d/\r\n\r\n", "is a private address"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_at_once(server: RawServer, tmp_path: Path, name: str) -> None:
    """One question, one clear error."""
    answer, wanted = REFUSED[name]
    if isinstance(answer, bytes):
        port = int(server.url.rpartition(":")[2])
        answer = (answer.replace(b"%d", b"%d" % port),)
    server.answer = lambda _, pieces=list(answer): pieces
    settings = HERE._replace(max_bytes=999, window_s=60.0) if "exceeded" in name else HERE._replace(window_s=60.0)
    with pytest.raises(SourceError) as refusal:
        brought(f"{server.url}/data.bin", tmp_path, settings)
    assert wanted in str(refusal.value)
    assert len(server.asked) == 1
    assert nothing_there(tmp_path)


#: What a server sends first, and what it sends a little of for ever.
SLOW = {
    "the head": (OK, b"X"),
    "answers before the answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body": (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "a body of unknown length": (OK + b"\r\n", b"x"),
    "a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x"),
    "what comes after the last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_never_ends(server: RawServer, tmp_path: Path, name: str) -> None:
    """A byte now and then keeps nobody: whatever part of the answer it is of, too little came, and it is given up."""
    server.answer = lambda _: now_and_then(server, *SLOW[name])
    with pytest.raises(UnreachableError, match="less than 64 KiB came"):
        brought(f"{server.url}/data.bin", tmp_path)
    assert nothing_there(tmp_path)


def test_the_body_of_a_redirect_is_not_read(server: RawServer, tmp_path: Path) -> None:
    """It may have no end."""
    first = b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n"
    server.answer = lambda head: (WHOLE,) if b"/there" in head else now_and_then(server, first, b"x" * 1000)
    assert brought(f"{server.url}/data.bin", tmp_path, HERE._replace(window_s=60.0)) == DIGEST


def lying_range(said: str, data: bytes) -> Callable[[bytes], Iterable[bytes]]:
    """Return a server that breaks off once, and answers whoever asks for the rest with something else."""
    broken = [OK + b'ETag: "one"\r\nContent-Length: %d\r\n\r\n' % len(DATA) + DATA[:1000]]

    def answer(head: bytes) -> Iterable[bytes]:
        if b"\r\nRange: bytes=1000-" in head:
            return (f'HTTP/1.1 206 Partial\r\nETag: "one"\r\nContent-Range: {said}\r\nContent-Length: {len(data)}\r\n\r\n'.encode(), data)
        return (broken.pop() if broken else WHOLE,)

    return answer


@pytest.mark.parametrize(("said", "data"), [
    (f"bytes 0-{len(DATA) - 1}/{len(DATA)}", DATA),
    (f"bytes 500-{len(DATA) - 1}/{len(DATA)}", DATA[500:]),
    ("bytes 1000-1999/*", DATA[1000:2000]),
    (f"bytes 1000-1999/{len(DATA)}", DATA[1000:2000]),
    (f"bytes 1000-{len(DATA)}/{len(DATA) + 1}", DATA[1000:]),
    ("bytes=1000-", DATA[1000:]), ("", DATA[1000:]), ("pages 1000-1001/1002", b"xx"),
    (f"bytes 1000-{len(DATA) - 1}/{len(DATA)}", bytes(len(DATA) - 1000)),
])  # fmt: skip
def test_another_rest_than_was_asked_for(server: RawServer, tmp_path: Path, said: str, data: bytes) -> None:
    """It is joined with nothing, or found out by its digest: the whole is asked for once more."""
    server.answer = lying_range(said, data)
    assert brought(f"{server.url}/data.bin", tmp_path, HERE._replace(window_s=60.0), sha256=DIGEST) == DIGEST
    assert b"\r\nRange:" not in server.asked[-1]


def test_packed_bytes_are_kept_as_they_came(server: RawServer, tmp_path: Path) -> None:
    """Whoever names a packed file, or pins it, gets it packed; nothing is ever unpacked."""
    packed = gzip.compress(bytes(1 << 20), mtime=0)
    digest = hashlib.sha256(packed).hexdigest()
    server.answer = lambda _: (OK + b"Content-Encoding: x-gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,)
    assert brought(f"{server.url}/data.csv.gz?x=1", tmp_path, HERE._replace(window_s=60.0)) == digest
    (tmp_path / digest).unlink()
    assert brought(f"{server.url}/data.csv", tmp_path, HERE._replace(window_s=60.0), sha256=digest) == digest


@pytest.mark.parametrize("whose", ["of another authority", "expired", "not yet good"])
def test_certificates(authority: Authority, server: RawServer, tmp_path: Path, whose: str) -> None:
    """One that nobody here trusts, or not now, is told at once, and no request is sent."""
    assert server.asked == []
    signing = Authority(tmp_path / "other") if whose == "of another authority" else authority
    days = {"expired": (-3, -1), "not yet good": (1, 3)}.get(whose, (-1, 2))
    folder = tmp_path / "kept"
    folder.mkdir()
    with raw_server(*signing.issue(whose.replace(" ", "-"), "localhost", days=days)) as other:
        other.answer = lambda _: (WHOLE,)
        with pytest.raises(SourceError, match="certificate is not to be trusted"):
            brought(f"{other.url}/x", folder)
        assert other.asked == []
    assert nothing_there(folder)


def test_a_private_address_is_not_even_called(tmp_path: Path) -> None:
    """However it is written, and whether anybody listens there: nobody learns by it which ports are open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.setblocking(False)
        for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::ffff:127.0.0.1]", "LOCALHOST."):
            for there in (port, 1):
                with pytest.raises(SourceError, match="is a private address"):
                    brought(f"https://{host}:{there}/x", tmp_path, SourceSettings())
            with pytest.raises(BlockingIOError):
                listener.accept()


#: Addresses that are not of the Internet, however they are written.
PRIVATE = (
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::1]", "[::7f00:1]", "localhost", "LOCALHOST.", "x.localhost",
)  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_a_proxy_is_not_asked_for_private_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str) -> None:
    """Whoever chose the URL would reach the proxy's own network by it."""
    with connect_proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(SourceError, match="is a private address"):
            brought(f"https://{host}/x", tmp_path, SourceSettings())
        assert proxy.asked == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "fe80::1%eth0"])
def test_public_addresses(address: str) -> None:
    """Also those of IPv4 within IPv6; a zone is of a link."""
    assert is_public(address) is not address.startswith("fe80")


def test_a_redirect_behind_a_proxy(authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host that only the proxy knows is asked; its redirect to a private address is not followed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with web_server(*authority.issue("far", "data.example")) as far, connect_proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        proxy.hosts["data.example:443"] = "127.0.0.1", int(far.url.rpartition(":")[2])
        far.files["data.bin"], far.redirects["inner"] = DATA, "https://169.254.169.254/latest"
        assert brought("https://data.example/data.bin", tmp_path, SourceSettings()) == DIGEST
        with pytest.raises(NexapodError, match=r"169\.254\.169\.254 is a private address"):
            brought("https://data.example/inner", tmp_path, SourceSettings())
        assert proxy.asked == ["data.example:443"] * 2
