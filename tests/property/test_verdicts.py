"""Order, repetition and timing of votes and of decide passes never change a verdict."""
# ruff: noqa: S311 - seeded, so that a failure can be repeated

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nexapod_batch.lifecycle import OUT, Execution, TaskState, Validation
from nexapod_batch.model.job import Domain, QuorumPolicy
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Decision, Vote, assess_late, decide
from nexapod_batch.quorum.machines import Boot, same_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A, B, C, ERROR, LOST, VOID, OTHER_CLASS = "A", "B", "C", "error", "lost", "void", "other class"
EXIT_7, OVER_TIME = "failed:7", "time"  # failures whose kind is signed; of ERROR only the scheduler speaks
FAILURES = (EXIT_7, OVER_TIME)
OUTCOMES = (A, A, A, B, B, C, ERROR, EXIT_7, EXIT_7, OVER_TIME, LOST, VOID, OTHER_CLASS)
MORE = 60  # outcomes held ready; no policy drawn here can use more

policies = st.builds(
    QuorumPolicy,
    agree=st.integers(1, 4),
    replicas=st.integers(1, 5),
    max_replicas=st.integers(5, 9),
    max_errors=st.integers(0, 4),
    max_lost=st.integers(0, 6),
    distinct=st.sampled_from([(Domain.RUN,), (Domain.NODE,), (Domain.HOST,), (Domain.SITE, Domain.OWNER)]),
)
measurements = st.lists(st.sampled_from([1.0, 1.4, 1.8, 2.2, 9.0, None]), min_size=MORE, max_size=MORE)
fates = st.lists(st.sampled_from(OUTCOMES), min_size=MORE, max_size=MORE)


def places(number: int, pool: int = MORE + 1) -> dict[Domain, str]:
    """Return where replica `number` runs: domains repeat after `pool` numbers."""
    where = str(number % pool)
    return {Domain.HOST: f"h{where}", Domain.NODE: f"n{where}", Domain.SITE: f"s{where}", Domain.OWNER: f"o{where}"}


def machine(number: int) -> Boot | None:
    """Return what replica `number` signed of its machine: some boots are shared, some machine ids, some say nothing."""
    since = number % 5 * 100_000
    return Boot(f"b{number % 6}", f"m{number % 4}", since, since + 150_000) if number % 7 else None


def ended(vote: Vote, fate: str) -> Vote:
    """Return the replica after its fate came true."""
    vote = replace(vote, machine=machine(vote.number))
    if fate in (ERROR, LOST):
        return replace(vote, execution=Execution.ERRORED if fate == ERROR else Execution.LOST)
    if fate in FAILURES:
        return replace(vote, execution=Execution.ERRORED, failure=fate)
    answer = A if fate in (VOID, OTHER_CLASS) else fate
    return replace(
        vote,
        execution=Execution.REPORTED,
        answer=answer.encode() * 32,
        voided=fate == VOID,
        no_vote=Reason(code=Code.OTHER_CLASS) if fate == OTHER_CLASS else None,
    )


def run_task(
    policy: QuorumPolicy,
    fate: Sequence[str],
    rng: random.Random,
    decider: Callable[..., Decision] = decide,
    pool: int = MORE + 1,
) -> tuple[Decision, list[Vote]]:
    """Run one task to its end, replicas ending in any order.

    The first replicas are placed together, later ones all at once or bit by bit: which replicas *exist* may depend on
    time, and with `replicas` above `agree` one that was not placed yet is not waited for.
    """
    replicas: list[Vote] = []
    while True:
        rng.shuffle(replicas)
        decision = decider(policy, tuple(replicas))
        if rng.random() < 0.2:
            assert decision == decider(policy, tuple(reversed(replicas)))  # another pass without news
        if decision.state is not None:
            return decision, replicas
        out = [i for i, vote in enumerate(replicas) if vote.execution in OUT]
        least = decision.want if not replicas or not decision.want else int(not out)
        place = rng.randint(least, decision.want)
        for _ in range(place):
            number = len(replicas) + 1
            replicas.append(Vote(number=number, domain=places(number, pool), execution=Execution.SUBMITTED))
        if out and (not place or rng.random() < 0.5):
            i = rng.choice(out)
            replicas[i] = ended(replicas[i], fate[replicas[i].number - 1])


def by_kind(decision: Decision) -> bool:
    """Say whether a task failed because one kind of failure led."""
    return decision.reason.code == Code.FAILED_ALIKE


