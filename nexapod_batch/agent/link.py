"""The link of a node to the coordinator that leads: its calls, whatever they are about, and what became of them."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import json as msgjson

from nexapod_batch.agent import following, room
from nexapod_batch.agent.client import Client, RefusedError
from nexapod_batch.agent.leader import Leader, Server
from nexapod_batch.agent.state import State
from nexapod_batch.agent.witness import Witness
from nexapod_batch.errors import NexapodError, UnreachableError, VerificationError
from nexapod_batch.mesh.messages import Answer, WorkCall

if TYPE_CHECKING:
    from nexapod_batch.agent.home import AgentHome, AgentSettings
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.trust.dsse import Signer

__all__ = ["LEAST_S", "Link", "text_of"]

_WORK = "/v1/work"
#: Seconds until a call that failed is made again, at least and at most; and at most where another one may lead.
LEAST_S, _MOST_S, _SEVERAL_S = 0.25, 60.0, 4.0
#: Seconds between two looks whether there is a newer roster.
_ROSTER_S = 3_600.0


class Link:
    """One node's way to its coordinator, for all of its threads: each has a client of its own."""

    def __init__(self, home: AgentHome, settings: AgentSettings, signer: Signer, worker: AgentWorker) -> None:
        """Call nobody yet."""
        self._worker, self._keys = worker, worker.coordinator_keys
        self.home, self._settings, self._signer = home, settings, signer
        self.stop = threading.Event()
        self.leader = Leader(home.leader_file, self._servers())
        self.witness = Witness(home.witness_file, lambda: self._keys.trusted.current, settings.name, signer)
        self.state = State(begun_at=time.time(), ledger=self.witness.seen)
        self.paused = ""  # why nothing may start, as the coordinator was told last
        self._roster_due = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the coordinator knows this node: nobody need approve it any more."""
        return not self._settings.code

    def client(self) -> Client:
        """Return a client for one thread."""
        return Client(self._settings.url, self._settings.pin, self._signer)

    def aim(self, client: Client) -> None:
        """Let a client call the coordinator that leads."""
        server = self.leader.current()
        client.aim(server.url, server.pin)

    def news(self, epoch: int, *, poll: str = "", **more: Any) -> WorkCall:  # noqa: ANN401 - what a call has
        """Return a call that says where the node keeps inputs; without `poll` it is a new one."""
        poll, folder = poll or os.urandom(16).hex(), str(self.home.inputs)
        fetched, cannot = self._worker.fetched, self._worker.cannot
        return WorkCall(poll=poll, epoch=epoch, folder=folder, fetched=fetched, cannot=cannot, **more)

    def call(self, client: Client, call: WorkCall, *, patience_s: float = 0.0) -> Answer:
        """Return the answer of the coordinator that leads; another one is called the next time where this is none."""
        server = self.leader.current()
        client.aim(server.url, server.pin)
        try:
            answer = _answered(client.post(_WORK, msgjson.encode(call), patience_s=patience_s))
        except (NexapodError, OSError) as error:
            self.leader.failed(server, error)
            raise
        self.leader.heard(server, answer.epoch, answer.since)
        return answer

    def connected(self, why: str) -> None:
        """Note that a poll was answered; `why` there is no work."""
        self.state.connected, self.state.trouble, self.state.why = True, "", why
        self.state.heard_at = time.time()
        if self._settings.code:
            self._settings = msgspec.structs.replace(self._settings, code="")
            self.home.keep(self._settings)

    def failed(self, error: Exception, before_s: float) -> float:
        """Note why a call failed; return for how long to wait: longer each time, or as the coordinator says."""
        self.state.connected, self.state.trouble = False, text_of(error)
        self.witness.soon = True
        asked = error.retry_after if isinstance(error, RefusedError) else 0.0
        most_s = _SEVERAL_S if self.leader.several else _MOST_S
        return max(asked, min(most_s, max(LEAST_S, 2 * before_s)))

    def declines(self, error: Exception) -> str:
        """Note what went wrong with a launch; return why it is never run here, "" where that may pass."""
        state = self.state
        state.trouble = text_of(error)
        if not room.is_refusal(error):
            return ""
        state.refused += isinstance(error, VerificationError)
        state.declined = text_of(error)
        return state.declined

    def look_for_roster(self) -> None:
        """Have `follow_roster` look at its next call."""
        self._roster_due = 0.0

    def follow_roster(self, client: Client) -> None:
        """Look now and then whether there is a newer roster; what is wrong with one is told, and the old one stays."""
        if time.monotonic() < self._roster_due:
            return
        self._roster_due = time.monotonic() + _ROSTER_S
        self.aim(client)
        try:
            self._worker.follow_keys(client)
            if following.follow(self.home, self._keys.trusted.ever, client):
                self.leader.may_be(self._servers())
        except VerificationError as error:
            self.state.trouble = text_of(error)

    def _servers(self) -> list[Server]:
        """Return the servers that may lead: those of the roster, or the one that was joined."""
        named = following.servers_of(self.home, self._keys.trusted.ever)
        return named or [Server(self._settings.url, self._settings.pin)]


def _answered(data: bytes) -> Answer:
    try:
        return msgjson.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise UnreachableError("the coordinator's answer makes no sense", got=str(error)[:200]) from error


def text_of(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(str(error).split())
