"""The tables of legal moves, and the state of a job."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexapod_batch.lifecycle import (
    EXECUTION_MOVES,
    OUT,
    TASK_ENDED,
    TASK_MOVES,
    Execution,
    TaskState,
    check_move,
    job_state,
)


@pytest.mark.parametrize(("table", "states"), [(EXECUTION_MOVES, Execution), (TASK_MOVES, TaskState)])
def test_the_table_is_total(table: dict[object, frozenset[object]], states: type[Execution | TaskState]) -> None:
    """Every state has its moves, and every move leads to a state."""
    assert set(table) == set(states)
    assert all(moves <= set(states) for moves in table.values())


@given(st.lists(st.sampled_from(Execution), max_size=12), st.lists(st.sampled_from(TaskState), max_size=12))
def test_no_walk_leaves_the_table(executions: list[Execution], tasks: list[TaskState]) -> None:
    """Whatever is asked for, a state changes only along its table."""
    for table, walk in ((EXECUTION_MOVES, executions), (TASK_MOVES, tasks)):
        for old, new in pairwise(walk):
            allowed = old is new or new in table[old]  # type: ignore[index]
            try:
                check_move(cast("Any", old), cast("Any", new))
            except ValueError:
                assert not allowed
            else:
                assert allowed


def test_an_illegal_move_is_named() -> None:
    """The message says which state cannot go where."""
    with pytest.raises(ValueError, match="TaskState cannot go from accepted to failed"):
        check_move(TaskState.ACCEPTED, TaskState.FAILED)


def test_an_accepted_task_ends_otherwise_by_no_move() -> None:
    """Only a person's retry leads out of accepted, where a winner was voided since."""
    assert TASK_MOVES[TaskState.ACCEPTED] == {TaskState.ACTIVE}


@pytest.mark.parametrize("state", [*sorted(OUT), Execution.LOST, Execution.CANCELLED])
def test_a_report_may_always_come(state: Execution) -> None:
    """Whatever is out, lost or cancelled may still report, late."""
    check_move(state, Execution.REPORTED)
    check_move(state, Execution.ERRORED)


@pytest.mark.parametrize("state", sorted(TASK_ENDED - {TaskState.ACCEPTED}))
def test_retry_reopens_what_ended_without_a_result(state: TaskState) -> None:
    """A person may try again."""
    check_move(state, TaskState.ACTIVE)


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({}, "accepted"),
        ({"waiting": 3}, "waiting"),
        ({"waiting": 1, "accepted": 2}, "active"),
        ({"active": 1, "failed": 2}, "active"),
        ({"accepted": 5, "cancelled": 1}, "cancelled"),
        ({"accepted": 5, "cancelled": 1, "inconclusive": 1}, "inconclusive"),
        ({"accepted": 5, "inconclusive": 1, "failed": 1}, "failed"),
        ({"accepted": 5}, "accepted"),
    ],
)
def test_job_state(counts: dict[str, int], state: str) -> None:
    """Active while a task is open, else the worst of them."""
    assert job_state({TaskState(word): count for word, count in counts.items()}) == state
