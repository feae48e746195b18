"""What the server remembers of nodes while it runs: their keys, the nonces they used, and who waits for messages.

Nothing of it is needed after a restart: keys are read again, a signature from before the restart is refused (the node
signs anew), and a poll that was cut off is asked again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.nodes import joining, keys
from nexapod_batch.files.changes import Changes
from nexapod_batch.mesh.mailbox import BELL, Mailbox
from nexapod_batch.mesh.messages import FIRST_EPOCH
from nexapod_batch.model.networks import KEPT_NETWORKS
from nexapod_batch.server.limits import Buckets
from nexapod_batch.server.nonces import Nonces
from nexapod_batch.server.scope_names import LEFT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.mesh.messages import WorkCall
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.operations import EpochRow

__all__ = ["CLOCK_S", "NodeChannel"]

#: Seconds by which the time of a signature may differ from ours; for twice as long its nonce is remembered.
CLOCK_S = 300
#: Requests of one key each second, and at once.
_RATE, _BURST = 50.0, 500
_KEYS_S, _UNKNOWN_S = 1.0, 0.05
#: Seconds between two looks at the bell: where the kernel tells when it rings here, and where it does not.
_TOLD_S, _TICK_S = 0.05, 0.005
#: For so long a call without news need not be kept: that a node called is of interest to the minute.
_QUIET_S = 60.0
#: Times of files are rounded: what happened so shortly ago may not be the last change with this time.
_ROUNDED_NS = 100_000_000


#: What a node says of itself with each call: where it keeps inputs, those that it fetches, why it is paused, what
#: does not work there.
_About = tuple[object, ...]


class NodeChannel:
    """Keys, nonces and waiting polls of one server."""

    def __init__(self, home: Path, read: Callable[[Callable[[Coordinator], Any]], Awaitable[Any]]) -> None:
        """Know nothing yet; `read` asks the coordinator of a home in a thread."""
        self._path, self._read = home / "spool" / BELL, read
        self._database = (str(home / "state.db"), str(home / "state.db-wal"))
        self._stamp: tuple[int, ...] = ()  # of the database when keys were read; empty: read them again
        self._keys: dict[str, Node] = {}
        self.revoked: frozenset[str] = frozenset()  # ids of keys of nodes that count no longer
        self._public: dict[str, bytes] = {}  # keys of nodes, by name
        self._owners: dict[str, str] = {}  # that are not approved, by node
        self._calls: dict[str, tuple[_About, float]] = {}  # by node: what it said of itself when that was kept last
        self._networks: dict[str, tuple[str, ...]] = {}  # by node: where it called from since the server started
        self._coordinator: dict[str, bytes] = {}
        self.epoch, self.since = FIRST_EPOCH, 0  # of the coordinator, and when it began (ms since 1970)
        self._read_at, self._reading = float("-inf"), asyncio.Lock()
        self._nonces = Nonces(2 * CLOCK_S)
        self._waiting: dict[str, tuple[Mailbox, int, asyncio.Future[bool]]] = {}  # by node: its outbox as it was
        self._bell: asyncio.Task[None] | None = None
        self._released = False
        self.by_key = Buckets(_RATE, _BURST)
        self.polls = 0  # waiting now
        self.verified = 0  # signatures that were looked at, good or not

    async def node(self, key_id: str) -> Node | None:
        """Return the node with a key; None where there is none."""
        async with self._reading:  # who comes meanwhile wants the new ones as well
            age_s = time.monotonic() - self._read_at
            if age_s > _KEYS_S or (age_s > _UNKNOWN_S and key_id not in self._keys):
                await self._read_keys()
                self._read_at = time.monotonic()
        return self._keys.get(key_id)

    def forget_keys(self) -> None:
        """Have keys read again before the next request is looked at: a node joined."""
        self._read_at, self._stamp = float("-inf"), ()

    async def _read_keys(self) -> None:
        """Read the keys of all nodes, where something was written since they were read."""
        stamp = tuple(map(_changed_ns, self._database))
        if stamp == self._stamp:
            return
        self._keys, self.revoked, self._coordinator, epoch = await self._read(_keys)
        self.epoch, self.since = epoch.number, epoch.since
        self._public = {node.name: node.public_key for node in self._keys.values()}
        self._owners = {node.name: node.owner for node in self._keys.values() if node.owner_state != "approved"}
        self._stamp = stamp if time.time_ns() - max(stamp) > _ROUNDED_NS else ()

    def key_of(self, name: str) -> bytes:
        """Return the public key of a node that signed in just now."""
        return self._public[name]

    def some_others(self, name: str, number: int) -> tuple[tuple[str, bytes], ...]:
        """Return names and public keys of at most so many other nodes, by chance."""
        others = [one for one in self._public.items() if one[0] != name]
        return tuple(random.sample(others, min(number, len(others))))

    def owner_to_approve(self, name: str) -> str:
        """Return the owner of a node that gets no work because that is not approved; "" for any other."""
        return self._owners.get(name, "")

    def is_kept(self, name: str, call: WorkCall) -> bool:
        """Say whether nothing of a call is to be kept: it has no news, and that the node calls was kept just now."""
        about, at = self._calls.get(name, ((), float("-inf")))
        return call.is_quiet and _about(call) == about and time.monotonic() - at < _QUIET_S

    def kept(self, name: str, call: WorkCall) -> None:
        """Note that a call was kept."""
        self._calls[name] = (_about(call), time.monotonic())

    def forget_call(self, name: str) -> None:
        """Have the next call of a node kept, whatever it says."""
        self._calls.pop(name, None)

    def is_from_elsewhere(self, name: str, network: str) -> bool:
        """Say whether a node calls from a network in which nobody has seen it, as far as is remembered."""
        if not network or network in self._networks.get(name, ()):
            return False
        self._networks[name] = (*self._networks.get(name, ()), network)[-KEPT_NETWORKS:]
        return True

    @property
    def coordinator(self) -> dict[str, bytes]:
        """The keys that sign and signed bundles, by their ids."""
        return self._coordinator

    async def code_of(self, key_id: str) -> str:
        """Return the code under which a key waits to be approved, or ""."""
        code: str = await self._read(lambda c: joining.code_of(c, key_id))
        return code

    def is_new(self, key_id: str, nonce: str) -> bool:
        """Say whether a key has not used a nonce before, and remember it."""
        return self._nonces.is_new(f"{key_id} {nonce}", time.monotonic())

    # ---- waiting

    async def wait(
        self, name: str, box: Mailbox, version: int, scope: MutableMapping[str, Any], seconds: float
    ) -> bool:
        """Wait until a node's outbox changes; say whether it may have. An older poll of the same node ends.

        Also where the request of this `scope` is nobody's any more.
        """
        if self._released or LEFT in scope:
            return False
        loop = asyncio.get_running_loop()
        older = self._waiting.get(name)
        if older is not None:
            _answer(older[2], news=True)
        if time.time_ns() - version < _ROUNDED_NS:
            version = -1  # the next ring wakes it, whatever the time of the outbox is then
        answer: asyncio.Future[bool] = loop.create_future()
        self._waiting[name] = (box, version, answer)
        scope[LEFT] = answer
        if self._bell is None or self._bell.done():
            self._bell = loop.create_task(self._listen())
        late = loop.call_later(seconds, _answer, answer)
        self.polls += 1
        try:
            return await answer
        finally:
            self.polls -= 1
            late.cancel()
            scope.pop(LEFT, None)
            if self._waiting.get(name, (None, 0, None))[2] is answer:
                del self._waiting[name]

    def release(self) -> None:
        """Answer every poll that waits, and those that come: the server ends."""
        self._released = True
        for _, _, answer in self._waiting.values():
            _answer(answer, news=True)

    async def _listen(self) -> None:
        """Look at the bell, and when it was rung at the outboxes of those who wait; end when nobody does.

        The kernel tells when it is rung on this machine. It may be rung on another one that shares the home.
        """
        changes, rung = Changes([self._path.parent]), asyncio.Event()
        pause_s = _TOLD_S if changes.all_told else _TICK_S
        loop, fd = asyncio.get_running_loop(), changes.fileno()
        if changes.all_told:
            loop.add_reader(fd, rung.set)
        try:
            last = -1
            while self._waiting:
                rung.clear()
                changes.take()
                last = self._look(last)
                with suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), pause_s)
        finally:
            if changes.all_told:
                loop.remove_reader(fd)
            changes.close()

    def _look(self, last: int) -> int:
        """Wake those whose outbox changed, where the bell was rung since `last`; return when it was rung."""
        stamp = _changed_ns(str(self._path))
        if stamp != last:
            for box, version, answer in self._waiting.values():
                if _version(box) != version:
                    _answer(answer, news=True)
        return stamp


def _answer(poll: asyncio.Future[bool], *, news: bool = False) -> None:
    """Let a poll that waits be answered."""
    if not poll.done():
        poll.set_result(news)


def _changed_ns(path: str) -> int:
    """Return when a file was changed; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _about(call: WorkCall) -> _About:
    return call.folder, call.fetched, call.paused, *sorted(call.cannot.items())


def _version(box: Mailbox) -> int:
    try:
        return box.version()
    except OSError:
        return -1


def _keys(c: Coordinator) -> tuple[dict[str, Node], frozenset[str], dict[str, bytes], EpochRow]:
    joined = {node.key_id: node for node in c.nodes() if node.joined}
    revoked = frozenset(key for key, node in joined.items() if not node.active and keys.is_revoked(c, node))
    nodes = {key: node for key, node in joined.items() if key not in revoked}
    return nodes, revoked, own_key.not_revoked(c.store, c.signer), c.store.operations.epoch()
