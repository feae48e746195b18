"""`node run`: calls the coordinator for work, hands it to the worker, and says what became of it, until it is stopped.

Four threads, each with a connection of its own: one waits for messages (the long poll), one brings the inputs of
launches, one sends files that were asked for, and this one says what is new as soon as the kernel tells that something
changed in the spool.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from nexapod_batch.agent.bringing import Bringing
from nexapod_batch.agent.link import Link
from nexapod_batch.agent.outgoing import News, Outgoing
from nexapod_batch.agent.sending import Sending
from nexapod_batch.agent.taking import Taking
from nexapod_batch.agent.telling import Telling
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.changes import Changes
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.agent.home import AgentHome, AgentSettings
    from nexapod_batch.agent.state import State
    from nexapod_batch.agent.worker import AgentWorker
    from nexapod_batch.trust.dsse import Signer

__all__ = ["Agent"]

#: Seconds at most between two calls that say something.
_QUIET_S = 60.0
#: Seconds between two looks for news: where the kernel tells of changes, and where it does not.
_TOLD_S, _TICK_S = 0.25, 0.02
#: Seconds between two looks at least: what changes together is said together.
_APART_S = 0.01


class Agent:
    """One node at work."""

    def __init__(self, home: AgentHome, settings: AgentSettings, signer: Signer, worker: AgentWorker) -> None:
        """Start nothing yet."""
        self._link, outgoing = Link(home, settings, signer, worker), Outgoing(worker)
        self._telling = Telling(self._link, worker, outgoing)
        self._sending = Sending(self._link)
        self._bringing = Bringing(self._link, worker, outgoing)
        self._taking = Taking(self._link, worker, outgoing, self._sending, self._bringing)
        folders = (layout.INBOX, layout.CLAIMS, layout.REFUSED, layout.REPORTS)
        self._changes = Changes([home.spool / folder for folder in folders])
        self._news = News(home.spool)

    @property
    def state(self) -> State:
        """What this node is at."""
        return self._link.state

    def stop(self) -> None:
        """Let everything end; what runs goes on, and is reported by the next `node run`."""
        self._link.stop.set()
        self._changes.wake()

    def run(self, tell: Callable[[State], None], *, until_idle: bool = False) -> None:
        """Work until `stop`; `until_idle` ends it when everything was said and nothing is there to do."""
        for work in (self._taking.run, self._sending.run, self._bringing.run):
            threading.Thread(target=work, daemon=True).start()
        last = failed_s = 0.0
        while not self._rest(failed_s):
            due = time.monotonic() - last > _QUIET_S
            asks = self._link.witness.soon and self._link.is_known
            if self._news.there() or due or failed_s or asks:
                try:
                    if self._telling.tell(anyhow=due):
                        last = time.monotonic()
                    failed_s = 0.0
                except (NexapodError, OSError) as error:
                    failed_s = self._link.failed(error, failed_s)
            tell(self.state)
            if until_idle and self._is_idle():
                self._link.stop.set()
        self._telling.close()

    def _rest(self, failed_s: float) -> bool:
        """Wait until there may be news, or for so long after a call that failed; say whether to stop."""
        if self._link.stop.wait(failed_s or _APART_S):
            return True
        if not failed_s:
            self._changes.wait(_TOLD_S if self._changes.all_told else _TICK_S)
        return self._link.stop.is_set()

    def _is_idle(self) -> bool:
        """Say whether something was done, and all of it said."""
        is_over = not (self.state.running or self.state.unsent or self._bringing.messages)
        return bool(self.state.taken) and is_over
