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

from msgspec import Struct, field

from nexapod_batch.lifecycle import OUT, Execution, TaskState, Validation
from nexapod_batch.model.job import Domain
from nexapod_batch.quorum.domains import count, independence, intruded, one_account, one_machine, seat
from nexapod_batch.quorum.vote_count import Standing, by_answer, by_closeness
from nexapod_batch.quorum.votes import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.model.job import QuorumPolicy
    from nexapod_batch.quorum.votes import Closeness, Vote

__all__ = ["assess_late", "decide", "doubt"]

_MAY_REPORT = OUT | {Execution.CREATED}  # a placed replica whose launch was refused for now will be launched again


class _Tally(Struct):
    """The placed replicas of a task, sorted by what they mean."""

    votes: list[Vote] = field(default_factory=list)
    out: list[Vote] = field(default_factory=list)
    errors: list[Vote] = field(default_factory=list)
    failures: list[Vote] = field(default_factory=list)  # those of the errors whose kind is signed
    unheard: list[Vote] = field(default_factory=list)
    lost: int = 0
    used: int = 0  # towards max_replicas
    placed: int = 0


def _is_vote(replica: Vote) -> bool:
    heard = replica.execution is Execution.REPORTED and not replica.voided and not replica.unheard
    return heard and replica.answer is not None


def _tally(replicas: Sequence[Vote]) -> _Tally:
    tally = _Tally()
    for replica in replicas:
        if not replica.placed:
            continue
        tally.placed += 1
        execution = replica.execution
        if execution is Execution.LOST or execution is Execution.CANCELLED:
            tally.lost += 1
            continue
        tally.used += 1
        if execution in _MAY_REPORT:
            tally.out.append(replica)
        elif _is_vote(replica):
            tally.votes.append(replica)
        elif execution is Execution.ERRORED and not replica.voided:
            tally.errors.append(replica)
            if replica.failure and not replica.unheard:
                tally.failures.append(replica)
        elif replica.unheard and not replica.voided:
            tally.unheard.append(replica)
    return tally


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
    tally = _tally(replicas)
    most = policy.max_replicas + extra
    if close is None:
        standing = by_answer(policy.distinct, policy.agree, tally.votes + tally.failures, tally.out)
        short = 0
    else:
        # After too many losses nothing more is placed: the round is what there is.
        short = 0 if tally.lost > policy.max_lost else _short_of_round(policy, replicas, close, most)
        if tally.out or (short and placeable):
            return _wait_for_round(policy, replicas, tally, short)
        standing = by_closeness(policy.distinct, tally.votes + tally.failures, close)
    if standing.leader >= policy.agree and standing.settled:  # 1
        end = _fail_alike if standing.failures[0] else _accept
        return end(replicas, tally, standing)
    out = len(tally.out)
    if _too_many(policy, tally) and standing.answers + out < policy.agree:  # 2
        return _fail(policy, replicas, tally, standing)
    want = short or _wanted(policy, tally, standing, most)  # 3
    if out or (want and placeable):
        return Decision(state=None, want=want, agree=standing.answers, reason=_progress(policy, standing, out, want))
    if _too_many(policy, tally) and not want:  # 4
        return _fail(policy, replicas, tally, standing)
    found = _found(policy, tally, standing)
    if want:
        reason = f"domains: {found}, and {_no_other(policy)} is left; register one, then retry"
    else:
        raised = f" ({most} by retry)" if extra else ""
        reason = f"no quorum: {found}, and max_replicas = {policy.max_replicas}{raised} is used up"
    return _end(TaskState.INCONCLUSIVE, reason, replicas, standing)


