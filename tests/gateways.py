"""A gateway of IPFS that sends what it is told to, and lies, cuts and drips where it is told to."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gateway", "serving"]


class Gateway:
    """What a gateway sends, whatever it is asked."""

    def __init__(self, body: bytes) -> None:
        """Begin as an honest one."""
        self.url, self.body, self.kind, self.status = "", body, "application/vnd.ipld.car; version=1", 200
        self.headers: dict[str, str] = {}
        self.drips = threading.Event()  # set: a byte now and then follows, until it is cleared
        self.asked: list[str] = []


@contextmanager
def serving(car: bytes) -> Iterator[Gateway]:
    """Yield a gateway on a port of the loopback that the kernel chose; it sends this CAR at first."""
    made = Gateway(car)
    idle = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.send_response(made.status)
            for name, value in {"Content-Type": made.kind, **made.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(made.body)
                while made.drips.is_set():
                    self.wfile.write(b"\0")
                    idle.wait(0.02)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        made.drips.clear()
        server.shutdown()
        server.server_close()
        thread.join()
