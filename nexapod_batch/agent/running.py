"""`node run`: calls the coordinator for work, hands it to the worker, and says what became of it, until it is stopped.

Three threads, each with a connection of its own: one waits for messages (the long poll), one sends files that were
asked for, and this one says what is new. A message is acknowledged with the next poll, when it is durable here.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct, field
from msgspec import json as msgjson

from nexapod_batch import log
from nexapod_batch.agent import following, transfer
from nexapod_batch.agent.client import Client, RefusedError
from nexapod_batch.agent.leader import Leader, Server
from nexapod_batch.agent.outgoing import SETTLED, News, Outgoing
from nexapod_batch.agent.witness import Witness, Witnessed
from nexapod_batch.errors import NexapodError, UnreachableError, UnsafeOutputError, VerificationError
from nexapod_batch.local_nodes import owner_policy
from nexapod_batch.mesh import live_logs
from nexapod_batch.mesh.commitment import commitments_to
from nexapod_batch.mesh.messages import Answer, WorkCall

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from nexapod_batch.agent.home import AgentHome, AgentSettings
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.mesh.messages import Message, Said, Wanted
    from nexapod_batch.trust.dsse import Signer

__all__ = ["Agent", "Ended", "State"]

#: Seconds for which a poll waits at the coordinator, and at most between two calls of any kind.
POLL_S, QUIET_S = 25.0, 60.0
#: Seconds between two looks for news, shortly after there was some and later.
_TICK_S, _TICK_MOST_S, _SLOWER = 0.01, 0.05, 1.02
_LEAST_S, _MOST_S = 0.25, 60.0
#: Seconds between two looks whether there is a newer roster.
_ROSTER_S = 3_600.0
#: The same where there is another coordinator to turn to.
_SEVERAL_S = 4.0
#: How often files are sent that were asked for; then they wait to be asked for again.
_TRIES = 10
_WORK = "/v1/work"
#: Launches that are over and are still shown.
_RECENT = 20


class Ended(NamedTuple):
    """A launch that is over."""

    at: float  # when that was said, seconds since 1970
    launch: str
    state: str
    reason: str


class State(Struct):
    """What a node is at, for who watches it."""

    connected: bool = False
    trouble: str = ""  # why it is not connected
    why: str = ""  # why there is no work
    running: int = 0  # launches that it has and that are not over
    taken: int = 0  # launches since it was started
    refused: int = 0  # bundles that were not from its coordinator
    unsent: int = 0  # bytes of reports
    ledger: Witnessed = Witnessed()  # what it saw of the coordinator's ledger
    begun_at: float = 0.0  # when it was started, seconds since 1970
    heard_at: float = 0.0  # when the coordinator answered last; 0: never
    ended: dict[str, int] = field(default_factory=dict)  # launches since it was started, by how they ended
    recent: deque[Ended] = field(default_factory=lambda: deque(maxlen=_RECENT))  # the last of them

    def note(self, launches: Mapping[str, Said], now: float) -> None:
        """Count the launches that are over by what is said of them."""
        for launch, word in launches.items():
            if word.state in SETTLED:
                self.ended[word.state] = self.ended.get(word.state, 0) + 1
                self.recent.append(Ended(now, launch, word.state, word.reason))


class Agent:
    """One node at work."""

    def __init__(self, home: AgentHome, settings: AgentSettings, signer: Signer, worker: AgentWorker) -> None:
        """Start nothing yet."""
        self._home, self._settings, self._signer, self._worker = home, settings, signer, worker
        self._stop, self._keys = threading.Event(), worker.coordinator_keys
        self._wanted: queue.Queue[tuple[str, Wanted]] = queue.Queue(1000)
        self._sending: set[str] = set()  # messages whose files are on their way, or wait for that
        self._outgoing = Outgoing(worker)
        self._leader = Leader(home.leader_file, self._servers())
        self._unheard: dict[str, str] = {}  # launches taken -> signature, until their acknowledgement was answered
        self._holds_told = False  # whether the coordinator was told of the launches of before this start
        self._roster_due = 0.0  # when it is asked for next
        self._witness = Witness(home.witness_file, lambda: self._keys.trusted.current, settings.name, signer)
        self._paused = ""
        self.state = State(begun_at=time.time(), ledger=self._witness.seen)

    def stop(self) -> None:
        """Let everything end; what runs goes on, and is reported by the next `node run`."""
        self._stop.set()

    def run(self, tell: Callable[[State], None], *, until_idle: bool = False) -> None:
        """Work until `stop`; `until_idle` ends it when everything was said and nothing is there to do."""
        threads = [threading.Thread(target=one, daemon=True) for one in (self._poll, self._upload)]
        for thread in threads:
            thread.start()
        client, news = self._client(), News(self._home.spool)
        last = wait_s = failed_s = 0.0
        tick_s = _TICK_S
        while not self._stop.wait(max(tick_s, wait_s)):
            due = time.monotonic() - last > QUIET_S
            wait_s, tick_s = 0.0, min(_TICK_MOST_S, tick_s * _SLOWER)
            asks = self._witness.soon and not self._settings.code
            if news.there() or due or failed_s or asks:
                tick_s = _TICK_S
                try:
                    if self._say(client, anyhow=due):
                        last = time.monotonic()
                    failed_s = 0.0
                except (NexapodError, OSError) as error:
                    wait_s = failed_s = self._failed(error, failed_s)
            tell(self.state)
            if until_idle and not self.state.running and not self.state.unsent and self.state.taken:
                self._stop.set()
        client.close()

    # ---- what is new

    def _say(self, client: Client, *, anyhow: bool) -> bool:
        """Send what is new; say whether anything was."""
        self._follow_roster(client)
        epoch = self._leader.epoch
        if self._leader.told != epoch:
            self._start_over(client, epoch)
            self._witness.soon = True
        elif not self._holds_told:
            self._tell_holds(client, epoch, self._worker.known())
        self._holds_told = True
        if self._look_at_ledger(client):
            self._start_over(client, epoch)
        left = self._worker.forget_due()
        paused = owner_policy.paused(self._home.spool)[0] or self._witness.trouble
        anyhow = anyhow or paused != self._paused
        words = self._outgoing.words()
        sent = False
        while not self._stop.is_set():
            pieces, complete = self._outgoing.pieces()
            said = words if complete else {}
            if not (pieces or said or (anyhow and not sent)):
                break
            committed = commitments_to(line for piece in pieces for line in piece.text.encode().splitlines())
            self._commit(client, epoch, committed)
            call = self._news(epoch, committed=committed, lines=pieces, launches=said, paused=paused)
            answer = self._call(client, call)
            self._paused = paused
            self._outgoing.confirm(answer.kept, said)
            self.state.note(said, time.time())
            sent = True
            if complete:
                break
        self.state.unsent = self._outgoing.unsent()
        self.state.running = self._outgoing.open_launches() - len(left)
        return sent

    def _commit(self, client: Client, epoch: int, committed: Mapping[str, str]) -> None:
        """Let the coordinator keep what must be there before report lines: commitments, and signatures for launches.

        The poll acknowledges launches as well; it may wait, or fail, while they run and end.
        """
        signed = dict(self._unheard)
        if not (committed or signed):
            return
        acknowledged = tuple([f"launch-{launch}" for launch in signed])
        call = WorkCall(
            poll=os.urandom(16).hex(), epoch=epoch, committed=committed, acknowledged=acknowledged, delegations=signed
        )
        self._call(client, call)
        self._heard(signed)

    def _heard(self, launches: Iterable[str]) -> None:
        for launch in launches:
            self._unheard.pop(launch, None)

    def _servers(self) -> list[Server]:
        """Return the servers that may lead: those of the roster, or the one that was joined."""
        named = following.servers_of(self._home, self._keys.trusted.ever)
        return named or [Server(self._settings.url, self._settings.pin)]

    def _follow_roster(self, client: Client) -> None:
        """Look now and then whether there is a newer roster; what is wrong with one is told, and the old one stays."""
        if time.monotonic() < self._roster_due:
            return
        self._roster_due = time.monotonic() + _ROSTER_S
        client.aim(*self._leader.current())
        try:
            self._worker.follow_keys(client)
            if following.follow(self._home, self._keys.trusted.ever, client):
                self._leader.may_be(self._servers())
        except VerificationError as error:
            self.state.trouble = _text(error)

    def _look_at_ledger(self, client: Client) -> bool:
        """Look whether the coordinator's ledger continues, where it is time; say whether it no longer does."""
        if self._settings.code:  # nobody knows this node yet
            return False
        client.aim(*self._leader.current())
        try:
            newer = partial(self._worker.follow_keys, client)
            return self._witness.look(client.post, self._worker.retained.newest, newer)
        except UnreachableError:
            raise
        except NexapodError as error:  # it says no, for now
            log.warning(__name__, "the ledger cannot be looked at", why=_text(error))
            return False
        finally:
            self.state.ledger = self._witness.seen

    def _start_over(self, client: Client, epoch: int) -> None:
        """Say everything that this node has and had to a coordinator that took over: launches first, then the rest."""
        retained = self._worker.retained
        retained.bring_back()
        self._outgoing.start_over(retained.launches() - self._worker.known())
        self._tell_holds(client, epoch, retained.launches())
        self._call(client, self._news(epoch, holds_no_more=True))
        self._leader.everything_told(epoch)
        self._roster_due = 0.0

    def _tell_holds(self, client: Client, epoch: int, launches: Collection[str]) -> None:
        """Tell of launches that this node has: whoever died before it could acknowledge them does so here."""
        for together in self._worker.retained.batches(launches):
            self._call(client, self._news(epoch, holds=together))

    # ---- what there is to do

    def _poll(self) -> None:
        client = self._client()
        acknowledged: tuple[str, ...] = ()
        signed: Mapping[str, str] = {}
        refused: Mapping[str, str] = {}
        poll, wait_s, failed_s = os.urandom(16).hex(), 0.0, 0.0
        while not self._stop.is_set():
            call = self._news(
                self._leader.epoch, poll=poll, acknowledged=acknowledged, delegations=signed, refused=refused,
                paused=self._paused, wait_s=POLL_S,
            )  # fmt: skip
            try:
                answer = self._call(client, call, patience_s=POLL_S)
                self._heard(signed)
                self._outgoing.tell_again(signed)
                acknowledged, signed, refused = self._take(client, answer)
            except (NexapodError, OSError) as error:  # the same poll again: what was answered is answered again
                failed_s = wait_s = self._failed(error, failed_s)
            else:
                failed_s = 0.0
                self._connected(answer)
                poll = os.urandom(16).hex()
                wait_s = answer.again_s
                if answer.messages and not (acknowledged or refused):  # nothing of it could be used now
                    wait_s = _LEAST_S
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        client.close()

    def _take(self, client: Client, answer: Answer) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
        """Act on messages; return those that are durable here, what was signed for launches, and which are refused."""
        acknowledged, signed, refused = [], {}, dict[str, str]()
        for message in answer.messages:
            try:
                signature = self._act(client, message)
            except (NexapodError, OSError) as error:
                self.state.trouble = _text(error)
                if isinstance(error, VerificationError) and message.bundle is not None:
                    self.state.refused += 1
                    refused[message.bundle.launch] = _text(error)
                continue
            if message.bundle is not None:
                signed[message.bundle.launch] = signature
                self.state.taken += 1
            acknowledged.append(message.name)
        return tuple(acknowledged), signed, refused

    def _act(self, client: Client, message: Message) -> str:
        """Do what a message asks for; return the node's signature where it is a launch."""
        worker = self._worker
        if message.bundle is not None:
            if self._witness.trouble:
                raise VerificationError(self._witness.trouble)
            opened, signature = worker.check(message.bundle, partial(worker.follow_keys, client))
            for digest in worker.to_bring(opened):
                transfer.download(client, self._home.inputs, digest)
            worker.retained.keep(message.bundle, opened, signature)
            self._unheard[message.bundle.launch] = signature  # before it can run, and report
            try:
                worker.put(message.bundle)
            except (NexapodError, OSError):
                self._heard([message.bundle.launch])
                raise
            return signature
        if message.cancel:
            worker.cancel(message.cancel)
        worker.forget_later(message.forget)
        worker.expire(message.expire)
        worker.remove(message.remove)
        worker.discard(message.discard, self._witness.covered_until)
        if message.follow is not None:
            pieces = live_logs.read_pieces(self._home.work, message.follow)
            if pieces:
                self._call(client, WorkCall(poll=os.urandom(16).hex(), epoch=self._leader.epoch, logs=pieces))
        if message.wanted is not None and message.name not in self._sending:
            self._wanted.put_nowait((message.name, message.wanted))
            self._sending.add(message.name)
        return ""

    # ---- files that were asked for

    def _upload(self) -> None:
        client = self._client()
        while not self._stop.is_set():
            try:
                name, wanted = self._wanted.get(timeout=0.5)
            except queue.Empty:
                continue
            for tries in range(1, _TRIES + 1):
                try:
                    self._bring(client, wanted)
                    break
                except (NexapodError, OSError) as error:  # what arrived is not sent again
                    self.state.trouble = _text(error)
                    if isinstance(error, UnsafeOutputError) or self._stop.wait(_LEAST_S * tries):
                        break
            self._sending.discard(name)
        client.close()

    def _bring(self, client: Client, wanted: Wanted) -> None:
        """Send the files of a replica, and say so when they are all there."""
        client.aim(*self._leader.current())
        files = transfer.bring(client, self._home.work, wanted)
        name = f"{wanted.replica}.logs" if wanted.logs else wanted.replica
        call = WorkCall(poll=os.urandom(16).hex(), epoch=self._leader.epoch, brought={name: files})
        self._call(client, call)

    # ---- calls

    def _news(self, epoch: int, *, poll: str = "", **more: Any) -> WorkCall:  # noqa: ANN401 - what a call has
        """Return a call that says where the node keeps inputs; without `poll` it is a new one."""
        poll, folder = poll or os.urandom(16).hex(), str(self._home.inputs)
        return WorkCall(poll=poll, epoch=epoch, folder=folder, fetched=self._worker.fetched, **more)

    def _client(self) -> Client:
        return Client(self._settings.url, self._settings.pin, self._signer)

    def _call(self, client: Client, call: WorkCall, *, patience_s: float = 0.0) -> Answer:
        """Return the answer of the coordinator that leads; another one is called the next time where this is none."""
        server = self._leader.current()
        client.aim(server.url, server.pin)
        try:
            answer = _answered(client.post(_WORK, msgjson.encode(call), patience_s=patience_s))
        except (NexapodError, OSError) as error:
            self._leader.failed(server, error)
            raise
        self._leader.heard(server, answer.epoch)
        return answer

    def _connected(self, answer: Answer) -> None:
        self.state.connected, self.state.trouble, self.state.why = True, "", answer.why
        self.state.heard_at = time.time()
        if self._settings.code:
            self._settings = msgspec.structs.replace(self._settings, code="")
            self._home.keep(self._settings)

    def _failed(self, error: Exception, before_s: float) -> float:
        """Note why a call failed; return for how long to wait: longer each time, or as the coordinator says."""
        self.state.connected, self.state.trouble = False, _text(error)
        self._witness.soon = True
        asked = error.retry_after if isinstance(error, RefusedError) else 0.0
        most_s = _SEVERAL_S if self._leader.several else _MOST_S
        return max(asked, min(most_s, max(_LEAST_S, 2 * before_s)))


def _answered(data: bytes) -> Answer:
    try:
        return msgjson.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise UnreachableError("the coordinator's answer makes no sense", got=str(error)[:200]) from error


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