def _short_of_round(policy: QuorumPolicy, replicas: Sequence[Vote], close: Closeness, most: int) -> int:
    """Return how many replicas the current round still misses; replicas belong to rounds by their numbers.

    A round is what was wanted when everything before it had ended. Its size follows from the outcomes before it, so
    that it is the same however its replicas were placed, and in whatever order they ended.
    """
    placed = sorted((replica for replica in replicas if replica.placed), key=lambda replica: replica.number)
    size = min(max(policy.agree, policy.replicas), most)
    while size < len(placed):
        tally = _tally(placed[:size])
        if tally.out:  # a replica that came back late: what was placed after it stays
            return 0
        standing = by_closeness(policy.distinct, tally.votes + tally.failures, close)
        want = _wanted(policy, tally, standing, most)
        if not want or (standing.leader >= policy.agree and standing.settled):
            return 0
        size += want
    return size - len(placed)


def _wait_for_round(policy: QuorumPolicy, replicas: Sequence[Vote], tally: _Tally, short: int) -> Decision:
    """Let a round of `allclose` replicas end, unless errors have decided already.

    Before everything is in, votes compared by closeness come to at most what they would if all were close.
    """
    standing = by_answer(policy.distinct, policy.agree, tally.votes, tally.out)
    out = len(tally.out)
    if _too_many(policy, tally) and standing.leader + out + short < policy.agree:
        return _fail(policy, replicas, tally, standing)
    return Decision(state=None, want=short, agree=standing.leader, reason=_progress(policy, standing, out, short))


def _too_many(policy: QuorumPolicy, tally: _Tally) -> bool:
    return len(tally.errors) > policy.max_errors or tally.lost > policy.max_lost


def _wanted(policy: QuorumPolicy, tally: _Tally, standing: Standing, most: int) -> int:
    if tally.lost > policy.max_lost:
        return 0
    out = len(tally.out)
    want = max(policy.agree - standing.leader - out, 0 if out else 1, policy.replicas - tally.placed)
    return max(0, min(want, most - tally.used))


def doubt(policy: QuorumPolicy, replicas: Sequence[Vote], validations: Mapping[int, Validation]) -> str:
    """Return why the quorum of an accepted task is no longer met, or "": one that was voided supports nothing.

    What came later and agrees supports the result as well.
    """
    voided = [vote.number for vote in replicas if vote.voided]
    if not voided:
        return ""
    support = [vote for vote in replicas if validations.get(vote.number) is Validation.VALID and not vote.voided]
    left = count([seat(vote, policy.distinct) for vote in support], policy.distinct)
    if left >= policy.agree:
        return ""
    which = " and ".join(f"replica {number}" for number in sorted(voided))
    return f"{which} signed two different statements, and {left} of {policy.agree} needed still agree"


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
    known = [replica for replica in placed if replica.number in winners and replica.answer is not None]
    if not known:
        return {replica.number: _unmatched(replica) for replica in placed}
    reference = min(known, key=lambda replica: (replica.voided, replica.number))

    def matches(replica: Vote) -> bool:
        if replica.number in winners:  # and not voided since, which is no vote
            return True
        return replica.answer == reference.answer and (close is None or close(replica.number, reference.number))

    return {
        replica.number: (Validation.VALID if matches(replica) else Validation.INVALID)
        if _is_vote(replica)
        else _unmatched(replica)
        for replica in placed
    }


def _unmatched(replica: Vote) -> Validation:
    """Return the validation of a replica that no group could take in, once its task has ended."""
    if replica.voided:
        return Validation.INVALID
    if replica.execution is Execution.REPORTED or replica.execution is Execution.ERRORED:
        return Validation.INCONCLUSIVE
    return Validation.UNNEEDED


def _accept(replicas: Sequence[Vote], tally: _Tally, standing: Standing) -> Decision:
    winners = standing.winners
    won = [vote for vote in tally.votes if vote.number in winners]
    shared = "; ".join(filter(None, (independence(won), one_account(won))))
    voted = {vote.number: Validation.VALID if vote.number in winners else Validation.INVALID for vote in tally.votes}
    validations = {
        replica.number: voted.get(replica.number) or _unmatched(replica) for replica in replicas if replica.placed
    }
    return Decision(
        state=TaskState.ACCEPTED,
        agree=standing.leader,
        reason=f"{len(winners)} of {len(tally.votes)} agree, {shared}",
        winners=winners,
        centre=standing.centre,
        validations=validations,
        independence=shared,
    )


