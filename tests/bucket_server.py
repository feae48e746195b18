"""A small server of one bucket of S3 that a test can make say anything: keys without end, refusals, a halt at any request."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Asked", "BucketServer", "bucket_server"]

_PAGE = 1_000
_ABOUT = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
_CHECKED = "the Content-MD5 or x-amz-checksum- header is required for Put Object requests with Object Lock parameters"


class Keys(Protocol):
    """As much of a sequence as a listing wants."""

    def __len__(self) -> int:
        """Return how many keys there are."""
        ...

    def __getitem__(self, at: slice) -> Sequence[str]:
        """Return some of them."""
        ...


class Asked(NamedTuple):
    """One request."""

    method: str
    key: str  # "" for the bucket
    query: Mapping[str, str]

    def __str__(self) -> str:
        """Return method and key."""
        return f"{self.method} {self.key}"


class BucketServer:
    """What is in the bucket, how the server behaves, and what it was asked."""

    def __init__(self) -> None:
        """Begin with an empty bucket that takes and gives everything."""
        self.url = ""
        self.objects: dict[str, bytes] = {}
        self.keys: Keys | None = None  # what a listing has instead of the objects
        self.refusal: Callable[[Asked], tuple[int, str] | None] = lambda _: None  # status and code of S3
        self.is_locked = False  # each object is kept for good: S3 wants a checksum with it then
        self.halts_at: Callable[[Asked], bool] = lambda _: False
        self.halted, self.goes_on = threading.Event(), threading.Event()
        self.asked: list[Asked] = []
        self.versions: list[tuple[str, bytes]] = []  # all that was ever written, in its order
        self.parts: dict[str, dict[int, bytes]] = {}  # of uploads that are not complete, by id

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which the bucket is reached."""
        login = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", **login}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: BucketServer

    def do_GET(self) -> None:
        """List the bucket, or send an object."""
        asked = self._asked()
        if asked is None:
            return
        if not asked.key:
            self._list(asked)
        else:
            self._object(asked)

    def do_HEAD(self) -> None:
        """Say what a listing, or an object, would be."""
        self.do_GET()

    def do_PUT(self) -> None:
        """Take an object, or a part of one."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self._asked()
        if asked is None:
            return
        bucket = self.bucket
        if bucket.is_locked and not [name for name in self.headers if name.lower().startswith(("content-md5", "x-amz-checksum-"))]:
            self._error(400, "InvalidRequest", _CHECKED)
        elif "uploadId" in asked.query:
            bucket.parts[asked.query["uploadId"]][int(asked.query["partNumber"])] = data
            self._answer(200, b"", {"ETag": '"part"'})
        elif self.headers.get("If-None-Match") == "*" and asked.key in bucket.objects:
            self._error(412, "PreconditionFailed")
        else:
            self._write(asked.key, data)
            self._answer(200, b"", {"ETag": self._tag(data)})

    def do_POST(self) -> None:
        """Begin an upload in parts, or complete one."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self._asked()
        if asked is None:
            return
        parts = self.bucket.parts
        if "uploadId" not in asked.query:
            number = f"{len(self.bucket.asked)}"
            parts[number] = {}
            self._xml(f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>")
            return
        sent = parts.pop(asked.query["uploadId"])
        self._write(asked.key, b"".join(sent[number] for number in sorted(sent)))
        self._xml("<CompleteMultipartUploadResult><ETag>&quot;whole&quot;</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self) -> None:
        """Remove an object, or give an upload up."""
        asked = self._asked()
        if asked is None:
            return
        if "uploadId" in asked.query:
            self.bucket.parts.pop(asked.query["uploadId"], None)
        else:
            self.bucket.objects.pop(asked.key, None)
        self._answer(204, b"")

    def _asked(self) -> Asked | None:
        """Note a request, and halt at it where a test wants that; None where it was refused."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        asked = Asked(self.command, unquote(parts.path).partition("/")[2].partition("/")[2], query)
        bucket = self.bucket
        bucket.asked.append(asked)
        if bucket.halts_at(asked):
            bucket.halted.set()
            bucket.goes_on.wait()
        refusal = bucket.refusal(asked)
        if refusal is None:
            return asked
        self._error(*refusal)
        return None

    def _write(self, key: str, data: bytes) -> None:
        self.bucket.objects[key] = data
        self.bucket.versions.append((key, data))

    def _list(self, asked: Asked) -> None:
        keys: Keys = sorted(self.bucket.objects) if self.bucket.keys is None else self.bucket.keys
        start, prefix = int(asked.query.get("continuation-token", "0")), asked.query.get("prefix", "")
        end = start + _PAGE
        found = [key for key in keys[start:end] if key.startswith(prefix)]
        rest = end < len(keys)
        entries = "".join([
            f"<Contents><Key>{_spelled(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag>"
            f"<Size>{len(self.bucket.objects.get(key, b''))}</Size></Contents>"
            for key in found
        ])
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if rest else ""
        self._xml(
            f"<ListBucketResult><Name>b</Name><KeyCount>{len(found)}</KeyCount><IsTruncated>{str(rest).lower()}</IsTruncated>"
            f"{token}{entries}</ListBucketResult>"
        )

    def _object(self, asked: Asked) -> None:
        data = self.bucket.objects.get(asked.key)
        if data is None:
            self._error(404, "NoSuchKey")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers = {"ETag": self._tag(data), **_ABOUT}
        if wanted is None:
            self._answer(200, data, headers)
            return
        start = int(wanted[1])
        self._answer(206, data[start:], {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def _tag(self, data: bytes) -> str:
        return f'"{len(data)}"'

    def _error(self, status: int, code: str, message: str = "no") -> None:
        self._xml(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", status)

    def _xml(self, text: str, status: int = 200) -> None:
        self._answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep still."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Keep still where a client has gone."""


def _spelled(key: str) -> str:
    """Return a key as XML has it."""
    return "".join(f"&#{ord(char)};" if char < " " else char for char in escape(key))


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """Yield a server on a port of the loopback that the kernel chose; every name of a bucket is that of its one."""
    made = BucketServer()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": made}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        made.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
