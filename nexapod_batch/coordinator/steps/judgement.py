"""What a decision on a task that had not ended comes to: the noun that helpers send, and that is written."""

from __future__ import annotations

from msgspec import Struct

from nexapod_batch.coordinator.evidence.signed_verdicts import MadeVerdict  # noqa: TC001 - msgspec reads annotations

__all__ = ["Judgement"]


class Judgement(Struct, frozen=True, array_like=True):
    """What a decision on a task that had not ended comes to."""

    task: int
    state: str
    want: int  # replicas to place now
    agree: int  # size of the leading group, in distinct domains
    reason: str  # as it is stored
    not_before: int  # when it may be placed again, in ms
    basis: str | None  # how its replicas stood when it ended; None: it has not
    measured: str | None  # what cannot be worked out again from the statements, as JSON
    verdict: MadeVerdict | None  # None: it has not ended
    judged: list[tuple[int, str]]  # by row id of the replica
    unneeded: list[int]  # row ids of replicas
