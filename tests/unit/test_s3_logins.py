"""Logins of buckets that are good for a part of an object only: told as what they are, and gone on from when renewed."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from nexapod_batch.sources import SourceError, SourceSettings
from nexapod_batch.sources.buckets import Bucket
from nexapod_batch.sources.fetching import fetch
from nexapod_batch.sources.s3 import S3Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 80_000  # 20 MB: three parts of an upload
DIGEST = hashlib.sha256(DATA).hexdigest()
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


class Store(ThreadingHTTPServer):
    """A bucket with one object, and uploads in parts; its login expires after so many bytes."""

    def __init__(self) -> None:
        """Begin with a login that is good."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.good_for: int | None = None  # bytes that it sends, or parts that it takes
        self.expired = False
        self.asked: list[str] = []
        self.objects: dict[str, int] = {}  # of uploads that were completed

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep still where a client has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_HEAD(self) -> None:
        if not self._refused():
            self._head(200, {"Content-Length": str(len(DATA)), **_ABOUT})

    def do_GET(self) -> None:
        if self._refused():
            return
        store, wanted = self.server, re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        store.asked.append(f"GET {start}")
        ranges = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if wanted else {}
        self._head(206 if wanted else 200, {"Content-Length": str(len(DATA) - start), **_ABOUT, **ranges})
        rest = DATA[start:]
        if store.good_for is not None:
            rest, store.expired = rest[: store.good_for], True
        self.close_connection = True
        self.wfile.write(rest)

    def do_POST(self) -> None:
        """Begin an upload, or complete one."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._refused():
            return
        key = self.path.partition("?")[0]
        if "uploads" in self.path.partition("?")[2].split("=")[0]:
            self._body("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        else:
            self.server.objects[key] = 1
            self._body("<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>")

    def do_PUT(self) -> None:
        """Take a part."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._refused():
            return
        self.server.asked.append("PUT")
        if self.server.good_for is not None and self.server.asked.count("PUT") >= self.server.good_for:
            self.server.expired = True
        self._head(200, {"Content-Length": "0", "ETag": '"part"'})

    def do_DELETE(self) -> None:
        """Abort an upload."""
        self._head(204, {})

    def _refused(self) -> bool:
        expired = self.server.expired  # a test may change it meanwhile
        if expired:
            self._head(403, {"Content-Length": str(len(EXPIRED)), "Content-Type": "application/xml"})
            if self.command != "HEAD":
                self.wfile.write(EXPIRED)
        return expired

    def _body(self, text: str) -> None:
        self._head(200, {"Content-Length": str(len(text)), "Content-Type": "application/xml"})
        self.wfile.write(text.encode())

    def _head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep still."""


_ABOUT = {"ETag": '"one"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}


class Silent:
    """Progress that nobody hears."""

    def start(self, _what: str, _total: int | None) -> None:
        """Say nothing."""

    def advance(self, _count: int) -> None:
        """Say nothing."""

    def say(self, _text: str) -> None:
        """Say nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a bucket that the environment names."""
    made = Store()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_address[1]}")
    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "secret"), ("SESSION_TOKEN", "old")):
        monkeypatch.setenv(f"AWS_{name}", value)
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def brought(folder: Path) -> str:
    """Fetch the object with the environment of now."""
    import os

    return fetch(S3Source(), "s3://b/k", folder, SourceSettings(environ=dict(os.environ)), Silent(), pause=lambda _: None)


def test_a_login_that_expires_while_an_object_comes(store: Store, tmp_path: Path) -> None:
    """It is told, nothing gets a name, and after its renewal the rest is fetched and no more."""
    store.good_for = 8 << 20
    with pytest.raises(SourceError, match="is not good any more"):
        brought(tmp_path)
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith(".")]
    store.good_for, store.expired = None, False
    assert brought(tmp_path) == DIGEST
    assert len(store.asked) == 2
    assert store.asked[1] != "GET 0"


def test_a_login_that_expires_while_parts_are_sent(store: Store) -> None:
    """No object appears; the same again with a renewed login makes it whole."""
    import os

    def send() -> None:
        Bucket("s3://b/p", dict(os.environ)).stream("big", iter([DATA]), len(DATA))

    store.good_for = 1
    with pytest.raises(SourceError, match="is not good any more"):
        send()
    assert store.objects == {}
    store.good_for, store.expired = None, False
    send()
    assert list(store.objects) == ["/b/p/big"]


@pytest.mark.parametrize(("url", "wanted"), [
    ("s3://b/../x", "names no object"), ("s3://b/a/%2e%2e/x", "names no object"), ("s3://b/a%2f..%2fx", "names no object"),
    ("s3://b//x", "names no object"), ("s3://b/%2fetc/passwd", "names no object"), ("s3://b/a//x", "names no object"),
    ("s3://b/./x", "names no object"), ("s3://b/x/", "names no object"), ("s3://b/", "names no object"), ("s3://b", "names no object"),
    ("s3://b/a%00b", "names no object"), ("s3://b/a\nb", "names no object"), ("s3://b/a%0ab", "names no object"), ("s3://b/a\tb", "names no object"),
    ("s3://b/" + "k" * 1025, "1025 bytes"), ("s3://b/" + "%C3%BC" * 513, "1026 bytes"), ("s3://b/%ff", "no URL"), ("s3://[b/x", "no URL"),
    ("s3://b/\ud800", "no URL"), ("s3://me:secret@b/x", "without a login"), ("s3://b:80/x", "without a login"), ("s3:///x", "without a login"),
    ("s3://b/x#y", "nothing else"), ("s3://b/x?y=1", "nothing else"), ("s3://b/x?versionId=", "nothing else"),
    ("s3://b/x?versionId=1&versionId=2", "nothing else"), ("s3://b/x?versionId=1&y=2", "nothing else"), ("s3://b/x?", ""),
    ("s3://b/" + "k" * 1024, ""), ("s3://b/a%20b/%C3%BC.npy?versionId=3/L4kqtJ", ""), ("s3://my-bucket.of_1/x%3Fy%23z", ""),
])  # fmt: skip
def test_keys_that_name_no_object(url: str, wanted: str) -> None:
    """They are told before anybody is asked; none is mended into another key."""
    found = S3Source().refusal(url)
    assert wanted in found
    assert bool(found) is bool(wanted)
