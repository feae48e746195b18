"""The database behind the server: questions in a few threads, changes in one, each with a connection of its own.

Use cases are plain functions of a Coordinator and may wait (for the lock, for a disk): the event loop does not.
"""

from __future__ import annotations

import asyncio
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
#: Threads that ask; questions take well under a millisecond.
_READERS = 2
#: Threads that store submissions: some look at many files before they write.
_SUBMITTERS = 2
#: Threads that store submissions with images: registries may let them wait, and nobody else.
_FETCHERS = 4
#: Such submissions that may be under way or wait for their turn.
_FETCHED_AT_ONCE = 64
#: Threads that make what takes long and changes nothing: proofs, archives, answers of schedulers.
_MAKERS = 2
#: Changes that may wait for their turn; who comes then is told to come again.
_WAITING = 256
#: What takes long and may be under way or wait for its turn.
_MADE_AT_ONCE = 16


class _Room(threading.local):
    """What one thread has open."""

    coordinator: Coordinator | None = None
    stack: ExitStack | None = None


class DatabaseThreads:
    """Runs functions of a Coordinator outside the event loop."""

    def __init__(self, paths: Paths) -> None:
        """Open nothing yet: each thread opens its own at the first question."""
        self._paths, self._room = paths, _Room()
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._submitters = ThreadPoolExecutor(_SUBMITTERS, "submitter")
        self._makers = ThreadPoolExecutor(_MAKERS, "maker")
        self._fetchers = ThreadPoolExecutor(_FETCHERS, "fetcher")
        self._waiting = self._making = self._fetching = 0

    async def make(self, ask: Callable[[Coordinator], T]) -> T:
        """Do as `read` for what takes long; TryAgainError where too many wait for it."""
        if self._making >= _MADE_AT_ONCE:
            raise TryAgainError("too many proofs and archives are being made", hint="ask again in a moment")
        self._making += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._makers, self._ask, ask)
        finally:
            self._making -= 1

    async def read(self, ask: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that cannot write returns."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._ask, ask)

    async def write(self, change: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that may write returns; TryAgainError where too many wait for it."""
        return await self._in_turn(self._writer, change)

    async def submit(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `write` for what may take long before it writes; TryAgainError as well."""
        return await self._in_turn(self._submitters, change)

    async def fetch(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `submit` for what may wait for servers elsewhere; TryAgainError where too many do."""
        if self._fetching >= _FETCHED_AT_ONCE:
            raise TryAgainError("too many images are being fetched", hint="send the same again in a while")
        self._fetching += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._fetchers, self._change, change)
        finally:
            self._fetching -= 1

    async def _in_turn(self, pool: ThreadPoolExecutor, change: Callable[[Coordinator], T]) -> T:
        if self._waiting >= _WAITING:
            raise TryAgainError("too many changes wait for their turn", hint="send the same again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._change, change)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let what is under way end, and close every connection."""
        for pool in (self._readers, self._writer, self._submitters, self._fetchers, self._makers):
            pool.shutdown()

    def _ask(self, ask: Callable[[Coordinator], T]) -> T:
        return self._run(ask, write=False)

    def _change(self, change: Callable[[Coordinator], T]) -> T:
        return self._run(change, write=True)

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
