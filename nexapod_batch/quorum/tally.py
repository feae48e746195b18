"""The placed replicas of a task, sorted by what they mean to the quorum."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from nexapod_batch.lifecycle import OUT, Execution

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.quorum.votes import Vote

__all__ = ["Tally", "is_vote", "tally_of"]

_MAY_REPORT = OUT | {Execution.CREATED}  # a placed replica whose launch was refused for now will be launched again


class Tally(Struct):
    """The placed replicas of a task, each in one of these lists or counts."""

    votes: list[Vote] = field(default_factory=list)
    out: list[Vote] = field(default_factory=list)
    errors: list[Vote] = field(default_factory=list)
    failures: list[Vote] = field(default_factory=list)  # those of the errors whose kind is signed
    without_vote: list[Vote] = field(default_factory=list)  # that reported, and do not count
    lost: int = 0
    used: int = 0  # towards max_replicas
    placed: int = 0


def is_vote(replica: Vote) -> bool:
    """Say whether a replica reported an answer that counts."""
    if replica.execution is not Execution.REPORTED or replica.voided or replica.no_vote is not None:
        return False
    return replica.answer is not None


def tally_of(replicas: Sequence[Vote]) -> Tally:
    """Sort the replicas of a task; those that were not placed are left out."""
    tally = Tally()
    answers = Counter(replica.answer for replica in replicas if replica.placed and is_vote(replica))
    for replica in replicas:
        if replica.placed:
            _add(tally, _read(replica, answers))
    return tally


def _read(replica: Vote, answers: Mapping[bytes | None, int]) -> Vote:
    """Return a replica whose outputs cannot be compared as what it counts for: an answer if another has the same one.

    Equal bytes agree unread. Alone it has failed, and so have others like it, whatever their bytes are.
    """
    if not replica.failure or not is_vote(replica):
        return replica
    if answers[replica.answer] > 1:
        return replace(replica, failure="")
    return replace(replica, answer=None)


def _add(tally: Tally, replica: Vote) -> None:
    tally.placed += 1
    execution = replica.execution
    if execution is Execution.LOST or execution is Execution.CANCELLED:
        tally.lost += 1
        return
    tally.used += 1
    if execution in _MAY_REPORT:
        tally.out.append(replica)
    elif is_vote(replica):
        tally.votes.append(replica)
    elif replica.voided:
        return
    elif execution is Execution.ERRORED:
        tally.errors.append(replica)
        if replica.failure and replica.no_vote is None:
            tally.failures.append(replica)
    elif replica.no_vote is not None:
        tally.without_vote.append(replica)
    elif replica.failure:
        tally.errors.append(replica)
        tally.failures.append(replica)
