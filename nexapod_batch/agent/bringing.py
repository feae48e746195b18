"""Launches whose inputs are not all here: brought one launch after the other, beside everything else.

Until a launch is given to the worker its message is not acknowledged; the polls say that it is taken care of. What is
cancelled or forgotten meanwhile is brought no further.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from nexapod_batch.agent import input_cache
from nexapod_batch.agent.link import LEAST_S, text_of
from nexapod_batch.errors import NexapodError
from nexapod_batch.mesh.blobs import Upload
from nexapod_batch.mesh.messages import Arriving, WorkCall
from nexapod_batch.spool import cancellations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.link import Link
    from nexapod_batch.agent.outgoing import Outgoing
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.mesh.messages import Bundle
    from nexapod_batch.model.replica import Bundle as Opened

__all__ = ["Bringing", "Taken"]

#: How often inputs are asked for; then the launch waits to be handed out again.
_TRIES = 10
#: Seconds between two words on how far they are.
_TOLD_S = 2.0
_CANCELLED = "it was cancelled while its inputs were brought"


class Taken(NamedTuple):
    """A launch that was checked."""

    message: str
    bundle: Bundle
    opened: Opened
    signature: str  # the node's, for the key of the launch


class _StoppedError(Exception):
    """Nobody wants the launch any more."""


class Bringing:
    """Gives launches to the worker, with their inputs, for one thread with a client of its own."""

    def __init__(self, link: Link, worker: AgentWorker, outgoing: Outgoing) -> None:
        """Have nothing to bring."""
        self._link, self._worker, self._outgoing = link, worker, outgoing
        self._waiting: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._lock = threading.Lock()  # what is said of a launch meets it here, or at the worker
        self._open: dict[str, Taken] = {}  # by launch
        self._cancels: dict[str, list[str]] = {}  # by launch: lists that name replicas of it
        self._stopped: dict[str, str] = {}  # by launch: what the coordinator is to be told, if anything
        self._told = 0.0  # when it was said how far inputs are (monotonic)

    @property
    def messages(self) -> tuple[str, ...]:
        """The messages that wait for inputs."""
        with self._lock:
            return tuple([taken.message for taken in self._open.values()])

    def put(self, taken: Taken) -> bool:
        """Give a launch to the worker, or have its inputs brought first; say whether it was given."""
        if not self._worker.to_bring(taken.opened):
            self._give(taken)
            return True
        with self._lock:
            if taken.bundle.launch not in self._open:
                self._open[taken.bundle.launch] = taken
                self._link.state.bringing = len(self._open)
                self._waiting.put(taken)
        return False

    def cancel(self, text: str) -> None:
        """Stop what a list of cancellations names, wherever it is."""
        with self._lock:
            self._worker.cancel(text)
            for launch, names in cancellations.read(text.encode(), self._open).items():
                self._cancels.setdefault(launch, []).append(text)
                if names is None or len(set(names)) >= len(self._open[launch].opened.replicas):
                    self._stopped[launch] = _CANCELLED

    def forget(self, launches: Sequence[str]) -> None:
        """Forget launches as soon as they are over; one that waits for inputs is none of ours any more."""
        with self._lock:
            self._worker.forget_later(launches)
            self._stopped |= dict.fromkeys(self._open.keys() & set(launches), "")

    def run(self) -> None:
        """Bring inputs until the node is to stop."""
        client, stop = self._link.client(), self._link.stop
        while not stop.is_set():
            try:
                taken = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            for tries in range(1, _TRIES + 1):
                if self._is_settled(client, taken) or stop.wait(LEAST_S * tries):
                    break
            self._end(taken.bundle.launch)
        client.close()

    def _is_settled(self, client: Client, taken: Taken) -> bool:
        """Bring inputs and give a launch to the worker, or tell why it is not run here; False where that may pass."""
        launch = taken.bundle.launch
        digests = self._worker.to_bring(taken.opened)
        try:
            self._link.aim(client)
            began = Arriving(launch=launch, here=0, since=int(time.time()))
            self._told = time.monotonic()
            input_cache.bring(client, self._worker, digests, partial(self._look, client, began, digests))
            self._give(taken)
        except _StoppedError:
            self._refuse(client, launch, self._stopped.get(launch, ""))
        except (NexapodError, OSError) as error:
            why = self._link.declines(error)
            if not why:
                return False
            self._refuse(client, launch, why)
        return True

    def _look(self, client: Client, began: Arriving, digests: Sequence[str]) -> None:
        """Look whether a launch is still wanted, and say now and then how much of its inputs is here."""
        if began.launch in self._stopped or self._link.stop.is_set():
            raise _StoppedError
        if time.monotonic() - self._told < _TOLD_S:
            return
        self._told = time.monotonic()
        folder = self._worker.home.inputs
        arriving = structs.replace(began, here=sum(Upload(folder, digest).size() for digest in digests))
        call = self._link.news(self._link.leader.epoch, arriving=arriving, paused=self._link.paused)
        with suppress(NexapodError, OSError):
            self._link.call(client, call)

    def _give(self, taken: Taken) -> None:
        """Give a launch to the worker: what was said of its replicas meanwhile follows."""
        bundle, launch = taken.bundle, taken.bundle.launch
        with self._lock:
            if launch in self._stopped:
                raise _StoppedError
            self._worker.retained.keep(bundle, taken.opened, taken.signature)
            self._outgoing.took(launch, taken.signature)
            try:
                self._worker.put(bundle)
            except (NexapodError, OSError):
                self._outgoing.heard([launch])
                raise
            for text in self._cancels.get(launch, ()):
                self._worker.cancel(text)
            self._drop(launch)
            state = self._link.state
            state.taken, state.declined = state.taken + 1, ""

    def _refuse(self, client: Client, launch: str, why: str) -> None:
        """Tell that a launch is never run here; where that is not heard, it comes again."""
        if not why:  # it was forgotten there
            return
        call = WorkCall(poll=os.urandom(16).hex(), epoch=self._link.leader.epoch, refused={launch: why})
        try:
            self._link.call(client, call)
        except (NexapodError, OSError) as error:
            self._link.state.trouble = text_of(error)

    def _end(self, launch: str) -> None:
        with self._lock:
            self._drop(launch)
            self._cancels.pop(launch, None)
            self._stopped.pop(launch, None)

    def _drop(self, launch: str) -> None:
        self._open.pop(launch, None)
        self._link.state.bringing = len(self._open)