def _fail_alike(replicas: Sequence[Vote], tally: _Tally, standing: Standing) -> Decision:
    """End a task whose leading answer is that it fails."""
    failed = [vote for vote in tally.failures if vote.number in standing.winners]
    first = min(failed, key=lambda vote: vote.number)
    alike = "" if len(failed) == 1 else " alike"
    reason = f"errors: {len(failed)} of {tally.placed} replicas failed{alike}: {first.detail or first.failure}"
    return _end(TaskState.FAILED, reason, replicas, standing)


def _fail(policy: QuorumPolicy, replicas: Sequence[Vote], tally: _Tally, standing: Standing) -> Decision:
    errors = len(tally.errors)
    if errors > policy.max_errors:
        failed = f"{errors} of {tally.placed} replicas failed"
        reason = f"errors: {failed} (max_errors = {policy.max_errors}){_alike(tally.errors)}"
    else:
        reason = f"infrastructure: {tally.lost} replicas were lost (max_lost = {policy.max_lost})"
    return _end(TaskState.FAILED, reason, replicas, standing)


def _found(policy: QuorumPolicy, tally: _Tally, standing: Standing) -> str:
    """Return what the votes came to, where that is no result."""
    failed = f"; {len(tally.errors)} of {tally.placed} replicas failed{_alike(tally.errors)}" if tally.errors else ""
    if standing.leader >= policy.agree and standing.leader == standing.second:
        return f"{_tie(standing)} tie with {standing.leader} each{failed}"
    shared = "; ".join(filter(None, (one_machine(tally.votes, policy.distinct), intruded(tally.votes))))
    shared = f" ({shared})" if shared else ""
    found = f"{standing.answers} of {len(tally.votes)} answers agree{shared}"
    return f"{found}, {policy.agree} needed{failed}{_ignored(tally)}"


def _tie(standing: Standing) -> str:
    """Return what two groups are that tie."""
    match sum(map(bool, standing.failures)):
        case 0:
            return "two answers"
        case 1:
            return "an answer and a kind of failure"
        case _:
            return "two kinds of failure"


def _ignored(tally: _Tally) -> str:
    """Return how many reports do not count, and why."""
    why = "; ".join(sorted({replica.unheard for replica in tally.unheard}))
    return f"; {len(tally.unheard)} more without a vote ({why})" if why else ""


def _alike(errors: Sequence[Vote]) -> str:
    """Return why they errored, where that is one reason: one kind of failure, or one sentence."""
    first = min(errors, key=lambda replica: replica.number, default=None)
    if first is None or len(errors) == 1 or not first.detail:
        return ""
    kinds = {replica.failure or replica.detail for replica in errors}
    return f", all alike: {first.detail}" if len(kinds) == 1 else ""


def _no_other(policy: QuorumPolicy) -> str:
    """Return which node is missing where no domain is left."""
    fields = [field for field in policy.distinct if field is not Domain.RUN]
    if fields in ([], [Domain.NODE]):
        return "no other node"
    return f"no node with another {' and '.join(fields)}"


def _end(state: TaskState, reason: str, replicas: Sequence[Vote], standing: Standing) -> Decision:
    validations = {replica.number: _unmatched(replica) for replica in replicas if replica.placed}
    return Decision(state=state, agree=standing.answers, reason=reason, validations=validations)


def _progress(policy: QuorumPolicy, standing: Standing, out: int, want: int) -> str:
    text = f"{standing.answers} of {policy.agree} needed agree, {out} out"
    return f"{text}, {want} more wanted" if want else text
