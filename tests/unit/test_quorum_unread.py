"""Replicas whose outputs cannot be compared: equal bytes agree, everything else of them is a failure and never a difference."""

from __future__ import annotations

from itertools import permutations

import pytest
from unit.test_quorum import policy, running, vote

from nexapod_batch.lifecycle import TaskState, Validation
from nexapod_batch.model.reason import Reason
from nexapod_batch.quorum import Vote, assess_late, decide
from nexapod_batch.wording import sentence


def unread(number: int, answer: str) -> Vote:
    """Return a replica that wrote what its comparator cannot read."""
    return vote(number, answer, failure="output", detail=Reason.text("output 'a.npy' cannot be compared"))


def test_equal_bytes_agree_unread() -> None:
    """Two of them are an answer, also beside one that was read."""
    assert decide(policy(), [unread(1, "A"), unread(2, "A")]).state is TaskState.ACCEPTED
    decision = decide(policy(), [unread(1, "A"), vote(2, "B"), unread(3, "A")])
    assert (decision.state, decision.winners) == (TaskState.ACCEPTED, frozenset({1, 3}))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_one_among_honest_ones_is_inconclusive(order: tuple[int, ...]) -> None:
    """Whatever the order: it neither wins nor is it told to differ, then and later."""
    rows = [unread(1, "X"), vote(2), vote(3)]
    replicas = [rows[at] for at in order]
    decision = decide(policy(), replicas)
    assert (decision.state, decision.winners) == (TaskState.ACCEPTED, frozenset({2, 3}))
    assert decision.validations[1] is Validation.INCONCLUSIVE
    assert dict(assess_late(policy(), replicas, decision.winners)) == dict(decision.validations)


def test_other_bytes_each_time_end_the_task_after_as_many_runs_as_must_agree() -> None:
    """They are failures of one kind; the reason is what the first one says."""
    decision = decide(policy(max_replicas=6), [unread(1, "A"), unread(2, "B")])
    assert decision.state is TaskState.FAILED
    assert "output 'a.npy' cannot be compared" in sentence(decision.reason)


def test_the_first_one_ends_the_task_where_one_must_agree() -> None:
    """No second run is needed to say it."""
    assert decide(policy(agree=1, replicas=1), [unread(1, "A")]).state is TaskState.FAILED


def test_one_waits_for_the_others() -> None:
    """What is out may bring the same bytes, or an answer."""
    assert decide(policy(), [unread(1, "A"), running(2)]).state is None
    assert decide(policy(), [unread(1, "A"), vote(2, "B")]).want == 1


def test_a_pair_that_loses_is_inconclusive_too() -> None:
    """Three honest answers against the same unreadable bytes twice."""
    replicas = [unread(1, "X"), unread(2, "X"), vote(3), vote(4), vote(5)]
    decision = decide(policy(agree=3), replicas)
    assert decision.winners == frozenset({3, 4, 5})
    assert decision.validations[1] is decision.validations[2] is Validation.INCONCLUSIVE
    assert dict(assess_late(policy(agree=3), replicas, decision.winners)) == dict(decision.validations)
