"""A proxy that tunnels (CONNECT): the one way to hosts whose names nobody else knows."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConnectProxy", "connect_proxy"]


class ConnectProxy:
    """Where it leads, and where it was asked to lead."""

    def __init__(self) -> None:
        """Lead nowhere."""
        self.url = ""
        self.hosts: dict[str, tuple[str, int]] = {}  # what is asked for -> where that is
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    led: ConnectProxy

    def do_CONNECT(self) -> None:
        """Tunnel to a host that it knows."""
        self.close_connection = True
        self.led.asked.append(self.path)
        where = self.led.hosts.get(self.path)
        if where is None:
            self.send_error(502)
            return
        with socket.create_connection(where) as there:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # whoever ends first may leave bytes unread
                _pass_on(self.connection, there)

    def log_message(self, *_: object) -> None:
        """Keep still."""


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on, both ways, until one of them ends."""
    beside = {one: other, other: one}
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            beside[ready].sendall(data)


@contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Yield a proxy on a port of the loopback that the kernel chose."""
    led = ConnectProxy()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"led": led}))
    server.daemon_threads = True
    led.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield led
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
