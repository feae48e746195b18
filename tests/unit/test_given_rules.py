"""Rules that are given on the command line, for outputs of a job that has others."""

from __future__ import annotations

import re

import pytest

from nexapod_batch.config.job.given_rules import other_outputs
from nexapod_batch.errors import NexapodError
from nexapod_batch.model.job import Comparator, CompareRule, Job, Output

JOB = Job(
    name="a",
    command=("true",),
    outputs=(
        Output(path="a.csv", rule=CompareRule(comparator=Comparator.ROUND, digits=3, ignore=("date",))),
        Output(path="{x}/*.json"),
        Output(path="run.log", rule=CompareRule(comparator=Comparator.NONE)),
    ),
)
SIGNIFICANT = {"compare": "significant", "digits": 8}


@pytest.mark.parametrize(
    ("given", "ignore", "paths", "rules"),
    [
        (SIGNIFICANT, (), (), ["significant 8 ()", "significant 8 ()", "none None ()"]),
        (SIGNIFICANT, (), ("a.csv",), ["significant 8 ()", "exact None ()", "none None ()"]),
        ({}, ("date", "x"), ("a.csv",), ["round 3 ('date', 'x')", "exact None ()", "none None ()"]),
        ({}, (".x",), ("{x}/*.json",), ["round 3 ('date',)", "exact None ('.x',)", "none None ()"]),
        ({"digits": 5}, (), ("a.csv",), ["round 5 ('date',)", "exact None ()", "none None ()"]),
        ({"compare": "exact"}, (), ("run.log",), ["round 3 ('date',)", "exact None ()", "exact None ()"]),
    ],
)
def test_rules_are_for_what_has_a_vote_or_is_named(
    given: dict[str, object], ignore: tuple[str, ...], paths: tuple[str, ...], rules: list[str]
) -> None:
    """Without a comparator the outputs keep theirs, and what is ignored is added."""
    found = other_outputs(JOB, given, ignore, paths)
    assert [f"{one.rule.comparator} {one.rule.digits} {one.rule.ignore}" for one in found] == rules
    assert [one.path for one in found] == [one.path for one in JOB.outputs]


def test_without_outputs_it_is_stdout() -> None:
    """Which is the output of a job that declares none."""
    assert [one.path for one in other_outputs(Job(name="a", command=("true",)), SIGNIFICANT, (), ())] == ["stdout"]


@pytest.mark.parametrize(
    ("given", "ignore", "paths", "fault"),
    [
        ({}, (), (), "no rule is given"),
        ({"compare": "significant"}, (), (), "digits"),
        ({"compare": "nonsense"}, (), (), "nonsense"),
        ({"compare": "allclose", "rtol": -1.0}, (), (), "rtol"),
        ({"compare": "exact", "digits": 3}, (), (), "digits"),
        ({}, ("/(/",), ("a.csv",), "missing )"),
        ({}, ("no path",), ("{x}/*.json",), "no path in JSON"),
        (SIGNIFICANT, (), ("b.csv",), "one of: a.csv"),
        ({"compare": "none"}, (), ("a.csv", "{x}/*.json"), "none of the outputs"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(
    given: dict[str, object], ignore: tuple[str, ...], paths: tuple[str, ...], fault: str
) -> None:
    """With the words of a descriptor's fault."""
    with pytest.raises(NexapodError) as error:
        other_outputs(JOB, given, ignore, paths)
    assert fault in str(error.value)
    assert not re.search(r"outputs\[|line \d", str(error.value))  # of a descriptor that nobody wrote
