"""Working out a verdict again, from how its replicas stood when it was reached and from what they said.

`decision_then` asks the same pure checker as the first time. What it cannot work out again is taken from what is kept
with the verdict: which outputs were close within tolerances (they may be gone), that no other node was left, and
beside which replicas strangers had the run of their account.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.basis import votes_then
from nexapod_batch.coordinator.evidence.closeness import tolerant, without_unusable
from nexapod_batch.lifecycle import Validation
from nexapod_batch.quorum import Decision, assess_late, decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import Job
    from nexapod_batch.quorum import Closeness, Vote

__all__ = ["Record", "decision_then", "late_validations"]


class Record(Protocol):
    """What is kept of how a verdict was reached."""

    @property
    def basis(self) -> str | None:
        """Return a letter for each replica, as they stood."""

    @property
    def measured(self) -> str | None:
        """Return what was compared within tolerances, as a JSON object."""

    @property
    def extra(self) -> int:
        """Return how many replicas beyond `max_replicas` retries allowed."""


def decision_then(job: Job, votes: Sequence[Vote], task: Record) -> Decision:
    """Return the decision on a task that has ended, with one vote for each of its replicas, in order of numbers.

    ValueError where the record of the verdict does not fit the replicas.
    """
    measured = json.loads(task.measured or "{}")
    apart, unread = [
        {int(number): str(why) for number, why in measured.get(key, {}).items()} for key in ("apart", "unread")
    ]
    beside = set(measured.get("beside", ()))
    then = [
        replace(without_unusable(vote, apart, unread), beside=vote.number in beside)
        for vote in votes_then(votes, task.basis or "")
    ]
    close = _as_measured(measured) if tolerant(job) else None
    found = decide(job.quorum, then, close=close, extra=task.extra)
    if found.state is None:  # another replica was wanted, and no node was left for it
        found = decide(job.quorum, then, close=close, extra=task.extra, placeable=False)
    return found


def _as_measured(measured: Mapping[str, list[list[int]]]) -> Closeness:
    near = {(left, right) for left, right in measured.get("close", [])}
    return lambda left, right: (min(left, right), max(left, right)) in near


def late_validations(job: Job, votes: Sequence[Vote], decision: Decision) -> dict[int, Validation]:
    """Return what the replicas of an accepted task are worth now, given the verdict; without those that were set aside.

    Within tolerances what was judged stays, and what came later is inconclusive: the accepted files may be gone.
    """
    late = dict(assess_late(job.quorum, votes, decision.winners))
    if not tolerant(job):
        return late
    for vote in votes:
        if late[vote.number] is Validation.VALID and vote.number not in decision.winners:
            judged = decision.validations.get(vote.number)
            late[vote.number] = Validation.INVALID if judged is Validation.INVALID else Validation.INCONCLUSIVE
    return late
