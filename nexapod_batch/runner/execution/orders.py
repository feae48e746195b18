"""What an executor was told of the replicas that it has: which are not to run, or to stop, and why. No I/O."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nexapod_batch.trust.statement import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Orders"]


class Orders:
    """Everything that its worker told an executor, but for what to run."""

    def __init__(self, cancelled: set[str]) -> None:
        """Begin with what is cancelled: names of replicas and keys of launches."""
        self.cancelled = cancelled
        self.paused = False  # what runs is to be suspended
        self.alarmed = False  # it is to be looked at, what it uses
        self.verdicts: dict[str, tuple[str, str]] = {}  # replica -> outcome and detail: it ran under another executor
        self._given_up: dict[str, str] = {}  # replica -> why the owner of the machine wants it to go
        self._unfit: dict[str, str] = {}  # replica -> why this machine cannot run it now
        self._over: bool | None = None  # the time of the allocation is over, and what runs had all of it, or not

    def take(self, message: Mapping[str, Any]) -> None:
        """Take in one message of the worker's."""
        self.cancelled.update(message.get("cancel", ()))
        self.paused = message.get("pause", self.paused)
        self.alarmed = message.get("look", self.alarmed)
        self._over = message.get("over", self._over)
        self._given_up.update(message.get("give_up", {}))
        self._unfit.update(message.get("unfit", {}))
        self.verdicts.update(message.get("verdicts", {}))

    def is_cancelled(self, names: Iterable[str]) -> bool:
        """Say whether a replica is cancelled, by its own name or by the key of its launch."""
        return not self.cancelled.isdisjoint(names)

    def before_start(self, launch: str, replica: str) -> tuple[Outcome, str] | None:
        """Return why a replica must not be started."""
        if self.cancelled and self.is_cancelled((launch, replica)):
            return Outcome.CANCELLED, "cancelled before it started"
        if replica in self._given_up:
            return Outcome.PREEMPTED, f"not started: {self._given_up[replica]}"
        if replica in self._unfit:
            return Outcome.NODE, f"not started: {self._unfit[replica]}"
        return None

    def while_running(self, launch: str, replica: str) -> tuple[Outcome, str] | None:
        """Return why a replica that runs must stop."""
        if self.is_cancelled((launch, replica)):
            return Outcome.CANCELLED, "cancelled while it ran"
        if replica in self._given_up:
            return Outcome.PREEMPTED, f"given up: {self._given_up[replica]}"
        return None

    def time_over(self, since: float, limit_s: int | None) -> tuple[Outcome, str] | None:
        """Return what a replica is when the time of the allocation is over; None when it is not, or nobody said so.

        `since` is when it began, by the clock that only runs forward. It is the fault of the task where nothing would
        have given it more: it asked for no time, or nothing ran before it.
        """
        if self._over is None:
            return None
        ran = time.monotonic() - since
        if limit_s is not None and not self._over:
            why = f"the scheduler's time was over when this had run {ran:.0f} of {limit_s} s"
            return Outcome.PREEMPTED, why
        return Outcome.TIME, f"over the scheduler's time limit: stopped after {ran:.0f} s; ask for more, or elsewhere"

    def forget(self, replica: str) -> None:
        """Forget what was said of a replica that was reported."""
        self._given_up.pop(replica, None)
        self._unfit.pop(replica, None)
