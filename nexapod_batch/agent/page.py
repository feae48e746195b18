"""The node's own page and metrics, for whoever sits at the machine: `http://127.0.0.1:9000/` and `/metrics`.

It listens on loopback alone and needs no coordinator. Every account of the machine reaches loopback, and so does any
page in a browser: so the Host header must name this very address, a form carries a token that only this page shows, and
what changes anything must come from a process of the node's own account, or of root. Nothing of it needs a script.
"""

from __future__ import annotations

import hmac
import os
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from nexapod_batch.agent import page_html, page_metrics
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.sockets import owner_of_peer
from nexapod_batch.local_nodes import node_status, owner_policy
from nexapod_batch.schema.units import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.agent.state import State
    from nexapod_batch.local_nodes.owner_policy import Owned

__all__ = ["USUAL_PORT", "NodePage"]

USUAL_PORT = 9000
_HOST = "127.0.0.1"
#: Bytes of a form, seconds for one request, and requests that are answered at once.
_FORM, _PATIENCE_S, _AT_ONCE = 4096, 10.0, 16
_TEXT, _HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY", "Content-Security-Policy": page_html.POLICY,
}  # fmt: skip


class NodePage:
    """The page of one node, served by threads of its own until `close`."""

    def __init__(self, owned: Owned, look: Callable[[], State], port: int) -> None:
        """Listen; OSError where the port is taken."""
        self.owned, self.look = owned, look
        self.token = secrets.token_urlsafe(32)
        self._server = _Server(self, port)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for a browser."""
        return f"http://{_HOST}:{self.port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What the Host header may be."""
        return frozenset({f"{_HOST}:{self.port}", f"localhost:{self.port}"})

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    def document(self) -> node_status.Document:
        """Return what the node does now, as `node status` has it."""
        return node_status.of_node(self.owned)

    def change(self, form: dict[str, list[str]]) -> None:
        """Pause or resume, as a form says; UsageError for a time that is none."""
        if form.get("do") == ["resume"]:
            owner_policy.wake(self.owned)
            return
        text = (form.get("for") or [""])[0]
        owner_policy.snooze(self.owned, duration(text) if text else None)


class _Server(ThreadingHTTPServer):
    """Answers a bounded number of requests at once; more of them wait at the door."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, page: NodePage, port: int) -> None:
        self.page = page
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((_HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Say nothing: whoever asked has left, or sends nonsense."""


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    server_version, sys_version = "nexapod-batch", ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        page = self.server.page
        if self.path == "/":
            self._answer(HTTPStatus.OK, _HTML, page_html.page(page.document(), page.look(), page.token))
        elif self.path == "/metrics":
            self._answer(HTTPStatus.OK, _METRICS, page_metrics.metrics(page.document(), page.look()))
        else:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, "there is / and /metrics\n")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        if self.path != "/":
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, "there is no such form\n")
            return
        form = self._form()
        if form is None:
            return
        try:
            self.server.page.change(form)
        except (NexapodError, OSError, ValueError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n")
            return
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_ours(self) -> bool:
        """Refuse another Host: a page that a browser shows must not reach this one under a name of its own."""
        if self.headers.get_all("Host") in [[host] for host in self.server.page.hosts]:
            return True
        self._answer(HTTPStatus.MISDIRECTED_REQUEST, _TEXT, f"this is {self.server.page.url}\n")
        return False

    def _form(self) -> dict[str, list[str]] | None:
        """Return a form of this page that its owner sent; None where something else was answered."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length[:10]) > _FORM or self.headers.get("Transfer-Encoding"):
            self._answer(HTTPStatus.BAD_REQUEST, _TEXT, f"a form has at most {_FORM} bytes\n")
            return None
        form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"), max_num_fields=10)
        origin = self.headers.get("Origin")
        given = (form.get("token") or [""])[0]
        own = origin is None or origin in {f"http://{host}" for host in self.server.page.hosts}
        if not own or not hmac.compare_digest(given.encode(), self.server.page.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, _TEXT, "this form is not of this page: open it again\n")
            return None
        if owner_of_peer(self.connection) not in {0, os.geteuid()}:
            self._answer(HTTPStatus.FORBIDDEN, _TEXT, "only the account that runs the node may change this\n")
            return None
        return form

    def _answer(self, status: HTTPStatus, media: str, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {"Content-Type": media, "Content-Length": str(len(data)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Say nothing."""