def verdict(decision: Decision, replicas: Sequence[Vote]) -> tuple[TaskState | None, bytes | None]:
    """Return what must not depend on time: the state and the accepted answer."""
    answers = {vote.answer for vote in replicas if vote.number in decision.winners}
    assert len(answers) <= 1
    return decision.state, next(iter(answers), None)


@settings(max_examples=120)
@given(policies, fates, st.integers(0, 2**32))
def test_the_order_of_events_never_changes_a_verdict(policy: QuorumPolicy, fate: list[str], seed: int) -> None:
    """The same outcomes of the same replicas give one verdict in every order, with any number of passes."""
    verdicts = {verdict(*run_task(policy, fate, random.Random(seed + i))) for i in range(12)}
    assert len(verdicts) == 1


def test_seeded_enumeration() -> None:
    """Random outcomes in many orders each give one verdict, and every kind of verdict comes up."""
    rng = random.Random(20_261_123)
    seen: set[TaskState | None] = set()
    for _ in range(400):
        fate = rng.choices(OUTCOMES, k=MORE)
        policy = QuorumPolicy(
            agree=rng.randint(1, 4),
            replicas=rng.randint(1, 4),
            max_errors=rng.randint(0, 3),
            max_lost=rng.randint(0, 4),
        )
        verdicts = {verdict(*run_task(policy, fate, random.Random(order))) for order in range(15)}
        assert len(verdicts) == 1, (policy, fate[:10], verdicts)
        seen |= {state for state, _ in verdicts}
    assert seen == {TaskState.ACCEPTED, TaskState.FAILED, TaskState.INCONCLUSIVE}


@settings(max_examples=120)
@given(policies, fates, st.integers(0, 2**32), st.integers(2, 5))
def test_a_leading_group_holds_whatever_comes_after(policy: QuorumPolicy, fate: list[str], seed: int, pool: int) -> None:
    """With any answers from the replicas still out, and shared domains, the full count ends with the same group.

    Whether it is an answer that is accepted, or a kind of failure.
    """
    rng = random.Random(seed)
    decision, replicas = run_task(policy, fate, rng, pool=pool)
    if decision.state is TaskState.INCONCLUSIVE or (decision.state is TaskState.FAILED and not by_kind(decision)):
        return
    out = [vote for vote in replicas if vote.execution in OUT]
    for answer in (A, B, C, ERROR, EXIT_7, OVER_TIME, LOST):
        done = [ended(vote, answer) if vote in out else vote for vote in replicas]
        assert verdict(decide(policy, done), done) == verdict(decision, replicas)


def counted(policy: QuorumPolicy, replicas: Sequence[Vote]) -> dict[str | bytes | None, int]:
    """Count the distinct domains of each answer and kind of failure by trying every choice of replicas.

    A choice counts when any two of it differ in every field of `distinct`, and when its domains said one thing only.
    """

    def where(vote: Vote) -> list[str]:
        return [str(vote.number) if name is Domain.RUN else vote.domain[name] for name in policy.distinct]

    def apart(one: Vote, other: Vote) -> bool:
        together = Domain.HOST in policy.distinct and same_machine(one.machine, other.machine)
        return not together and all(a != b for a, b in zip(where(one), where(other), strict=True))

    heard = [vote for vote in replicas if vote.no_vote is None and not vote.voided]
    said = [(vote.failure or vote.answer, vote) for vote in heard if vote.failure or vote.answer]
    sizes = {}
    for one in {one for one, _ in said}:
        rivals = [where(vote) for other, vote in said if other != one]
        mine = [vote for other, vote in said if other == one]
        mine = [v for v in mine if not any(a == b for other in rivals for a, b in zip(where(v), other, strict=True))]
        sizes[one] = max(
            size
            for size in range(len(mine) + 1)
            for chosen in combinations(mine, size)
            if all(apart(left, right) for left, right in combinations(chosen, 2))
        )
    return sizes


@settings(max_examples=200)
@given(policies, st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 3)), max_size=9), st.randoms())
def test_a_decision_is_a_function_of_the_set(
    policy: QuorumPolicy, rows: list[tuple[str, int]], rng: random.Random
) -> None:
    """Any order of the same replicas, asked any number of times, is the same decision; and it is never a tie."""
    replicas = [
        ended(Vote(number=n, domain=places(where), execution=Execution.RUNNING), fate)
        for n, (fate, where) in enumerate(rows, 1)
    ]
    first = decide(policy, replicas)
    for _ in range(3):
        rng.shuffle(replicas)
        assert decide(policy, replicas) == first
        # With no node left for the rest of a round, votes that are all close are equal ones.
        alike = decide(policy, replicas, placeable=False)
        assert decide(policy, replicas, placeable=False, close=lambda _left, _right: True).state == alike.state
    assert first.want == 0 or first.state is None
    sizes = counted(policy, replicas)
    leader, second = [*sorted(sizes.values(), reverse=True), 0, 0][:2]
    assert first.agree == max((size for said, size in sizes.items() if isinstance(said, bytes)), default=0)
    leads = leader >= policy.agree and leader > second
    failed = leads and isinstance(max(sizes, key=lambda said: sizes[said]), str)
    assert (first.state is TaskState.ACCEPTED) == (leads and not failed)
    assert first.state is TaskState.FAILED or not failed


