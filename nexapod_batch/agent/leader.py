"""Which coordinator a node follows: the one that leads, of those that may.

A coordinator that took over from another began a new epoch. A node never goes back to a lower one: that fences the
former leader, which may be alive and know nothing of it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from msgspec import DecodeError, Struct
from msgspec import json as msgjson
from msgspec.structs import replace

from nexapod_batch.agent.client import RefusedError
from nexapod_batch.errors import TryAgainError
from nexapod_batch.files import atomic, careful
from nexapod_batch.mesh.messages import FIRST_EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["FencedError", "Leader", "Server"]

#: Seconds for which a coordinator that answered before is called in vain until another one is tried.
PATIENCE_S = 10.0
_MAX = 64 << 10
#: Answers that say that this is not the leader: it was replaced, or it is another server.
_NOT_IT = frozenset({409, 421})


class Server(NamedTuple):
    """Where a coordinator is found."""

    url: str
    pin: str  # SHA256:... of its TLS key; "" where certificate authorities are trusted


class FencedError(TryAgainError):
    """A coordinator leads no more, or another one leads by now."""


class _Kept(Struct, frozen=True, kw_only=True):
    """What a node remembers of its leader."""

    epoch: int = FIRST_EPOCH
    since: int = 0  # when it began, ms since 1970: two copies may each have begun one of this number
    told: int = FIRST_EPOCH  # the epoch whose leader was told of everything that the node holds
    told_since: int = 0
    url: str = ""


class Leader:
    """The coordinator that a node follows; for several threads."""

    def __init__(self, file: Path, servers: Sequence[Server], clock: Callable[[], float] = time.monotonic) -> None:
        """Follow the one that was followed last, of these, or the first of them."""
        self._file, self._clock, self._lock = file, clock, threading.Lock()
        try:
            self._kept = msgjson.decode(careful.read(file, _MAX), type=_Kept)
        except (OSError, DecodeError):
            self._kept = _Kept()
        self._servers = tuple(servers)
        urls = [server.url for server in servers]
        self._index = urls.index(self._kept.url) if self._kept.url in urls else 0
        self._failing: float | None = None  # since when the current one is called in vain
        self._answered = False  # whether it ever did, since it is the current one

    @property
    def epoch(self) -> int:
        """The newest epoch that the node knows of."""
        return self._kept.epoch

    @property
    def leads(self) -> tuple[int, int]:
        """The newest epoch that the node knows of, and when it began."""
        return self._kept.epoch, self._kept.since

    @property
    def told(self) -> tuple[int, int]:
        """The epoch whose leader knows everything that the node holds, and when it began."""
        return self._kept.told, self._kept.told_since

    @property
    def several(self) -> bool:
        """Whether there is another one to turn to."""
        return len(self._servers) > 1

    def current(self) -> Server:
        """Return the coordinator to call."""
        with self._lock:
            return self._servers[self._index]

    def may_be(self, servers: Sequence[Server]) -> None:
        """Follow one of these from now on: the current one, where it is among them."""
        with self._lock:
            if not servers or tuple(servers) == self._servers:
                return
            now = self._servers[self._index]
            self._servers = tuple(servers)
            self._index = self._servers.index(now) if now in self._servers else 0

    def heard(self, server: Server, epoch: int, since: int) -> None:
        """Note that a coordinator answered, in its epoch, which began then (ms since 1970; 0: nobody took over).

        Raises:
            FencedError: The epoch is over, or a new one began: what was sent was not taken.

        """
        with self._lock:
            if (epoch, since) < self.leads:
                self._next(server)
                raise FencedError(
                    f"{server.url} leads no more: a stand-in took over", got=f"epoch {epoch}",
                    wanted=f"epoch {self._kept.epoch}",
                )  # fmt: skip
            self._failing, self._answered = None, True
            if (epoch, since) == self.leads:
                return
            self._keep(replace(self._kept, epoch=epoch, since=since, url=server.url))
        raise FencedError(f"{server.url} leads since epoch {epoch}: everything is said again")

    def failed(self, server: Server, error: Exception) -> None:
        """Note that a coordinator could not be reached, or is not it; another one is tried after a while."""
        status = error.status if isinstance(error, RefusedError) else 0
        if 0 < status < 500 and status not in _NOT_IT:  # it lives, and says no
            return
        with self._lock:
            if self._failing is None:
                self._failing = self._clock()
            waited = self._clock() - self._failing
            if not self._answered or waited >= PATIENCE_S or status in _NOT_IT:
                self._next(server)

    def everything_told(self, leads: tuple[int, int]) -> None:
        """Note that the leader of an epoch, as of `leads`, knows everything that the node holds."""
        told, since = leads
        with self._lock:
            self._keep(replace(self._kept, told=told, told_since=since, url=self._servers[self._index].url))

    def _next(self, server: Server) -> None:
        """Turn to the next one, unless another thread did."""
        if self._servers[self._index] == server:
            self._index = (self._index + 1) % len(self._servers)
            self._failing, self._answered = None, False

    def _keep(self, kept: _Kept) -> None:
        atomic.write(self._file, msgjson.encode(kept), mode=0o600)
        self._kept = kept
