"""The workers of a cluster of ours: how many to start, what became of those that never came, when to give up. Pure.

Time is an argument, in seconds of one clock. A worker is *met* when the scheduler knows it. One that ended before that
is told with what it left, and replaced: alone at first, with longer and longer pauses, and not for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["ENDED", "Crew", "State", "Worker"]

#: A state of a worker's process or Slurm job in which it will never come, or come again.
ENDED = "ended"
#: Seconds between two rounds of starting.
ROUND_S = 5.0
#: Failures in a row after which no more are started.
GIVE_UP = 5
#: Seconds until it is tried again after that.
FORGIVE_S = 1_800.0
_PAUSE_S, _LONGEST_S = 5.0, 300.0
#: Seconds after which those on their way that nobody needs any more are called off: more work may come at once.
SURPLUS_S = 15.0


class State(Struct, frozen=True, kw_only=True):
    """What is said of a worker's process or Slurm job."""

    kind: str  # waiting | running | ended | unknown
    words: str = ""  # for people: PENDING (Priority)


class Worker(Struct, kw_only=True):
    """One worker that was asked for."""

    name: str
    id: str  # of its Slurm job, or its process
    asked: float
    met: float = 0.0  # when it was first seen at the scheduler; 0 for never
    words: str = ""  # what was last said of it


class Crew(Struct, kw_only=True):
    """Those that were asked for and have not ended."""

    workers: dict[str, Worker] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)  # the last that ended after they were met: name -> why
    failures: int = 0  # in a row
    trouble: str = ""  # of the last one
    last_round: float = -ROUND_S
    not_before: float = 0.0
    started: int = 0
    surplus_since: float | None = None  # when there first were more than there is work for

    @property
    def given_up(self) -> bool:
        """Say whether no more are started for now."""
        return self.failures >= GIVE_UP

    @property
    def coming(self) -> bool:
        """Say whether any is on its way: a place in a queue is not given up while there is work."""
        return any(not worker.met for worker in self.workers.values())

    def see(self, now: float, registered: Collection[str], states: Mapping[str, State]) -> list[str]:
        """Take in what is known now; return the names of those that ended before they were met."""
        failed = []
        for name, worker in list(self.workers.items()):
            state = states.get(name)
            worker.words = state.words if state is not None else worker.words
            if name in registered:
                if not worker.met:
                    worker.met, self.failures, self.trouble = now, 0, ""
            elif state is not None and state.kind == ENDED:
                del self.workers[name]
                if worker.met:
                    self.left[name] = state.words
                else:
                    failed.append(name)
                    self.fail(now, state.words)
        while len(self.left) > 100:
            del self.left[next(iter(self.left))]
        return failed

    def fail(self, now: float, reason: str) -> None:
        """Note that a worker could not be started, or ended before it came."""
        self.failures, self.trouble = self.failures + 1, reason
        pause = FORGIVE_S if self.given_up else min(_LONGEST_S, _PAUSE_S * 2 ** (self.failures - 1))
        self.not_before = now + pause

    def missing(self, now: float, wanted: int) -> int:
        """Return how many to start now."""
        if now < self.not_before or now - self.last_round < ROUND_S:
            return 0
        if self.given_up:  # long enough ago
            self.failures = GIVE_UP - 1
        lacking = max(0, wanted - len(self.workers))
        if self.failures:
            return min(lacking, 1)
        return lacking

    def surplus(self, now: float, wanted: int) -> list[Worker]:
        """Return those on their way, the last ones first, for which there has been no work for a while; they go."""
        unmet = [worker for worker in self.workers.values() if not worker.met]
        count = min(len(unmet), max(0, len(self.workers) - wanted))
        if not count:
            self.surplus_since = None
            return []
        if self.surplus_since is None:
            self.surplus_since = now
        if now - self.surplus_since < SURPLUS_S:
            return []
        self.surplus_since = None
        called_off = unmet[-count:][::-1]
        for one in called_off:
            del self.workers[one.name]
        return called_off

    def add(self, now: float, name: str, id_: str) -> None:
        """Note one that was started."""
        self.workers[name] = Worker(name=name, id=id_, asked=now)
        self.last_round = now

    def next_name(self) -> str:
        """Return the name of another one."""
        self.started += 1
        return f"nexapod-{self.started}"
