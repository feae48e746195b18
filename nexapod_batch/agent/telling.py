"""What a node tells its coordinator: reports, words on launches, and everything it holds where another one leads."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from nexapod_batch import log
from nexapod_batch.agent import room
from nexapod_batch.agent.link import text_of
from nexapod_batch.errors import NexapodError, UnreachableError
from nexapod_batch.mesh.commitment import commitments_to
from nexapod_batch.mesh.messages import WorkCall

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nexapod_batch.agent.link import Link
    from nexapod_batch.agent.outgoing import Outgoing
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.mesh.messages import Lines, Said

__all__ = ["Telling"]


class Telling:
    """Tells what is new, for one thread with a client of its own."""

    def __init__(self, link: Link, worker: AgentWorker, outgoing: Outgoing) -> None:
        """Tell nothing yet."""
        self._link, self._worker, self._outgoing = link, worker, outgoing
        self._client = link.client()
        self._holds_told = False  # whether the coordinator was told of the launches of before this start

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def tell(self, *, anyhow: bool) -> bool:
        """Send what is new, or `anyhow` something; say whether anything was sent. Errors as of `Link.call`."""
        self._follow()
        left = self._worker.forget_due()
        paused = room.paused(self._link.home) or self._link.witness.trouble
        sent = self._send(paused, anyhow=anyhow or paused != self._link.paused)
        self._link.state.unsent = self._outgoing.unsent()
        self._link.state.running = self._outgoing.open_launches() - len(left)
        return sent

    def _follow(self) -> None:
        """Follow who leads, and its ledger: it hears of all that this node holds where it may not know that."""
        link, leads = self._link, self._link.leader.leads
        link.follow_roster(self._client)
        if link.leader.told != leads:
            self._start_over(leads)
            link.witness.soon = True
        elif not self._holds_told:
            self._tell_holds(leads[0], self._worker.known())
        self._holds_told = True
        if self._look_at_ledger():
            self._start_over(leads)

    def _send(self, paused: str, *, anyhow: bool) -> bool:
        """Send words and lines, as many calls as they take; say whether there was one."""
        words, sent = self._outgoing.words(), False
        while not self._link.stop.is_set():
            pieces, complete = self._outgoing.pieces()
            said = words if complete else {}
            if not (pieces or said or (anyhow and not sent)):
                break
            self._send_one(pieces, said, paused)
            sent = True
            if complete:
                break
        return sent

    def _send_one(self, pieces: tuple[Lines, ...], said: Mapping[str, Said], paused: str) -> None:
        epoch = self._link.leader.epoch
        committed = commitments_to(line for piece in pieces for line in piece.text.encode().splitlines())
        self._commit(epoch, committed)
        call = self._link.news(epoch, committed=committed, lines=pieces, launches=said, paused=paused)
        answer = self._link.call(self._client, call)
        self._link.paused = self._link.state.paused = paused
        self._outgoing.confirm(answer.kept, said)
        self._link.state.note(said, time.time())

    def _commit(self, epoch: int, committed: Mapping[str, str]) -> None:
        """Let the coordinator keep what must be there before report lines: commitments, and signatures for launches.

        The poll acknowledges launches as well; it may wait, or fail, while they run and end.
        """
        signed = self._outgoing.unheard()
        if not (committed or signed):
            return
        acknowledged = tuple([f"launch-{launch}" for launch in signed])
        call = WorkCall(
            poll=os.urandom(16).hex(), epoch=epoch, committed=committed, acknowledged=acknowledged, delegations=signed
        )
        self._link.call(self._client, call)
        self._outgoing.heard(signed)

    def _look_at_ledger(self) -> bool:
        """Look whether the coordinator's ledger continues, where it is time; say whether it no longer does.

        Raises:
            UnreachableError: It cannot be reached.

        """
        link = self._link
        if not link.is_known:
            return False
        link.aim(self._client)
        try:
            newer = partial(self._worker.follow_keys, self._client)
            return link.witness.look(self._client.post, self._worker.retained.newest, newer)
        except UnreachableError:
            raise
        except NexapodError as error:  # it says no, for now
            log.warning(__name__, "the ledger cannot be looked at", why=text_of(error))
            return False
        finally:
            link.state.ledger = link.witness.seen

    def _start_over(self, leads: tuple[int, int]) -> None:
        """Say everything that this node has and had to a coordinator that took over: launches first, then the rest."""
        retained, link, epoch = self._worker.retained, self._link, leads[0]
        retained.bring_back()
        self._outgoing.start_over(retained.launches() - self._worker.known())
        self._tell_holds(epoch, retained.launches())
        link.call(self._client, link.news(epoch, holds_no_more=True))
        link.leader.everything_told(leads)
        link.look_for_roster()

    def _tell_holds(self, epoch: int, launches: Collection[str]) -> None:
        """Tell of launches that this node has: whoever died before it could acknowledge them does so here."""
        for together in self._worker.retained.batches(launches):
            self._link.call(self._client, self._link.news(epoch, holds=together))
