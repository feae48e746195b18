"""Votes of one account: what nothing kept apart is said, and what a stranger ran beside counts once."""

from __future__ import annotations

from typing import Any

import pytest

from nexapod_batch.lifecycle import Execution, TaskState
from nexapod_batch.model.job import Domain, QuorumPolicy
from nexapod_batch.quorum import Vote, decide
from nexapod_batch.wording import sentence

EVERYWHERE = (Domain.HOST, Domain.NODE, Domain.SITE, Domain.OWNER)


def vote(number: int, answer: str = "A", **more: Any) -> Vote:
    """Return a vote from a place of its own."""
    where = {name: f"{name}{number}" for name in EVERYWHERE}
    return Vote(number=number, domain=where, execution=Execution.REPORTED, answer=answer.encode(), **more)


OPEN: dict[str, Any] = {"account": "me", "beside": True}


@pytest.mark.parametrize("distinct", [(Domain.RUN,), (Domain.NODE,), (Domain.HOST,), (Domain.SITE, Domain.OWNER), EVERYWHERE])
def test_votes_beside_a_stranger_count_once_whatever_is_distinct(distinct: tuple[Domain, ...]) -> None:
    """Two of one account are one; with one from elsewhere they are two."""
    policy = QuorumPolicy(distinct=distinct)
    two = [vote(1, **OPEN), vote(2, **OPEN)]
    decision = decide(policy, two)
    assert (decision.state, decision.agree) == (None, 1)
    assert decide(policy, [*two, vote(3)]).state is TaskState.ACCEPTED
    assert decide(policy, [vote(1, **OPEN), vote(2, account="other", beside=True)]).state is TaskState.ACCEPTED


def test_without_a_stranger_the_fields_alone_count() -> None:
    """One account is no less than it was: that is said, not counted."""
    decision = decide(QuorumPolicy(), [vote(1, account="me"), vote(2, account="me")])
    assert decision.state is TaskState.ACCEPTED
    assert sentence(decision.reason) == "2 of 2 agree, from 2 sites of 2 owners by label, all run by one account; isolation none: the word of one account"


@pytest.mark.parametrize("accounts", [("me", "other"), ("me", ""), ("", "")])
def test_the_word_of_one_account_is_not_said_of_more(accounts: tuple[str, str]) -> None:
    """Two accounts, or isolation that held: then nothing is added."""
    decision = decide(QuorumPolicy(), [vote(number, account=one) for number, one in enumerate(accounts, 1)])
    assert sentence(decision.reason) == "2 of 2 agree, from 2 sites of 2 owners by label, all run by one account"


def test_a_wrong_answer_of_one_account_is_outvoted() -> None:
    """Three forgeries beside a stranger against two honest answers."""
    forged = [vote(number, "wrong", **OPEN) for number in (1, 2, 3)]
    decision = decide(QuorumPolicy(), [*forged, vote(4), vote(5)])
    assert (decision.state, decision.winners) == (TaskState.ACCEPTED, frozenset({4, 5}))


def test_why_they_count_as_one_is_said() -> None:
    """Where nothing more can be placed, the reason names it."""
    decision = decide(QuorumPolicy(max_replicas=2), [vote(1, **OPEN), vote(2, **OPEN)])
    assert decision.state is TaskState.INCONCLUSIVE
    assert "somebody else's command ran unconfined beside them by the same account: they count as one" in sentence(decision.reason)
