"""An end for connections that hardly move: no server keeps a fetch for ever by sending a byte now and then.

It holds for all that is read, heads of answers as well, whatever the library that reads them waits for.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

__all__ = ["Watch"]

#: Bytes of a file that must come in each window.
_LEAST = 64 << 10


class Watch:
    """Watches the connections of one request, as a context manager."""

    def __init__(self, window_s: float) -> None:
        """Begin to watch with the context; a window has so many seconds."""
        self._window_s, self._came = window_s, 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ended = False  # it was too slow

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()

    def over(self, connection: socket.socket) -> None:
        """Watch this connection from now on: of a request that is redirected there are several.

        Raises:
            TimeoutError: It took too long until it stood.

        """
        with self._lock:
            self._socket = connection
        self.check()

    def counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield blocks as they come.

        Raises:
            TimeoutError: Too little came.

        """
        for block in blocks:
            self._came += len(block)
            yield block
        self.check()

    def check(self) -> None:
        """Raise what an end of the connection really was.

        Raises:
            TimeoutError: Too little came, and so it was ended here.

        """
        if self.ended:
            raise TimeoutError(f"less than {_LEAST >> 10} KiB came in {self._window_s:g} s")

    def _run(self) -> None:
        seen = 0
        while not self._over.wait(self._window_s):
            if self._came - seen < _LEAST:
                self.ended = True
                with self._lock, suppress(OSError):
                    if self._socket is not None:  # whoever reads it wakes up; TLS is not asked
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                return
            seen = self._came
