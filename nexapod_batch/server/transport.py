"""Connections of a server, plain or over TLS, whose sockets speak that themselves: an idle one holds next to nothing.

uvloop's TLS has 256 KiB of buffer and two more of OpenSSL for each connection, of which a quiet one keeps what its
largest record touched. Here all connections read into one buffer in turn, and all that is kept of an answer is what
could not be sent at once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any, Protocol

__all__ = ["Served", "SocketTransport", "ready", "shaken"]

#: Reads of one connection, each of a TLS record at most, before others have their turn.
_READS = 8
#: Bytes that wait for what follows them in the same turn of the loop: the head of an answer, and a short body.
_FEW = 8 << 10
#: Bytes that wait to be sent at which whoever makes them is told to stop, and to go on.
_HIGH, _LOW = 64 << 10, 16 << 10
#: What says that a connection has nothing now, or takes nothing. Over TLS the record that was begun is gone on with.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: Seconds that the end of a connection may take: for the rest of an answer, and for a client that sends still.
_END_S = 30.0


class Served(Protocol):
    """What a connection tells whoever serves it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin."""

    def data_received(self, data: bytes) -> None:
        """Take bytes in, which are there until this returns."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""

    def pause_writing(self) -> None:
        """Hear that too much waits to be sent."""

    def resume_writing(self) -> None:
        """Hear that there is room again."""

    def is_receiving(self) -> bool:
        """Say whether the client has not sent all that it announced."""


async def ready(connection: socket.socket, *, to_send: bool = False) -> None:
    """Return when a socket has something to read, or takes something to send."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if to_send else (loop.add_reader, loop.remove_reader)
    add(connection, there.set)
    try:
        await there.wait()
    finally:
        remove(connection)


async def shaken(connection: socket.socket, context: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """Return a connection that speaks TLS from now on; OSError or TimeoutError, and it is closed, where it does not."""
    made = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    made.do_handshake()
                except ssl.SSLWantReadError:
                    await ready(made)
                except ssl.SSLWantWriteError:
                    await ready(made, to_send=True)
                else:
                    return made
    except BaseException:
        made.close()
        raise


class SocketTransport(asyncio.Transport):
    """One connection; over TLS after its handshake."""

    __slots__ = (
        "_buffer", "_closing", "_deadline", "_held", "_loop", "_reading", "_served", "_slow", "_socket", "_unsent",
    )  # fmt: skip

    def __init__(self, connection: socket.socket, served: Served, buffer: memoryview) -> None:
        """Begin to read into a buffer that others use as well, of a TLS record or more."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._socket, self._served, self._buffer = connection, served, buffer
        self._unsent: bytearray | None = None
        self._closing = self._reading = False
        self._held = False  # what is unsent waits for more, and not for the connection
        self._slow = False  # whoever makes what is to be sent was told to stop
        self._deadline: asyncio.TimerHandle | None = None
        served.connection_made(self)
        self.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - of asyncio
        """Return what is known of the connection."""
        if name == "socket":
            return self._socket
        if name == "sslcontext" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket.context
        return default

    # ---- reading

    def is_reading(self) -> bool:
        """Say whether what arrives is read."""
        return self._reading

    def pause_reading(self) -> None:
        """Leave what arrives where it is."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def resume_reading(self) -> None:
        """Read what arrives."""
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        """Hand on what arrived: some records, for the kernel tells again of what is left."""
        for _ in range(_READS):
            try:
                size = self._socket.recv_into(self._buffer)
            except _NOT_NOW as reason:
                if isinstance(reason, ssl.SSLWantWriteError) and not self._unsent:  # keys change: the client is told
                    self._loop.add_writer(self._socket, self._read_again)
                return
            except OSError as error:
                self._end(error)
                return
            if not size:
                self.close()
                return
            self._served.data_received(self._buffer[:size])  # type: ignore[arg-type]
            if not self._reading:
                return

    def _read_again(self) -> None:
        self._loop.remove_writer(self._socket)
        if self._reading:
            self._read()

    # ---- writing

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return len(self._unsent or b"")

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, or keep those that the connection does not take now; few of them wait for what follows."""
        if self._closing or not data:
            return
        if self._held and len(data) > _FEW:
            self._send_held()
        if self._unsent:
            self._unsent += data
        elif len(data) <= _FEW:
            self._unsent, self._held = bytearray(data), True
            self._loop.call_soon(self._send_held)
        else:
            self._send_now(data)
        if len(self._unsent or b"") > _HIGH and not self._slow:
            self._slow = True
            self._served.pause_writing()

    def _send_now(self, data: bytes | bytearray | memoryview) -> None:
        """Send without a copy of what the connection takes at once."""
        with memoryview(data) as view:
            sent = self._sent(view)
            if sent < len(view) and not self._closing:
                self._unsent = bytearray(view[sent:])
                self._loop.add_writer(self._socket, self._send_rest)

    def _sent(self, view: memoryview) -> int:
        """Send what the connection takes now; return how much that is. A broken connection ends."""
        sent = 0
        try:
            while sent < len(view):
                sent += self._socket.send(view[sent:])
        except _NOT_NOW:
            pass
        except OSError as error:
            self._end(error)
        return sent

    def _send_held(self) -> None:
        if self._held:
            self._held = False
            self._send_rest()
            if self._unsent:
                self._loop.add_writer(self._socket, self._send_rest)

    def _send_rest(self) -> None:
        if self._unsent:
            with memoryview(self._unsent) as view:
                sent = self._sent(view)
            if self._socket.fileno() < 0:
                return
            del self._unsent[:sent]
        if self._slow and len(self._unsent or b"") <= _LOW:
            self._slow = False
            self._served.resume_writing()
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._socket)
            if self._closing:
                self._shut()

    # ---- the end

    def is_closing(self) -> bool:
        """Say whether nothing more is read, and nothing more taken to be sent."""
        return self._closing

    def close(self) -> None:
        """End the connection when everything is sent."""
        if not self._closing:
            self.pause_reading()
            self._closing = True
            self._deadline = self._loop.call_later(_END_S, self._end, None)
            if not self._unsent:
                self._shut()

    def abort(self) -> None:
        """End the connection now."""
        self._end(None)

    def _shut(self) -> None:
        """Say that nothing more comes; what still arrives is thrown away for a while, lest it break what was sent."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self._socket.unwrap()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)  # TLS ends with it: what is read from now on is not decrypted
        if not self._served.is_receiving():
            self._end(None)
        else:
            self._loop.add_reader(self._socket, self._throw_away)

    def _throw_away(self) -> None:
        try:
            if self._socket.recv_into(self._buffer):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._socket.fileno() < 0:
            return
        self._closing, self._reading, self._held, self._unsent = True, False, False, None
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._deadline is not None:
            self._deadline.cancel()
        self._socket.close()
        self._loop.call_soon(self._served.connection_lost, error)
