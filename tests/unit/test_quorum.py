"""The rules of the policy `strict`, one by one."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
from msgspec.structs import replace

from nexapod_batch.lifecycle import Execution, TaskState, Validation
from nexapod_batch.model.job import Domain, QuorumPolicy
from nexapod_batch.model.reason import Reason
from nexapod_batch.quorum import Vote, assess_late, decide, doubt, max_distinct
from nexapod_batch.wording import sentence

E = Execution


def vote(
    number: int,
    answer: str | None = "A",
    *,
    where: str | None = None,
    execution: Execution = E.REPORTED,
    site: str = "s",
    owner: str | None = None,
    **more: object,
) -> Vote:
    """Return a replica on a node, host and owner of its own unless `where` says otherwise."""
    place = where or str(number)
    domain = {Domain.NODE: place, Domain.HOST: place, Domain.SITE: site, Domain.OWNER: owner or place}
    signed = answer.encode() if answer is not None and execution is E.REPORTED else None
    return Vote(number=number, domain=domain, execution=execution, answer=signed, **more)  # type: ignore[arg-type]


def policy(**values: object) -> QuorumPolicy:
    """Return the default policy with some values changed."""
    return QuorumPolicy(**values)  # type: ignore[arg-type]


def running(number: int, **more: object) -> Vote:
    """Return a replica that is out."""
    return vote(number, None, execution=E.RUNNING, **more)  # type: ignore[arg-type]


def errored(number: int, detail: str = "") -> Vote:
    """Return a replica that failed by the word of its scheduler: which kind of failure it was, nobody signed."""
    return vote(number, None, execution=E.ERRORED, detail=Reason.text(detail) if detail else None)


def failed(number: int, kind: str = "failed:7", **more: object) -> Vote:
    """Return a replica whose node signed how it failed."""
    return vote(number, None, execution=E.ERRORED, failure=kind, **more)  # type: ignore[arg-type]


#: A replica that reported an answer, and did not end well by the word of its scheduler.
OVERRULED = replace(vote(2), execution=E.ERRORED, detail=Reason.text("OUT_OF_MEMORY"))


def lost(number: int) -> Vote:
    """Return a replica that the infrastructure lost."""
    return vote(number, None, execution=E.LOST)


def test_two_that_agree_are_accepted() -> None:
    """The plain case, with the words that a person reads."""
    decision = decide(policy(), [vote(1, site="x"), vote(2, site="y")])
    assert decision.state is TaskState.ACCEPTED
    assert sentence(decision.reason) == "2 of 2 agree, from 2 sites of 2 owners by label, all run by one account"
    assert decision.winners == {1, 2}
    assert decision.validations == {1: Validation.VALID, 2: Validation.VALID}


def test_nothing_placed_wants_the_first_replicas() -> None:
    """A fresh task wants `replicas`, not just `agree`."""
    assert decide(policy(replicas=3), []).want == 3


def test_a_rival_that_could_still_catch_up_is_waited_for() -> None:
    """n1 - n2 > out, not >=: the one that is out could make it a tie."""
    replicas = [vote(1), vote(2), vote(3, "B"), running(4)]
    assert decide(policy(), replicas).state is None
    assert decide(policy(), replicas[:3]).state is TaskState.ACCEPTED


def test_disagreement_wants_one_more() -> None:
    """With nothing out and no quorum one more replica is wanted, elsewhere."""
    decision = decide(policy(), [vote(1), vote(2, "B")])
    assert (decision.state, decision.want, decision.agree) == (None, 1, 1)


def test_a_liar_is_outvoted_and_named() -> None:
    """The member of the smaller group is invalid."""
    decision = decide(policy(), [vote(1), vote(2, "B"), vote(3)])
    assert decision.winners == {1, 3}
    assert decision.validations[2] is Validation.INVALID


def test_keys_of_one_domain_count_once() -> None:
    """Two replicas of one owner are one vote when owners are counted."""
    replicas = [vote(1, owner="o"), vote(2, owner="o")]
    assert decide(policy(distinct=(Domain.OWNER,)), replicas).agree == 1
    assert decide(policy(distinct=(Domain.NODE,)), replicas).state is TaskState.ACCEPTED


def test_run_counts_executions() -> None:
    """With `distinct = run` the same node may answer twice, and the verdict says what that proves."""
    decision = decide(policy(distinct=(Domain.RUN,)), [vote(1, where="ws"), vote(2, where="ws")])
    assert decision.state is TaskState.ACCEPTED
    assert sentence(decision.reason) == "2 of 2 agree, both on ws: reproducible there, not independent"


def test_a_domain_that_answered_in_two_groups_supports_neither() -> None:
    """Node x said A and B: neither counts."""
    replicas = [vote(1, where="x"), vote(2, "B", where="x"), vote(3)]
    assert decide(policy(), replicas).agree == 1


def test_one_that_is_out_in_a_domain_of_the_group_may_take_its_support_away() -> None:
    """Acceptance must hold whatever the one that is out says: it could split node 1."""
    replicas = [vote(1), vote(2), running(3, where="1")]
    assert decide(policy(), replicas).state is None
    assert decide(policy(), [*replicas[:2], vote(3, "B", where="1")]).want == 1
    assert decide(policy(), [vote(4), *replicas]).state is TaskState.ACCEPTED


def test_errors_fail_the_task_and_what_they_share_is_the_reason() -> None:
    """More than max_errors, and the rest cannot agree any more."""
    replicas = [errored(number, "exit code 7") for number in (1, 2, 3, 4)]
    decision = decide(policy(), replicas)
    assert decision.state is TaskState.FAILED
    assert sentence(decision.reason) == "errors: 4 of 4 replicas failed (max_errors = 3), all alike: exit code 7"
    assert decide(policy(), replicas[:3]).want == 2


def test_failures_of_one_kind_are_an_answer() -> None:
    """A command that fails alike where `agree` domains tried it has failed: no other replica is needed."""
    replicas = [failed(1, detail=Reason.text("exit code 7")), failed(2, detail=Reason.text("exit code 7"))]
    decision = decide(policy(), replicas)
    assert (decision.state, decision.winners, decision.agree) == (TaskState.FAILED, frozenset(), 0)
    assert sentence(decision.reason) == "errors: 2 of 2 replicas failed alike: exit code 7"
    assert set(decision.validations.values()) == {Validation.INCONCLUSIVE}
    assert decide(policy(agree=3), replicas).state is None
    assert sentence(decide(policy(agree=1, replicas=1), replicas[:1]).reason) == "errors: 1 of 1 replicas failed: exit code 7"


@pytest.mark.parametrize(
    ("replicas", "state"),
    [
        ([failed(1), failed(2, "failed:8")], None),  # two kinds
        ([failed(1), failed(2, "time")], None),
        ([failed(1), errored(2)], None),  # of the second nobody signed the kind
        ([failed(1), failed(2, where="1")], None),  # one domain
        ([failed(1), failed(2, voided=True)], None),
        ([failed(1), failed(2), running(3), running(4)], None),  # they may answer, and tie
        ([failed(1), failed(2), vote(3), running(4)], None),
        ([failed(1), failed(2), vote(3)], TaskState.FAILED),
        ([failed(1), vote(2), vote(3)], TaskState.ACCEPTED),
        ([failed(1), failed(2), vote(3), vote(4)], None),  # a tie
        ([failed(1), failed(2), vote(3), vote(4), vote(5)], TaskState.ACCEPTED),
    ],
)
def test_a_leading_failure_follows_the_rules_of_answers(replicas: list[Vote], state: TaskState | None) -> None:
    """Distinct domains, a lead that nothing out can undo, and no tie."""
    assert decide(policy(), replicas).state is state
    assert decide(policy(), replicas, close=lambda _left, _right: True).state in {state, None}


def test_a_tie_of_an_answer_and_a_failure_is_named() -> None:
    """Where the cap forbids another replica, the reason says what stood against what."""
    replicas = [vote(1), vote(2), failed(3), failed(4)]
    decision = decide(policy(max_replicas=4), replicas)
    assert decision.state is TaskState.INCONCLUSIVE
    assert "an answer and a kind of failure tie with 2 each" in sentence(decision.reason)
    kinds = [failed(n, f"failed:{n % 2}") for n in (1, 2, 3, 4)]
    assert "two kinds of failure tie" in sentence(decide(policy(max_replicas=4, max_errors=9), kinds).reason)


def test_within_tolerances_failures_of_one_kind_are_an_answer_too() -> None:
    """`allclose` compares answers alone, and a failure supports no answer."""
    pairs = []

    def close(left: int, right: int) -> bool:
        pairs.append((left, right))
        return True

    assert decide(policy(), [failed(1), failed(2)], close=close).state is TaskState.FAILED
    assert decide(policy(), [failed(1), vote(2), vote(3)], close=close).winners == {2, 3}
    assert set(pairs) == {(2, 3)}


def test_errors_do_not_fail_what_can_still_agree() -> None:
    """Votes and replicas out that still make `agree` are waited for."""
    replicas = [errored(number) for number in (1, 2, 3, 4)]
    assert decide(policy(), [*replicas, vote(5), running(6)]).state is None


def test_losses_are_replaced_up_to_their_own_cap() -> None:
    """Lost replicas use up `max_lost`, not `max_replicas`."""
    many = [lost(number) for number in range(1, 11)]
    assert decide(policy(max_replicas=2), many).want == 2
    decision = decide(policy(max_lost=9), many)
    assert decision.state is TaskState.FAILED
    assert sentence(decision.reason).startswith("infrastructure: 10 replicas were lost")
    assert decision.validations[1] is Validation.UNNEEDED


def test_the_cap_ends_without_a_quorum() -> None:
    """Six different answers within max_replicas = 6 are inconclusive, and so are the replicas."""
    decision = decide(policy(), [vote(number, f"answer {number}") for number in range(1, 7)])
    assert decision.state is TaskState.INCONCLUSIVE
    assert sentence(decision.reason) == "no quorum: 1 of 6 answers agree, 2 needed, and max_replicas = 6 is used up"
    assert set(decision.validations.values()) == {Validation.INCONCLUSIVE}


def test_errors_are_named_where_no_node_is_left() -> None:
    """Who reads that no node is left learns as well that those that there were failed, and why."""
    failed = [errored(n, "exit code 2") for n in (1, 2)]
    decision = decide(policy(), failed, placeable=False)
    assert "0 of 0 answers agree, 2 needed; 2 of 2 replicas failed, all alike: exit code 2" in sentence(decision.reason)


def test_a_retry_raises_the_cap() -> None:
    """What retries allow is added to max_replicas; the words name both."""
    replicas = [vote(number, f"answer {number}") for number in range(1, 7)]
    assert decide(policy(), replicas, extra=2).want == 1
    decision = decide(policy(max_replicas=4), replicas, extra=2)
    assert decision.state is TaskState.INCONCLUSIVE
    assert sentence(decision.reason).endswith("and max_replicas = 4 (6 by retry) is used up")


@pytest.mark.parametrize("extra", range(4))
def test_an_allowance_decides_like_a_larger_cap(extra: int) -> None:
    """Verdict, want and validations are those of a policy with so many more replicas."""
    for count in range(9):
        replicas = [vote(number, f"answer {number % 5}") for number in range(1, count + 1)]
        raised = decide(policy(max_replicas=4 + extra), replicas)
        found = decide(policy(max_replicas=4), replicas, extra=extra)
        assert (found.state, found.want, found.validations) == (raised.state, raised.want, raised.validations)


@pytest.mark.parametrize(
    ("distinct", "words"),
    [
        ((Domain.NODE,), "and no other node is left; register one, then retry"),
        ((Domain.RUN,), "and no other node is left; register one, then retry"),
        ((Domain.HOST,), "and no node with another host is left; register one, then retry"),
        ((Domain.SITE, Domain.OWNER), "and no node with another site and owner is left; register one, then retry"),
    ],
)
def test_what_is_missing_where_no_domain_is_left(distinct: tuple[Domain, ...], words: str) -> None:
    """The reason says which node would help."""
    assert sentence(decide(policy(distinct=distinct), [vote(1)], placeable=False).reason).endswith(words)


def test_the_cap_with_many_errors_is_a_failure() -> None:
    """A tie that may not be broken any more fails when too many errored."""
    replicas = [vote(1), vote(2, "B"), *(errored(number) for number in (3, 4, 5, 6))]
    assert decide(policy(agree=1), replicas).state is TaskState.FAILED


def test_no_domain_left_is_inconclusive_only_when_nothing_is_out() -> None:
    """What is out may still settle it."""
    split = [vote(1), vote(2, "B")]
    assert decide(policy(), [*split, running(3)], placeable=False).state is None
    decision = decide(policy(), split, placeable=False)
    assert decision.state is TaskState.INCONCLUSIVE
    assert sentence(decision.reason).startswith("domains: ")


def test_voided_and_foreign_class_replicas_have_no_vote() -> None:
    """Two statements for one replica, or another numeric class: no vote, but a place in max_replicas."""
    replicas = [vote(1), vote(2, voided=True), vote(3, no_vote=Reason.text("another class")), vote(4, None)]
    decision = decide(policy(max_replicas=4), replicas)
    assert decision.state is TaskState.INCONCLUSIVE
    assert "1 of 1 answers agree, 2 needed; 1 more without a vote (another class)" in sentence(decision.reason)
    assert decision.validations[2] is Validation.INVALID
    assert decision.validations[3] is Validation.INCONCLUSIVE


@pytest.mark.parametrize("placeable", [True, False])
def test_after_too_many_losses_no_round_is_filled_up(placeable: bool) -> None:
    """With `allclose` as without: the task fails for its infrastructure, whether nodes are left or not."""
    replicas = [vote(1), vote(2, "B"), vote(3, None, execution=E.LOST)]
    for close in (None, lambda left, right: left == right):
        decision = decide(policy(replicas=4, max_lost=0), replicas, placeable=placeable, close=close)
        assert (decision.state, decision.want) == (TaskState.FAILED, 0)
        assert sentence(decision.reason).startswith("infrastructure: 1 replicas were lost")


def test_a_row_without_a_place_is_not_out() -> None:
    """A replica counts as out only once it was placed."""
    waiting = vote(2, None, execution=E.CREATED, placed=False)
    assert decide(policy(), [vote(1), waiting]).want == 1
    assert decide(policy(), [vote(1), vote(2, None, execution=E.CREATED)]).want == 0


def test_a_cancelled_replica_is_replaced() -> None:
    """A cancellation by the scheduler is no vote and no error."""
    assert decide(policy(), [vote(1), vote(2, None, execution=E.CANCELLED)]).want == 1


@pytest.mark.parametrize("values", [{"agree": 0}, {"distinct": ()}])
def test_an_empty_policy_is_an_error(values: dict[str, object]) -> None:
    """A policy that asks for nothing never passes anything."""
    with pytest.raises(ValueError, match="agree >= 1"):
        decide(policy(**values), [vote(1), vote(2)])


def test_closeness_is_asked_only_of_rounds_that_ended() -> None:
    """`allclose` compares nothing of a round before all of it is in, and waits for what is missing of it."""
    asked: set[object] = set()

    def apart(left: int, right: int) -> bool:
        asked.update((left, right))
        return False

    assert decide(policy(agree=3), [vote(1), vote(2), running(3)], close=apart).state is None
    assert not asked
    waiting = decide(policy(), [vote(1), vote(2), running(3)], close=apart)
    assert (waiting.state, waiting.want, asked) == (None, 0, {1, 2})


def test_a_round_is_as_large_as_the_outcomes_before_it_say() -> None:
    """Whether its replicas are placed one by one or together, a round of `allclose` is compared when it is whole."""
    first = [vote(1), vote(2, None, execution=E.ERRORED), vote(3, None, execution=E.ERRORED)]
    rules = policy(agree=3, max_errors=2)
    for more in ([], [vote(4)], [running(4)]):
        decision = decide(rules, [*first, *more], close=lambda _left, _right: True)
        assert (decision.state, decision.want) == (None, 2 - len(more))


def test_closeness_decides_around_the_centre_with_most_supporters() -> None:
    """1 ~ 2 ~ 3 but not 1 ~ 3: the middle one is the centre, and all three are its group."""
    decision = decide(policy(), [vote(n) for n in (1, 2, 3, 9)], close=lambda a, b: abs(a - b) <= 1)
    assert decision.winners == {1, 2, 3}
    assert decision.validations[9] is Validation.INVALID


def test_rival_centres_that_tie_are_no_result() -> None:
    """Two pairs far apart: nobody wins."""
    decision = decide(policy(max_replicas=4), [vote(n) for n in (1, 2, 8, 9)], close=lambda a, b: abs(a - b) <= 1)
    assert decision.state is TaskState.INCONCLUSIVE
    assert "two answers tie with 2 each" in sentence(decision.reason)


def test_centres_of_one_size_with_other_members_tie() -> None:
    """In a chain of four both inner ones have three supporters: no digest and no number chooses between them."""
    for first in (2, 3):
        chain = [vote(n, raw=b"0" if n == first else b"1") for n in (1, 2, 3, 4)]
        decision = decide(policy(max_replicas=4), chain, close=lambda a, b: abs(a - b) <= 1)
        assert decision.state is TaskState.INCONCLUSIVE
        assert "two answers tie with 3 each" in sentence(decision.reason)


@pytest.mark.parametrize(
    ("answers", "centre"),
    [
        ((0.0, 0.5, 1.0, 1.5, 2.0), None),  # three centres of three
        ((0.0, 0.5, 1.0, 3.0, 9.0), 0.5),
        ((0.0, 0.5, 1.0, 1.4, 9.0), None),  # two centres of three, that share two
        ((0.0, 0.2, 0.4, 3.0, 3.2), 0.0),  # all close to all: the smallest digest
        ((0.0, 0.5, 1.0, 1.5, 9.0), None),
    ],
)
def test_no_numbering_decides_within_tolerances(answers: tuple[float, ...], centre: float | None) -> None:
    """All 120 numberings of five answers give one verdict, with the same centre."""
    found = set()
    for numbered in permutations(answers):
        votes = [vote(n, raw=b"%04d" % (answer * 100)) for n, answer in enumerate(numbered)]
        near = partial(_within_half, numbered)
        decision = decide(policy(agree=3, replicas=5, max_replicas=5), votes, close=near)
        winners = frozenset(numbered[number] for number in decision.winners)
        found.add((decision.state, None if decision.centre is None else numbered[decision.centre], winners))
    ((state, about, winners),) = found
    assert (state is TaskState.ACCEPTED, about) == (centre is not None, centre)
    assert (centre in winners) is (centre is not None)


def _within_half(numbered: tuple[float, ...], left: int, right: int) -> bool:
    return abs(numbered[left] - numbered[right]) <= 0.5


@pytest.mark.parametrize("least", [1, 2, 3])
def test_the_centre_of_a_clique_is_chosen_by_its_bytes(least: int) -> None:
    """Where all are close to all, the smallest digest is the centre, whatever the numbers."""
    votes = [vote(n, raw=b"0" if n == least else b"1%d" % n) for n in (1, 2, 3)]
    decision = decide(policy(), votes, close=lambda _left, _right: True)
    assert (decision.centre, decision.winners) == (least, frozenset({1, 2, 3}))


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], "replica 2 signed two different statements, and 1 of 2 needed still agree"),
        ([vote(3)], ""),
        ([vote(3, "B")], "replica 2 signed two different statements, and 1 of 2 needed still agree"),
        ([vote(3, voided=True)], "replica 2 and replica 3 signed two different statements, and 1 of 2 needed still agree"),
    ],
    ids=["nobody", "another that agrees", "another that does not", "another that is void"],
)
def test_a_winner_that_is_voided_leaves_the_quorum_in_doubt(later: list[Vote], expected: str) -> None:
    """What a voided winner takes away is only made up by another that agrees."""
    replicas = [vote(1), vote(2, voided=True), *later]
    scored = assess_late(policy(), replicas, frozenset({1, 2}))
    assert sentence(doubt(policy(), replicas, scored)) == expected
    assert scored[2] is Validation.INVALID
    assert doubt(policy(), [vote(1), vote(2)], {1: Validation.VALID, 2: Validation.VALID}) is None


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], "replica 2 did not end well by its scheduler's word, and 1 of 2 needed still agree"),
        ([vote(3)], ""),
        ([vote(3, voided=True)], "replica 2 and replica 3 signed two different statements, and 1 of 2 needed still agree"),
        ([failed(3), lost(4), errored(5)], "replica 2 did not end well by its scheduler's word, and 1 of 2 needed still agree"),
    ],
    ids=["nobody", "another that agrees", "another that is void", "others that never had an answer"],
)
def test_a_winner_that_its_scheduler_overrules_leaves_the_quorum_in_doubt(later: list[Vote], expected: str) -> None:
    """It had an answer, which counts no more; nobody calls it wrong."""
    replicas = [vote(1), OVERRULED, *later]
    scored = assess_late(policy(), replicas, frozenset({1, 2}))
    assert sentence(doubt(policy(), replicas, scored)) == expected
    assert scored[2] is Validation.INCONCLUSIVE


def test_what_a_scheduler_overrules_is_an_error_before_the_verdict() -> None:
    """It supports nothing, and costs one of the errors that a task may have."""
    assert decide(policy(), [vote(1), OVERRULED]).want == 1
    assert decide(policy(max_errors=0), [vote(1), OVERRULED]).state is TaskState.FAILED


def test_late_reports_are_scored() -> None:
    """A late replica is compared with the accepted answer; the winners stay."""
    replicas = [vote(1), vote(2), vote(3, "B"), vote(4), lost(5), vote(6, voided=True)]
    scored = assess_late(policy(), replicas, frozenset({1, 2}))
    words = [scored[number].value for number in range(1, 7)]
    assert words == ["valid", "valid", "invalid", "valid", "unneeded", "invalid"]


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        ([], 0),
        ([("a",), ("a",), ("b",)], 2),
        ([("s1", "o1"), ("s1", "o2"), ("s2", "o1")], 2),  # taking the first would leave nothing
        ([("s1", "o1"), ("s1", "o2"), ("s1", "o3")], 1),
        ([("n1", "s1"), ("n2", "s1"), ("n3", "s2")], 2),  # the node settles the site
        ([("a", "x", "1"), ("b", "y", "1"), ("a", "y", "2"), ("b", "x", "2"), ("c", "z", "3")], 2),
        ([("a", "x", "1"), ("a", "y", "2"), ("b", "x", "2"), ("b", "y", "2"), ("c", "z", "3")], 3),
    ],
)
def test_max_distinct(rows: list[tuple[str, ...]], size: int) -> None:
    """The largest subset in which any two rows differ in every column."""
    assert max_distinct(rows) == size
    assert max_distinct(rows[::-1]) == size
