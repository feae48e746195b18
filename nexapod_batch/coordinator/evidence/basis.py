"""How the replicas of a task stood when it ended: what a verdict is a function of, kept to work it out again.

What comes later (a late report, a replica that is voided) changes what the replicas are, and never what the verdict was
reached from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from nexapod_batch.lifecycle import Execution

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nexapod_batch.quorum import Vote

__all__ = ["REPORTED", "SET_ASIDE", "JudgedReplica", "basis_of", "votes_then"]


class JudgedReplica(Protocol):
    """A replica, and what it is worth."""

    @property
    def number(self) -> int:
        """Return its number."""

    @property
    def execution(self) -> str:
        """Return how it ended."""

    @property
    def validation(self) -> str:
        """Return what it is worth."""

    @property
    def vote(self) -> bytes | None:
        """Return what it said."""


SET_ASIDE, VOIDED, REPORTED = "-", "v", "r"
_LETTERS = {
    Execution.REPORTED: REPORTED,
    Execution.ERRORED: "e",
    Execution.LOST: "l",
    Execution.CANCELLED: "c",
    Execution.CREATED: "o",
    Execution.SUBMITTED: "o",
    Execution.QUEUED: "o",
    Execution.RUNNING: "o",
}
_EXECUTIONS = {
    REPORTED: Execution.REPORTED,
    VOIDED: Execution.ERRORED,
    "e": Execution.ERRORED,
    "l": Execution.LOST,
    "c": Execution.CANCELLED,
    "o": Execution.RUNNING,
}


def basis_of(numbers: Iterable[int], votes: Sequence[Vote]) -> str:
    """Return a letter for each replica: reported, errored, lost, cancelled, out, voided; `-` for one set aside."""
    known = {vote.number: VOIDED if vote.voided else _LETTERS[vote.execution] for vote in votes}
    return "".join([known.get(number, SET_ASIDE) for number in numbers])


def votes_then(votes: Sequence[Vote], basis: str) -> list[Vote]:
    """Return the votes, one for each letter and in the same order, as they stood; what was set aside is left out."""
    return [
        replace(vote, execution=_EXECUTIONS[letter], voided=letter == VOIDED)
        for vote, letter in zip(votes, basis, strict=True)
        if letter != SET_ASIDE
    ]
