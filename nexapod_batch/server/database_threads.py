"""The database behind the server: questions in a few threads, changes in one, each with a connection of its own.

Use cases are plain functions of a Coordinator and may wait (for the lock, for a disk): the event loop does not.
"""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from nexapod_batch.coordinator.context import open_coordinator
from nexapod_batch.errors import TryAgainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["DatabaseThreads"]

T = TypeVar("T")
#: Questions take well under a millisecond.
_READERS = 2
#: Submissions: some look at many files before they write.
_SUBMITTERS = 2
#: Submissions with images: registries may let them wait, and nobody else.
_FETCHERS = 4
#: What takes long and changes nothing: proofs, archives, answers of schedulers.
_MAKERS = 2


class _Room(threading.local):
    """What one thread has open."""

    coordinator: Coordinator | None = None
    stack: ExitStack | None = None


class _Line:
    """Threads that do one kind of work, and how many pieces of it may be under way or wait for their turn."""

    def __init__(self, name: str, threads: int, at_once: float, full: str = "", hint: str = "") -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._taken, self._at_once = 0, at_once
        self._full, self._hint = full, hint

    async def run(self, work: Callable[[], T]) -> T:
        """Return what the work returns; TryAgainError where too much waits."""
        if self._taken >= self._at_once:
            raise TryAgainError(self._full, hint=self._hint)
        self._taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Let what is under way end."""
        self._pool.shutdown()


class DatabaseThreads:
    """Runs functions of a Coordinator outside the event loop."""

    def __init__(self, paths: Paths) -> None:
        """Open nothing yet: each thread opens its own at the first question."""
        self._paths, self._room = paths, _Room()
        changes = "too many changes wait for their turn", "send the same again in a moment"
        self._readers = _Line("reader", _READERS, math.inf)
        self._writer = _Line("writer", 1, 256, *changes)
        self._submitters = _Line("submitter", _SUBMITTERS, 256, *changes)
        self._fetchers = _Line(
            "fetcher", _FETCHERS, 64, "too many images are being fetched", "send the same again in a while"
        )
        self._makers = _Line(
            "maker", _MAKERS, 16, "too many proofs and archives are being made", "ask again in a moment"
        )

    async def read(self, ask: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that cannot write returns."""
        return await self._readers.run(lambda: self._run(ask, write=False))

    async def make(self, ask: Callable[[Coordinator], T]) -> T:
        """Do as `read` for what takes long; TryAgainError where too many wait for it."""
        return await self._makers.run(lambda: self._run(ask, write=False))

    async def write(self, change: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that may write returns; TryAgainError where too many wait for it."""
        return await self._writer.run(lambda: self._run(change, write=True))

    async def submit(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `write` for what may take long before it writes; TryAgainError as well."""
        return await self._submitters.run(lambda: self._run(change, write=True))

    async def fetch(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `submit` for what may wait for servers elsewhere; TryAgainError where too many do."""
        return await self._fetchers.run(lambda: self._run(change, write=True))

    def close(self) -> None:
        """Let what is under way end, and close every connection."""
        for line in (self._readers, self._writer, self._submitters, self._fetchers, self._makers):
            line.close()

    def _run(self, act: Callable[[Coordinator], T], *, write: bool) -> T:
        room = self._room
        if room.coordinator is not None and room.coordinator.store.is_replaced:  # by `db restore`
            self._shut()
        if room.coordinator is None:
            room.stack = ExitStack()
            room.coordinator = room.stack.enter_context(open_coordinator(self._paths, write=write))
        room.coordinator.follow_key(write=write)
        return act(room.coordinator)

    def _shut(self) -> None:
        room = self._room
        if room.stack is not None:
            room.stack.close()
        room.stack = room.coordinator = None
