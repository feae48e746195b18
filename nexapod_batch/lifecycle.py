"""States of replicas, tasks and jobs, and the table of their legal moves.

Nothing here reads a clock or a database: `check_move` is the only door, and the store repeats the table as a
guarded UPDATE. A job has no state of its own; `job_state` derives it from the counts of its tasks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EXECUTION_MOVES",
    "OUT",
    "TASK_ENDED",
    "TASK_MOVES",
    "Execution",
    "TaskState",
    "Validation",
    "check_move",
    "job_state",
]


class Execution(StrEnum):
    """What became of one execution (one replica)."""

    CREATED = "created"  # the row exists; not launched yet, or the launch was refused
    SUBMITTED = "submitted"  # intent written; the backend may have it
    QUEUED = "queued"  # seen waiting by the backend
    RUNNING = "running"  # seen running by the backend
    REPORTED = "reported"  # a verified attestation with exit 0 is stored: a vote
    ERRORED = "errored"  # the task itself failed
    LOST = "lost"  # the infrastructure failed, or nothing was heard in time
    CANCELLED = "cancelled"  # a person said so, or it was no longer needed


class Validation(StrEnum):
    """What the quorum made of one replica."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    INCONCLUSIVE = "inconclusive"
    UNNEEDED = "unneeded"


class TaskState(StrEnum):
    """Where one task stands; also the words for a job."""

    WAITING = "waiting"  # nothing placed yet
    ACTIVE = "active"  # at least one replica was placed, no verdict yet
    ACCEPTED = "accepted"  # a quorum agreed
    FAILED = "failed"  # too many errors or losses
    INCONCLUSIVE = "inconclusive"  # no quorum within max_replicas, or no domain left
    CANCELLED = "cancelled"


#: Executions that may still bring a report in time: these count as "out".
OUT = frozenset({Execution.SUBMITTED, Execution.QUEUED, Execution.RUNNING})

#: Task states that hold until a person retries.
TASK_ENDED = frozenset({TaskState.ACCEPTED, TaskState.FAILED, TaskState.INCONCLUSIVE, TaskState.CANCELLED})

_E = Execution
_LATE = frozenset({_E.REPORTED, _E.ERRORED})  # a report may always come late
EXECUTION_MOVES: Mapping[Execution, frozenset[Execution]] = {
    _E.CREATED: frozenset({_E.SUBMITTED, _E.CANCELLED, _E.LOST}),
    _E.SUBMITTED: frozenset({_E.CREATED, _E.QUEUED, _E.RUNNING, _E.LOST, _E.CANCELLED}) | _LATE,
    _E.QUEUED: frozenset({_E.RUNNING, _E.LOST, _E.CANCELLED}) | _LATE,
    _E.RUNNING: frozenset({_E.QUEUED, _E.LOST, _E.CANCELLED}) | _LATE,  # requeued: back to queued
    _E.LOST: _LATE,
    _E.CANCELLED: _LATE,
    _E.ERRORED: frozenset({_E.REPORTED}),  # the scheduler's TIMEOUT came before the signed report
    _E.REPORTED: frozenset({_E.ERRORED}),  # two different valid statements, or the scheduler's word on its end
}

_T = TaskState
TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    _T.WAITING: frozenset({_T.ACTIVE, _T.FAILED, _T.INCONCLUSIVE, _T.CANCELLED}),
    _T.ACTIVE: frozenset({_T.ACCEPTED, _T.FAILED, _T.INCONCLUSIVE, _T.CANCELLED}),
    _T.ACCEPTED: frozenset({_T.ACTIVE}),  # a retry, and only where a winner was voided since: nothing else undoes it
    _T.FAILED: frozenset({_T.ACTIVE}),  # retry
    _T.INCONCLUSIVE: frozenset({_T.ACTIVE}),
    _T.CANCELLED: frozenset({_T.ACTIVE}),
}


def check_move(old: Execution | TaskState, new: Execution | TaskState) -> None:
    """Raise ValueError unless the table allows the move; staying in a state is always allowed."""
    if old is new:
        return
    table: Mapping[Execution | TaskState, frozenset[Execution | TaskState]]
    table = EXECUTION_MOVES if isinstance(old, Execution) else TASK_MOVES  # type: ignore[assignment]
    if new not in table[old]:
        msg = f"{type(old).__name__} cannot go from {old} to {new}"
        raise ValueError(msg)


def job_state(counts: Mapping[TaskState, int]) -> TaskState:
    """Derive a job's state: active while any task is open, else the worst of its tasks.

    A job of which no task was placed yet is `waiting`.
    """
    if counts.get(_T.ACTIVE, 0):
        return _T.ACTIVE
    if counts.get(_T.WAITING, 0):
        ended = sum(counts.get(state, 0) for state in TASK_ENDED)
        if ended:
            return _T.ACTIVE
        return _T.WAITING
    for state in (_T.FAILED, _T.INCONCLUSIVE, _T.CANCELLED):
        if counts.get(state, 0):
            return state
    return _T.ACCEPTED
