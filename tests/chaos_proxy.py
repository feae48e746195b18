"""A proxy between agents and a server that loses, repeats, delays and refuses, by a seed: plain HTTP on this machine."""

from __future__ import annotations

import http.client
import random
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Chaos", "between"]


_KINDS = (
    "lost answer", "lost request", "twice", "504 before", "504 after", "half an answer", "delay", "corrupt request"
)
#: Seconds of a delay.
_DELAY_S = 0.3


class Chaos(ThreadingHTTPServer):
    """Forwards to a port; while `wild`, three of ten requests meet with something."""

    daemon_threads = True

    def __init__(self, port: int, seed: int) -> None:
        """Listen on a port that the kernel chooses."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to, self.wild = port, False
        self._random, self._lock = random.Random(seed), threading.Lock()  # noqa: S311 - to be the same each time
        self.rule: Callable[[bytes], str] = lambda _: ""  # what happens to a request with such a body, first of all
        self.met: dict[str, int] = {}
        self.hold: Callable[[str], object] = lambda _: None  # is called with the path of a request before it goes on

    @property
    def url(self) -> str:
        """Where agents find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin_again(self, seed: int) -> None:
        """Behave by another seed."""
        with self._lock:
            self._random, self.met = random.Random(seed), {}  # noqa: S311 - to be the same each time

    def choose(self, body: bytes) -> str:
        """Return what happens to the next request, which has a body."""
        if ruled := self.rule(body):
            return ruled
        with self._lock:
            kind = self._random.choice(_KINDS) if self.wild and self._random.random() < 0.3 else ""
            self.met[kind] = self.met.get(kind, 0) + 1
            return kind

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients are killed here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Chaos

    def _pass_on(self) -> None:
        size = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(size)
        self.server.hold(self.path)
        kind = self.server.choose(body)
        if kind == "lost request":
            self.close_connection = True
            return
        if kind == "504 before":
            self._answer(504, {}, b"")
            return
        if kind == "delay":
            time.sleep(_DELAY_S)
        status, headers, data = self._forwarded(_changed(body) if kind == "corrupt request" else body)
        if kind == "twice":
            self._forwarded(body)
        if kind == "504 after":
            self._answer(504, {}, b"")
        elif kind == "lost answer":
            self.close_connection = True
        elif kind == "half an answer":
            self._answer(status, headers, data, data[: len(data) // 2])
            self.close_connection = True
        else:
            self._answer(status, headers, data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _pass_on  # noqa: N815 - as the library calls them

    def _forwarded(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=90)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except (OSError, http.client.HTTPException):
            return 502, {}, b""
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, part: bytes | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if part is None else part)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def _changed(body: bytes) -> bytes:
    """Return a body of which one bit in the middle is another."""
    middle = len(body) // 2
    return body[:middle] + bytes(byte ^ 1 for byte in body[middle : middle + 1]) + body[middle + 1 :]


@contextmanager
def between(port: int, seed: int) -> Iterator[Chaos]:
    """Let a proxy stand before a port until the block ends."""
    proxy = Chaos(port, seed)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(30)
