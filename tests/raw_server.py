"""A server with TLS that answers with the very bytes that a test gives: of no web server that keeps to the rules."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["RawServer", "raw_server"]


class RawServer:
    """What it answers, and what it was asked."""

    def __init__(self) -> None:
        """Answer nothing."""
        self.url = ""
        self.asked: list[bytes] = []  # heads of requests
        self.answer: Callable[[bytes], Iterable[bytes]] = lambda _: ()  # pieces, of the head of a request
        self.over = threading.Event()  # answers without an end look at it


def _served(made: RawServer, context: ssl.SSLContext, connection: socket.socket) -> None:
    with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = secure.recv(65536)
            if not piece:
                return
            head += piece
        made.asked.append(head)
        for piece in made.answer(head):
            secure.sendall(piece)


@contextmanager
def raw_server(certificate: Path, key: Path, host: str = "127.0.0.1") -> Iterator[RawServer]:
    """Yield a server on a port of the loopback, or of other addresses, that the kernel chose."""
    made = RawServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server((host, 0))
    made.url = f"https://localhost:{listener.getsockname()[1]}"
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if made.over.is_set():
                connection.close()
                return
            threads.append(threading.Thread(target=_served, args=(made, context, connection), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield made
    finally:
        made.over.set()
        with socket.create_connection(listener.getsockname()):
            accepting.join()
        listener.close()
        for thread in threads:
            thread.join()
