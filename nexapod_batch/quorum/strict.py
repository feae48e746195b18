"""The policy `strict`: accept what `agree` distinct domains say and nobody can still outvote.

Equal answers are a group, and so are failures of one kind (outcome and exit code, as signed). Let n1 >= n2 be the
sizes, in distinct domains, of the two largest groups, a the largest that is an answer, and `out` the replicas placed
that may still report. In this order:

1. accept group 1 if n1 >= agree and n1 - n2 > out; if it is a failure, the task failed;
2. else fail if too many replicas errored (or were lost) and a + out < agree;
3. else place max(agree - n1 - out, 1 if nothing is out) more, within `max_replicas`;
4. when nothing more may be placed and nothing is out: failed if too many errored or were lost, else inconclusive.

Where outputs are compared within tolerances (`allclose`), replicas are placed in rounds, each one judged when all of it
has ended: closeness is no equivalence, and another set of replicas may have another centre.

The first `replicas` replicas are always wanted, however slowly nodes are found for them. Lost and cancelled replicas
do not count towards `max_replicas`; they have their own cap, `max_lost`. What retries allow a task (`extra`) is added
to its `max_replicas`, and belongs to what a verdict is a function of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.lifecycle import Execution, TaskState, Validation
from nexapod_batch.quorum import reasons
from nexapod_batch.quorum.domains import count, seat
from nexapod_batch.quorum.tally import is_vote, tally_of
from nexapod_batch.quorum.vote_count import by_answer, by_closeness
from nexapod_batch.quorum.votes import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import QuorumPolicy
    from nexapod_batch.model.reason import Reason
    from nexapod_batch.quorum.tally import Tally
    from nexapod_batch.quorum.vote_count import Standing
    from nexapod_batch.quorum.votes import Closeness, Vote

__all__ = ["assess_late", "decide", "doubt"]

def decide(
    policy: QuorumPolicy,
    replicas: Sequence[Vote],
    *,
    placeable: bool = True,
    close: Closeness | None = None,
    extra: int = 0,
) -> Decision:
    """Decide on a task that has not ended; `extra` replicas beyond `max_replicas` were allowed by retries.

    `placeable` is False when no node is left that could ever take one more replica of this task (full queues do not
    count). `close` compares two replicas of a job with `allclose` outputs; it is called for rounds that have ended.
    ValueError for a policy that asks for no agreement or counts no domain.
    """
    if policy.agree < 1 or not policy.distinct:
        raise ValueError("a quorum needs agree >= 1 and at least one field in distinct")
    tally = tally_of(replicas)
    max_replicas = policy.max_replicas + extra
    if close is None:
        standing = by_answer(policy.distinct, policy.agree, tally.votes + tally.failures, tally.out)
        short = 0
    else:
        # After too many losses nothing more is placed: the round is what there is.
        short = 0 if tally.lost > policy.max_lost else _short_of_round(policy, replicas, close, max_replicas)
        if tally.out or (short and placeable):
            return _wait_for_round(policy, replicas, tally, short)
        standing = by_closeness(policy.distinct, tally.votes + tally.failures, close)
    if standing.leader >= policy.agree and standing.settled:  # 1
        if standing.failures[0]:
            return _end(TaskState.FAILED, reasons.failed_alike(tally, standing), replicas, standing)
        return _accept(replicas, tally, standing)
    return _undecided(policy, replicas, tally, standing, placeable=placeable, extra=extra, short=short)


def _undecided(
    policy: QuorumPolicy, replicas: Sequence[Vote], tally: Tally, standing: Standing,
    *, placeable: bool, extra: int, short: int,
) -> Decision:  # fmt: skip
    """Decide where no group has won: go on, or end without a result; `short` replicas of a round are missing."""
    out, max_replicas = len(tally.out), policy.max_replicas + extra
    if _too_many(policy, tally) and standing.answers + out < policy.agree:  # 2
        return _end(TaskState.FAILED, reasons.too_many(policy, tally), replicas, standing)
    want = short or _wanted(policy, tally, standing, max_replicas)  # 3
    if out or (want and placeable):
        return _go_on(policy, standing, out, want)
    if _too_many(policy, tally) and not want:  # 4
        return _end(TaskState.FAILED, reasons.too_many(policy, tally), replicas, standing)
    if want:
        reason = reasons.no_domain_left(policy, tally, standing)
    else:
        reason = reasons.used_up(policy, tally, standing, extra)
    return _end(TaskState.INCONCLUSIVE, reason, replicas, standing)


def _short_of_round(policy: QuorumPolicy, replicas: Sequence[Vote], close: Closeness, max_replicas: int) -> int:
    """Return how many replicas the current round still misses; replicas belong to rounds by their numbers.

    A round is what was wanted when everything before it had ended. Its size follows from the outcomes before it, so
    that it is the same however its replicas were placed, and in whatever order they ended.
    """
    placed = sorted((replica for replica in replicas if replica.placed), key=lambda replica: replica.number)
    size = min(max(policy.agree, policy.replicas), max_replicas)
    while size < len(placed):
        tally = tally_of(placed[:size])
        if tally.out:  # a replica that came back late: what was placed after it stays
            return 0
        standing = by_closeness(policy.distinct, tally.votes + tally.failures, close)
        want = _wanted(policy, tally, standing, max_replicas)
        if not want or (standing.leader >= policy.agree and standing.settled):
            return 0
        size += want
    return size - len(placed)


def _wait_for_round(policy: QuorumPolicy, replicas: Sequence[Vote], tally: Tally, short: int) -> Decision:
    """Let a round of `allclose` replicas end, unless errors have decided already.

    Before everything is in, votes compared by closeness come to at most what they would if all were close.
    """
    standing = by_answer(policy.distinct, policy.agree, tally.votes, tally.out)
    out = len(tally.out)
    if _too_many(policy, tally) and standing.leader + out + short < policy.agree:
        return _end(TaskState.FAILED, reasons.too_many(policy, tally), replicas, standing)
    return _go_on(policy, standing, out, short)


def _too_many(policy: QuorumPolicy, tally: Tally) -> bool:
    return len(tally.errors) > policy.max_errors or tally.lost > policy.max_lost


def _wanted(policy: QuorumPolicy, tally: Tally, standing: Standing, max_replicas: int) -> int:
    if tally.lost > policy.max_lost:
        return 0
    out = len(tally.out)
    want = max(policy.agree - standing.leader - out, 0 if out else 1, policy.replicas - tally.placed)
    return max(0, min(want, max_replicas - tally.used))


def doubt(policy: QuorumPolicy, replicas: Sequence[Vote], validations: Mapping[int, Validation]) -> Reason | None:
    """Return why the quorum of an accepted task is no longer met, if so: one that was withdrawn supports nothing.

    What came later and agrees supports the result as well.
    """
    withdrawn = [vote for vote in replicas if vote.withdrawn]
    if not withdrawn:
        return None
    support = [vote for vote in replicas if validations.get(vote.number) is Validation.VALID and not vote.withdrawn]
    left = count([seat(vote, policy.distinct) for vote in support], policy.distinct)
    if left >= policy.agree:
        return None
    return reasons.doubted(policy, withdrawn, left)


def assess_late(
    policy: QuorumPolicy,  # noqa: ARG001 - other policies will score by it
    replicas: Sequence[Vote],
    winners: frozenset[int],
    *,
    close: Closeness | None = None,
) -> Mapping[int, Validation]:
    """Return the validation of every placed replica of an accepted task, late ones included.

    The accepted result stays; only what the other replicas are worth is said again. `close` compares with the
    lowest-numbered winner that has an answer.
    """
    placed = [replica for replica in replicas if replica.placed]
    reference = _reference(placed, winners)
    if reference is None:
        return {replica.number: _unmatched(replica) for replica in placed}

    def matches(replica: Vote) -> bool:
        if replica.number in winners:  # and not withdrawn since, which is no vote
            return True
        return replica.answer == reference.answer and (close is None or close(replica.number, reference.number))

    validations = {}
    for replica in placed:
        if not is_vote(replica):
            validations[replica.number] = _unmatched(replica)
        elif matches(replica):
            validations[replica.number] = Validation.VALID
        else:
            validations[replica.number] = _unequal(replica)
    return validations


def _reference(placed: Sequence[Vote], winners: frozenset[int]) -> Vote | None:
    """Return the winner that has an answer to compare with: the lowest-numbered, withdrawn ones only at last."""
    known = [replica for replica in placed if replica.number in winners and replica.answer is not None]
    return min(known, key=lambda replica: (replica.withdrawn, replica.number), default=None)


def _unmatched(replica: Vote) -> Validation:
    """Return the validation of a replica that no group could take in, once its task has ended."""
    if replica.voided:
        return Validation.INVALID
    if replica.execution is Execution.REPORTED or replica.execution is Execution.ERRORED:
        return Validation.INCONCLUSIVE
    return Validation.UNNEEDED


def _unequal(replica: Vote) -> Validation:
    """Return the validation of an answer that is not the accepted one: what cannot be compared does not differ."""
    if replica.failure:
        return Validation.INCONCLUSIVE
    return Validation.INVALID


def _accept(replicas: Sequence[Vote], tally: Tally, standing: Standing) -> Decision:
    """End a task whose leading group is an answer."""
    winners = standing.winners
    validations = {replica.number: _unmatched(replica) for replica in replicas if replica.placed}
    for replica in replicas:
        if replica.placed and is_vote(replica):
            validations[replica.number] = Validation.VALID if replica.number in winners else _unequal(replica)
    return Decision(
        state=TaskState.ACCEPTED,
        agree=standing.leader,
        reason=reasons.accepted(tally, winners),
        winners=winners,
        centre=standing.centre,
        validations=validations,
    )


def _end(state: TaskState, reason: Reason, replicas: Sequence[Vote], standing: Standing) -> Decision:
    """End a task without a result."""
    validations = {replica.number: _unmatched(replica) for replica in replicas if replica.placed}
    return Decision(state=state, agree=standing.answers, reason=reason, validations=validations)


def _go_on(policy: QuorumPolicy, standing: Standing, out: int, want: int) -> Decision:
    """Wait for what is out, and want more."""
    reason = reasons.undecided(policy, standing, out, want)
    return Decision(state=None, want=want, agree=standing.answers, reason=reason)
