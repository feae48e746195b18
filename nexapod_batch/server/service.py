"""What every handler can reach: the database behind its threads, the passes, the limits, the operator's options."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from nexapod_batch.coordinator.people.quotas import Quota
from nexapod_batch.server.database_threads import DatabaseThreads
from nexapod_batch.server.limits import Buckets
from nexapod_batch.server.node_channel import NodeChannel
from nexapod_batch.server.passes import Passes
from nexapod_batch.server.puzzles import Puzzles
from nexapod_batch.server.refusals import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.server.names import Names

__all__ = ["Options", "Service"]

T = TypeVar("T")


class Options(Struct, frozen=True, kw_only=True):
    """What the operator said."""

    public: bool = False  # status and nodes may be seen by anybody
    behind_proxy: bool = False
    approve_owners: bool = False  # a new owner waits for a word of its own, also where a join token brought it
    quota: Quota = Quota()  # of each person
    rate: float = 50.0  # requests of one address, and of one token, each second; eight times as many at once


class Service:
    """One server."""

    def __init__(self, paths: Paths, names: Names, options: Options) -> None:
        """Start nothing yet."""
        self.paths, self.names, self.options = paths, names, options
        self.threads = DatabaseThreads(paths)
        self.passes = Passes(paths)
        burst = max(1, round(8 * options.rate))
        self.by_address, self.by_token = Buckets(options.rate, burst), Buckets(options.rate, burst)
        self.channel = NodeChannel(paths.home, self.read)
        self.puzzles = Puzzles()
        self.started_at = time.time()
        self.ending = asyncio.Event()
        self.waiting = 0  # questions that wait for the end of a job
        self.refusals = Refusals(paths.home / "server")
        self.busy: set[str] = set()  # submissions that are being taken
        self.describe: Callable[[], dict[str, Any]] = dict  # the OpenAPI document
        self.answers: dict[tuple[str, int], int] = {}  # by method and status

    def end(self) -> None:
        """Answer everybody who waits: the server ends."""
        self.ending.set()
        self.channel.release()

    async def read(self, ask: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that cannot write returns; it runs in a thread."""
        return await self.threads.read(ask)

    async def make(self, ask: Callable[[Coordinator], T]) -> T:
        """Do as `read` for what takes long: proofs, archives, what schedulers are asked for."""
        return await self.threads.make(ask)

    async def write(self, change: Callable[[Coordinator], T]) -> T:
        """Return what a function of a coordinator that may write returns; one at a time, in a thread."""
        return await self.threads.write(change)

    async def submit(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `write` for what may take long before it writes."""
        return await self.threads.submit(change)

    async def fetch(self, change: Callable[[Coordinator], T]) -> T:
        """Do as `submit` for what may wait for servers elsewhere."""
        return await self.threads.fetch(change)

    def counted(self, scope: Scope, status: int) -> None:
        """Count an answer."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.answers[method, status] = self.answers.get((method, status), 0) + 1


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
