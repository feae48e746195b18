"""Sending the parts of a file by two connections in turn: while one part waits for its answer, the next one travels.

The server appends a part only where the one before it ends. So each begins when all of the one before it was sent, a
shorter one at the end when that was answered, and where one is refused, what was sent behind it is refused as well.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from nexapod_batch.errors import TryAgainError, UnreachableError
from nexapod_batch.mesh.blobs import PART

if TYPE_CHECKING:
    from concurrent.futures import Future

    from nexapod_batch.agent.client import Client, Reply
    from nexapod_batch.agent.parts import Part, Parts

__all__ = ["Lanes"]

#: Parts that are sent, or wait for their answer, at once.
_ON_THE_WAY = 2


class _Sent(NamedTuple):
    """A part that is on its way."""

    answer: Future[Reply]
    left: threading.Event  # set when all of it was sent
    end: int  # the byte behind it


class Lanes:
    """What sends one file; as a context manager, nothing is on its way any more at the end."""

    def __init__(self, client: Client, path: str, parts: Parts) -> None:
        """Send nothing yet; the first lane is the client itself."""
        self._path, self._parts = path, parts
        self._others = [client.another() for _ in range(_ON_THE_WAY - 1)]
        self._clients = [client, *self._others]  # in the order in which they will be free
        self._threads = ThreadPoolExecutor(_ON_THE_WAY)
        self._sent: deque[_Sent] = deque()
        self.so_far = False  # whether what is signed of a part is the SHA-256 of the file up to its end

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is on its way."""
        self._threads.shutdown()
        for client in self._others:
            client.close()

    def send(self, at: int) -> Reply | None:
        """Send everything from a byte on; return the answer that refused a part, None where there was none.

        Raises:
            TryAgainError: The file became shorter.
            UnreachableError: There was no answer.

        """
        try:
            while True:
                while not self._sent or (len(self._sent) < _ON_THE_WAY and at + PART <= self._parts.total):
                    part = self._parts.begins(at)
                    self._begin(part)
                    at += len(part)
                oldest = self._sent.popleft()
                reply = oldest.answer.result()
                if reply.status >= 300:
                    return reply
                if oldest.end >= self._parts.total:
                    return None
        finally:
            while self._sent:
                with suppress(UnreachableError, TryAgainError):
                    self._sent.popleft().answer.result()

    def _begin(self, part: Part) -> None:
        before = self._sent[-1].left if self._sent else None
        client = self._clients.pop(0)
        self._clients.append(client)
        left = threading.Event()
        answer = self._threads.submit(self._put, client, part, before, left)
        self._sent.append(_Sent(answer, left, part.at + len(part)))

    def _put(self, client: Client, part: Part, before: threading.Event | None, left: threading.Event) -> Reply:
        head = {
            "upload-offset": str(part.at), "upload-length": str(self._parts.total),
            "content-digest": self._parts.content_digest(part, so_far=self.so_far),
        }  # fmt: skip
        try:
            if before is not None:
                before.wait()
            return client.ask(
                "PATCH", self._path, part, media="application/octet-stream", more=head, when_sent=left.set
            )
        finally:
            left.set()
