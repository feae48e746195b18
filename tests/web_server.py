"""A web server with TLS: it serves bytes by name, with ranges and ETags, and cuts, lies and redirects where it is told to."""

from __future__ import annotations

import re
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["WebServer", "web_server"]


class WebServer:
    """What it serves, and what it was asked."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}  # Content-Types; a name without has none
        self.tags: dict[str, str] = {}  # ETags; a name without has none
        self.redirects: dict[str, str] = {}
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}  # refusals
        self.cuts: dict[str, list[int]] = {}  # after how many bytes the next connections of a name break
        self.lengths: dict[str, int | None] = {}  # what is said of the length, where that is a lie; None: nothing
        self.asked: list[tuple[str, str | None, str | None]] = []  # name, Range, Authorization


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: WebServer

    def do_GET(self) -> None:
        """Answer as it was told."""
        served, name = self.served, self.path.partition("?")[0].lstrip("/")
        self.close_connection = True
        served.asked.append((name, self.headers.get("Range"), self.headers.get("Authorization")))
        if name in served.redirects:
            self._head(302, {"Location": served.redirects[name], "Content-Length": "0"})
        elif name in served.answers:
            code, headers = served.answers[name]
            self._head(code, {"Content-Length": "0", **headers})
        elif name not in served.files:
            self._head(404, {"Content-Length": "0"})
        else:
            self._file(name)

    def _file(self, name: str) -> None:
        served, data, start = self.served, self.served.files[name], 0
        tag = served.tags.get(name, "")
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        headers = {"ETag": tag} if tag else {}
        if name in served.kinds:
            headers["Content-Type"] = served.kinds[name]
        if wanted and self.headers.get("If-Range") == tag:
            start = int(wanted[1])
            if start >= len(data):
                self._head(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        length = served.lengths.get(name, len(rest))
        self._head(206 if start else 200, headers | ({} if length is None else {"Content-Length": str(length)}))
        cuts = served.cuts.get(name)
        self.wfile.write(rest[: cuts.pop(0)] if cuts else rest)

    def _head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep still."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Keep still where a client has gone."""


@contextmanager
def web_server(certificate: Path, key: Path) -> Iterator[WebServer]:
    """Yield a server on a port of the loopback that the kernel chose."""
    served = WebServer()
    handler = type("Handler", (_Handler,), {"served": served})
    server = _Server(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # Clients that do not like the certificate go away meanwhile: the handshake is the handler's.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
