"""Why a task was decided as it was: codes and their parameters, no sentences.

Parameters that say nothing (no errors, no reports without a vote) are left out, so that a verdict of an older version
is still the same when it is worked out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.model.job import Domain
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum.domains import addresses_of_one_machine, independence, one_account, shared_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.job import QuorumPolicy
    from nexapod_batch.quorum.tally import Tally
    from nexapod_batch.quorum.vote_count import Standing
    from nexapod_batch.quorum.votes import Vote

__all__ = ["accepted", "doubted", "failed_alike", "no_domain_left", "too_many", "undecided", "used_up"]


def accepted(tally: Tally, winners: frozenset[int]) -> Reason:
    """Return that enough agree, and what independence they have."""
    won = [vote for vote in tally.votes if vote.number in winners]
    parameters = {"winners": len(winners), "votes": len(tally.votes), "independence": independence(won)}
    if one_account(won):
        parameters["one_account"] = True
    return Reason(code=Code.ACCEPTED, parameters=parameters)


def failed_alike(tally: Tally, standing: Standing) -> Reason:
    """Return that the leading answer is one kind of failure."""
    failed = [vote for vote in tally.failures if vote.number in standing.winners]
    first = min(failed, key=lambda vote: vote.number)
    parameters = {"failed": len(failed), "placed": tally.placed, "detail": first.detail or Reason.text(first.failure)}
    return Reason(code=Code.FAILED_ALIKE, parameters=parameters)


def too_many(policy: QuorumPolicy, tally: Tally) -> Reason:
    """Return that too many replicas failed, or were lost."""
    if len(tally.errors) > policy.max_errors:
        parameters = {**_errors(tally), "max_errors": policy.max_errors}
        return Reason(code=Code.TOO_MANY_ERRORS, parameters=parameters)
    return Reason(code=Code.TOO_MANY_LOST, parameters={"lost": tally.lost, "max_lost": policy.max_lost})


def undecided(policy: QuorumPolicy, standing: Standing, out: int, want: int) -> Reason:
    """Return how far a task is that goes on."""
    parameters = {"agree": standing.answers, "needed": policy.agree, "out": out, "want": want}
    return Reason(code=Code.UNDECIDED, parameters=parameters)


def no_domain_left(policy: QuorumPolicy, tally: Tally, standing: Standing) -> Reason:
    """Return that another replica is needed, and which fields its node would have to have anew."""
    fields = [field.value for field in policy.distinct if field is not Domain.RUN]
    return Reason(code=Code.NO_DOMAIN_LEFT, parameters={"found": _found(policy, tally, standing), "fields": fields})


def used_up(policy: QuorumPolicy, tally: Tally, standing: Standing, extra: int) -> Reason:
    """Return that another replica is needed, and no more may be placed; `extra` of them were allowed by retries."""
    parameters = {"found": _found(policy, tally, standing), "max_replicas": policy.max_replicas}
    if extra:
        parameters["extra"] = extra
    return Reason(code=Code.USED_UP, parameters=parameters)


def doubted(policy: QuorumPolicy, withdrawn: Sequence[Vote], left: int) -> Reason:
    """Return which answers were withdrawn since, and how many still agree."""
    numbers = sorted(vote.number for vote in withdrawn)
    parameters: dict[str, Any] = {"replicas": numbers, "agree": left, "needed": policy.agree}
    if any(vote.detail is not None and vote.detail.code == Code.KEY_REVOKED for vote in withdrawn):
        parameters["revoked"] = True
    elif any(vote.detail is not None and vote.detail.code == Code.NOT_POSSESSED for vote in withdrawn):
        parameters["not_possessed"] = True
    elif not any(vote.voided for vote in withdrawn):
        parameters["overruled"] = True
    return Reason(code=Code.DOUBTED, parameters=parameters)


def _found(policy: QuorumPolicy, tally: Tally, standing: Standing) -> Reason:
    """Return what the votes came to, where that is no result."""
    errors = _errors(tally) if tally.errors else {}
    if standing.leader >= policy.agree and standing.leader == standing.second:
        failures = sum(map(bool, standing.failures))
        return Reason(code=Code.TIE, parameters={"size": standing.leader, "failures": failures, **errors})
    parameters: dict[str, Any] = {"agree": standing.answers, "votes": len(tally.votes), "needed": policy.agree}
    addresses = addresses_of_one_machine(tally.votes, policy.distinct)
    if addresses:
        parameters["one_machine"] = addresses
    if shared_account(tally.votes):
        parameters["shared_account"] = True
    parameters |= errors
    if tally.without_vote:
        why = {_stored(vote.no_vote): vote.no_vote for vote in tally.without_vote}
        parameters["without_vote"] = len(tally.without_vote)
        parameters["why_not"] = [why[key] for key in sorted(why)]
    return Reason(code=Code.TOO_FEW_AGREE, parameters=parameters)


def _errors(tally: Tally) -> dict[str, Any]:
    """Return how many failed; and why, where that is one reason: one kind of failure, or one sentence."""
    parameters: dict[str, Any] = {"failed": len(tally.errors), "placed": tally.placed}
    alike = _detail_of_all(tally.errors)
    if alike is not None:
        parameters["alike"] = alike
    return parameters


def _detail_of_all(errors: Sequence[Vote]) -> Reason | None:
    """Return what the first error says, if all are of its kind; else None."""
    if not errors:
        return None
    first = min(errors, key=lambda replica: replica.number)
    kinds = {replica.failure or _stored(replica.detail) for replica in errors}
    if len(kinds) == 1:
        return first.detail
    return None


def _stored(reason: Reason | None) -> str:
    if reason is None:
        return ""
    return reason.stored()