@settings(max_examples=120)
@given(policies, fates, st.integers(0, 2**32), st.sampled_from([A, B, ERROR, EXIT_7]))
def test_late_reports_never_change_an_accepted_result(
    policy: QuorumPolicy, fate: list[str], seed: int, late: str
) -> None:
    """Reports of lost replicas after the verdict are scored, and the validations of the winners stay."""
    decision, replicas = run_task(policy, fate, random.Random(seed))
    if decision.state is not TaskState.ACCEPTED:
        return
    _, answer = verdict(decision, replicas)
    missing = (Execution.LOST, *OUT)
    after = [ended(vote, late) if vote.execution in missing else vote for vote in replicas]
    scored = assess_late(policy, after, decision.winners)
    assert scored == assess_late(policy, after[::-1], decision.winners)
    for vote in after:
        if vote.number in decision.winners:
            assert scored[vote.number] is Validation.VALID
        elif vote.execution is Execution.REPORTED and vote.no_vote is None and not vote.voided:
            assert (scored[vote.number] is Validation.VALID) == (vote.answer == answer)


@settings(max_examples=100)
@given(policies, fates, st.integers(0, 2**32))
def test_a_late_report_before_the_verdict_is_a_vote_like_any_other(
    policy: QuorumPolicy, fate: list[str], seed: int
) -> None:
    """A lost replica that reports while its task is open counts, whether or not it was ever called lost."""

    def promptly(policy: QuorumPolicy, replicas: Sequence[Vote]) -> Decision:
        return decide(policy, [ended(vote, A) if vote.execution is Execution.LOST else vote for vote in replicas])

    without_loss = [A if one == LOST else one for one in fate]
    late, _ = run_task(policy, fate, random.Random(seed), promptly)
    prompt, _ = run_task(policy, without_loss, random.Random(seed + 1))
    assert late.state == prompt.state


def closest(policy: QuorumPolicy, values: Sequence[float | None], orders: Sequence[int]) -> list[Decision]:
    """Decide on measurements in several orders, close ones agreeing (None: the replica errored)."""

    def close(left: int, right: int) -> bool:
        a, b = values[left - 1], values[right - 1]
        return a is not None and b is not None and abs(a - b) < 0.5

    def decider(policy: QuorumPolicy, replicas: Sequence[Vote]) -> Decision:
        return decide(policy, replicas, close=close)

    fate = [EXIT_7 if value is None else A for value in values]
    return [run_task(policy, fate, random.Random(order), decider)[0] for order in orders]


@settings(max_examples=80)
@given(policies, measurements, st.integers(0, 2**32))
def test_closeness_gives_one_verdict_too(policy: QuorumPolicy, values: list[float | None], seed: int) -> None:
    """`allclose`, which is no equivalence, is decided alike in every order."""
    ends = closest(policy, values, range(seed, seed + 8))
    assert all(left.state == right.state and left.winners == right.winners for left, right in pairwise(ends))


def test_an_early_error_moves_no_centre() -> None:
    """An error that comes while others run, and is replaced, leaves the set that is compared as it was."""
    policy = QuorumPolicy(agree=3, replicas=1, max_replicas=6, max_errors=1, max_lost=0, distinct=(Domain.RUN,))
    values = [2.2, 9.0, None, 1.4, 1.8, *[1.0] * (MORE - 5)]
    ends = closest(policy, values, range(200))
    assert len({(end.state, end.winners) for end in ends}) == 1


@pytest.mark.parametrize("agree", [1, 2, 3])
def test_a_tie_is_never_accepted(agree: int) -> None:
    """Two groups of equal size give no result, however large they are."""
    policy = QuorumPolicy(agree=agree, max_replicas=2 * agree)
    replicas = [
        ended(Vote(number=n, domain=places(n), execution=Execution.RUNNING), A if n % 2 else B)
        for n in range(1, 2 * agree + 1)
    ]
    assert decide(policy, replicas).state is TaskState.INCONCLUSIVE
