"""Connections: how many there may be, TLS or plain HTTP on one port, and no patience with those who dawdle.

The first byte says what a client speaks. TLS is for everybody; plain HTTP only for connections from this very machine,
where a proxy or a person's browser may be. Limits hold before a handshake costs anything.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nexapod_batch.errors import ConfigError
from nexapod_batch.server.limits import address_group
from nexapod_batch.server.names import is_loopback
from nexapod_batch.server.scope_names import LEFT, PLACE
from nexapod_batch.server.transport import SocketTransport, ready, shaken

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from nexapod_batch.server.application import Application
    from nexapod_batch.server.bodies import Arriving

__all__ = ["Listener", "ServerLimits", "WebServer", "bind"]

_TLS_HANDSHAKE = 0x16
#: Bytes of the buffer that all connections read into.
_BUFFER = 48 << 10
_WHY = b"use https: plain HTTP is answered on the server's own machine alone\n"
_TLS_ONLY = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: TLS/1.3\r\nconnection: close, upgrade\r\n"
_TLS_ONLY += b"content-length: %d\r\n\r\n%b" % (len(_WHY), _WHY)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


class ServerLimits:
    """What connections may cost."""

    connections = 12_000  # in all
    of_one_address = 256  # loopback excepted, where a proxy may be
    first_byte_s = 10.0
    handshake_s = 10.0
    head_s = 10.0  # from the first byte of a request to the end of its headers
    head_bytes = 32 * 1024
    idle_s = 75.0  # between two requests


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; ConfigError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        hint = "--port takes another one, --port 0 one that is free"
        raise ConfigError(f"cannot listen on {host} port {port}", got=error.strerror or error, hint=hint) from error
    made.settimeout(0)
    return made


class _Pipeline(list[Any]):
    """Requests that wait for the answer to an earlier one of their connection; mostly none."""

    __slots__ = ()

    def appendleft(self, entry: object) -> None:
        """Let a request wait."""
        self.insert(0, entry)


class _Flow(FlowControl):
    """Uvicorn's control of how much waits to be sent, with an event only while somebody waits for it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Begin with nothing that waits."""
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._drained: asyncio.Event | None = None

    async def drain(self) -> None:
        """Return when more may be written."""
        while self.write_paused:
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()

    def pause_writing(self) -> None:
        """Let nothing more be written for now."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let more be written."""
        self.write_paused = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with a bound on the size and the time of the head of a request.

    What comes between the pieces of a body, or behind it, has a bound as well: extensions of chunks and trailers. They
    say nothing here; a trailer that became a header would speak for a request that was let in without it.

    Thousands of them may wait. So they do without what few need (queues of those who wait for something), and our own
    attributes are slots: with more than thirty others, Python gives each object a dictionary of its own.
    """

    __slots__ = ("_head_bytes", "_head_timer", "_idle_bytes", "_in_head", "_pieces", "on_lost")

    def __init__(self, on_lost: Callable[[], None], **uvicorn_has: Any) -> None:  # noqa: ANN401 - whatever that is
        """Begin without a connection; `on_lost` is called at its end."""
        super().__init__(**uvicorn_has)
        self.on_lost: Callable[[], None] | None = on_lost
        self._in_head, self._head_bytes = False, 0
        self._pieces = 0  # of requests that came: beginnings, and parts of bodies
        self._idle_bytes = 0  # since the last of them
        self._head_timer: asyncio.TimerHandle | None = None
        self.pipeline = cast("Any", _Pipeline())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = _Flow(transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head that is too large or too slow ends the connection."""
        if not self._is_busy():
            self._head_begins()
        before = self._pieces
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
        self._idle_bytes = 0 if self._in_head or self._pieces != before else self._idle_bytes + len(data)
        if max(self._head_bytes if self._in_head else 0, self._idle_bytes) > ServerLimits.head_bytes:
            self._end(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin the head of a request, which may follow another one in the same bytes."""
        self._head_begins()
        self._pieces += 1
        super().on_message_begin()

    def is_receiving(self) -> bool:
        """Say whether the client has not sent all that it announced."""
        cycle: Any = self.cycle  # None before the first request
        return self._in_head or (cycle is not None and cycle.more_body)

    def _is_busy(self) -> bool:
        """Say whether a request is being read or answered."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not (cycle.response_complete and not cycle.more_body)

    def _head_begins(self) -> None:
        if not self._in_head:
            self._in_head, self._head_bytes = True, 0
            self._head_timer = self.loop.call_later(ServerLimits.head_s, self._late)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, and no trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, unless its head is too large, or it is one for a proxy, of which this server is none."""
        self._headers_are_in()
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > ServerLimits.head_bytes:
            self._end(_TOO_LARGE)
            return
        if not self.url.startswith(b"/"):
            self._end(b"HTTP/1.1 400 Bad Request\r\n")
            return
        super().on_headers_complete()
        self.headers = []  # who answers has them

    def on_body(self, body: bytes) -> None:
        """Take in a piece of a body, unless the connection is at its end; without detour where its place is known."""
        self._pieces += 1
        if self.cycle is None:
            return
        place: Arriving | None = cast("dict[str, Any]", self.scope).get(PLACE)
        if place is None or self.cycle.body or not place.fits(body):  # what waits comes first; too much is looked at
            super().on_body(body)
        else:
            place.take(body)

    def on_message_complete(self) -> None:
        """End a request, unless the connection is at its end."""
        if self.cycle is not None:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what waits."""
        self._headers_are_in()
        scope = cast("dict[str, Any] | None", self.scope)  # None before the first request
        if scope is not None:
            waits: asyncio.Future[bool] | None = scope.setdefault(LEFT, None)
            if waits is not None and not waits.done():
                waits.set_result(False)
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        super().connection_lost(exc)

    def _headers_are_in(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        if self._is_busy():  # the answer to what came before it comes first
            self._head_timer = self.loop.call_later(ServerLimits.head_s, self._late)
            return
        self._end(b"HTTP/1.1 408 Request Timeout\r\n")

    def _end(self, status: bytes) -> None:
        self._headers_are_in()
        self._in_head = True  # there may be more of it: what is unread must not break the connection
        if not self.transport.is_closing():
            self.transport.write(status + b"connection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
        if self.cycle is not None:  # who is at work for it has nobody to tell any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class Listener:
    """Accepts connections of one socket, counts them, and hands each to TLS or to plain HTTP."""

    def __init__(
        self, listening: socket.socket, tls: ssl.SSLContext, make: Callable[[Callable[[], None]], BoundedProtocol]
    ) -> None:
        """Begin to accept; `make` makes the protocol of a connection, and gets what is to be called at its end."""
        self._socket, self._tls, self._make = listening, tls, make
        self._buffer = memoryview(bytearray(_BUFFER))
        self._counts: dict[str, int] = {}
        self._all = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())
        self.refused = 0

    def close(self) -> None:
        """Accept nothing more."""
        self._accepting.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return when what began is handed over or given up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError:  # no descriptors left: those who are served go on
                await asyncio.sleep(0.1)
                continue
            group = address_group(address[0])
            of_one = self._counts.get(group, 0)
            if self._all >= ServerLimits.connections or (
                of_one >= ServerLimits.of_one_address and not is_loopback(address[0])
            ):
                self.refused += 1
                connection.close()
                continue
            self._all += 1
            self._counts[group] = of_one + 1
            task = loop.create_task(self._begin(connection, address[0], group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _begin(self, connection: socket.socket, address: str, group: str) -> None:
        """Look at the first byte and hand the connection over."""
        handed = False
        try:
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(TimeoutError):  # it may be there all the same, where this loop was late
                async with asyncio.timeout(ServerLimits.first_byte_s):
                    await ready(connection)
            first = connection.recv(1, socket.MSG_PEEK)
            if not first:
                return
            if first[0] == _TLS_HANDSHAKE:
                connection = await shaken(connection, self._tls, ServerLimits.handshake_s)
            elif not is_loopback(address):
                with suppress(OSError):
                    connection.send(_TLS_ONLY)
                return
            SocketTransport(connection, self._make(lambda: self._left(group)), self._buffer)
            handed = True
        except (OSError, TimeoutError):
            return
        finally:
            if not handed:
                connection.close()
                self._left(group)

    def _left(self, group: str) -> None:
        self._all -= 1
        left = self._counts.get(group, 1) - 1
        if left:
            self._counts[group] = left
        else:
            self._counts.pop(group, None)


class WebServer(uvicorn.Server):
    """Uvicorn, with connections from our own listener."""

    def __init__(self, app: Application, listening: socket.socket, tls: ssl.SSLContext, *, behind_proxy: bool) -> None:
        """Serve `app` on a socket; `behind_proxy` believes what a proxy on this machine says of addresses."""
        config = uvicorn.Config(
            app, loop="uvloop", http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=behind_proxy, forwarded_allow_ips=["127.0.0.1", "::1"], server_header=False,
            timeout_keep_alive=int(ServerLimits.idle_s), timeout_graceful_shutdown=10,
        )  # fmt: skip
        super().__init__(config)
        self._listening, self._tls = listening, tls
        self.when_started: Callable[[], None] = lambda: None
        self.when_ending: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Begin to accept."""
        await self.lifespan.startup()
        self.listener = Listener(self._listening, self._tls, self._protocol)
        self.servers: list[Any] = [self.listener]
        self.started = True
        self.when_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End gracefully at the first SIGTERM or SIGINT, at once at the second; the process goes on after that."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        yield

    def _end(self, number: int) -> None:
        self.when_ending()
        self.handle_exit(number, None)

    def _protocol(self, on_lost: Callable[[], None]) -> BoundedProtocol:
        return BoundedProtocol(on_lost, config=self.config, server_state=self.server_state, app_state={})
