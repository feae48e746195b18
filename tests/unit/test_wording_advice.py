"""The next step behind each kind of failure that a node can sign."""

from __future__ import annotations

import pytest

from nexapod_batch.trust.statement import Outcome
from nexapod_batch.wording import advice


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("time", "resources.time"),
        ("memory", "resources.mem"),
        ("disk", "resources.disk"),
        ("output", "correct [[outputs]]"),
        ("failed:1", "retry 4_2 --fresh runs the files of now"),
        ("failed:126", "retry 4_2 --fresh runs the files of now"),
        ("failed:127", "name a program that the nodes have"),
        ("failed:137", "resources.mem"),
        ("failed:153", "resources.disk"),
        ("input", "retry 4_2 --fresh"),
        ("", "retry 4_2"),
        ("of a later version:9", "retry 4_2"),
    ],
)
def test_each_kind_has_its_next_step(failure: str, words: str) -> None:
    """The key of the descriptor where there is one, a command where one helps."""
    assert words in advice(failure, "4_2")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_no_outcome_is_without(outcome: Outcome) -> None:
    """Whatever a runner may say."""
    assert advice(f"{outcome}:1", "4_2") != ""
