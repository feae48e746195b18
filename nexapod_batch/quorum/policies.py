"""The quorum policies: for each line of `model.job.PolicyName` a module that decides by it.

`decide`, `doubt` and `assess_late` ask the policy of the job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from nexapod_batch.model.job import PolicyName
from nexapod_batch.quorum import strict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.lifecycle import Validation
    from nexapod_batch.model.job import QuorumPolicy
    from nexapod_batch.model.reason import Reason
    from nexapod_batch.quorum.votes import Closeness, Decision, Vote

__all__ = ["Policy", "assess_late", "decide", "doubt", "policy_named"]


class Policy(Protocol):
    """What a policy is asked. An answer is a function of the arguments: no clock, no memory, no order of replicas."""

    def decide(
        self,
        policy: QuorumPolicy,
        replicas: Sequence[Vote],
        *,
        placeable: bool = True,
        close: Closeness | None = None,
        extra: int = 0,
    ) -> Decision:
        """Decide on a task that has not ended.

        Args:
            policy: the numbers of the job's `[quorum]`.
            replicas: every replica of the task, placed or not.
            placeable: whether a node is left that could ever take one more replica; full queues do not count.
            close: compares the outputs of two replicas by number, where a comparator needs both; else None.
            extra: replicas beyond `max_replicas` that retries allowed.

        Raises:
            ValueError: the policy asks for no agreement, or counts no domain.

        """
        ...

    def doubt(
        self, policy: QuorumPolicy, replicas: Sequence[Vote], validations: Mapping[int, Validation]
    ) -> Reason | None:
        """Return why the quorum of an accepted task is no longer met; None while it is.

        Args:
            policy: The numbers of the job's `[quorum]`.
            replicas: Every replica of the task, as it is now.
            validations: How each replica stood when the task was accepted, by its number.

        """
        ...

    def assess_late(
        self,
        policy: QuorumPolicy,
        replicas: Sequence[Vote],
        winners: frozenset[int],
        *,
        close: Closeness | None = None,
    ) -> Mapping[int, Validation]:
        """Return the validation of every placed replica of an accepted task, late ones included; winners stay.

        Args:
            policy: The numbers of the job's `[quorum]`.
            replicas: Every replica of the task, as it is now.
            winners: Numbers of the replicas whose answer was accepted.
            close: Compares the outputs of two replicas by number, where a comparator needs both; else None.

        """
        ...


def policy_named(name: PolicyName) -> Policy:
    """Return the policy of a name."""
    match name:
        case PolicyName.STRICT:
            return strict
        case never:
            assert_never(never)


def decide(
    policy: QuorumPolicy,
    replicas: Sequence[Vote],
    *,
    placeable: bool = True,
    close: Closeness | None = None,
    extra: int = 0,
) -> Decision:
    """Decide on a task that has not ended; see `Policy.decide`."""
    return policy_named(policy.policy).decide(policy, replicas, placeable=placeable, close=close, extra=extra)


def doubt(policy: QuorumPolicy, replicas: Sequence[Vote], validations: Mapping[int, Validation]) -> Reason | None:
    """Return why the quorum of an accepted task is no longer met; None while it is."""
    return policy_named(policy.policy).doubt(policy, replicas, validations)


def assess_late(
    policy: QuorumPolicy, replicas: Sequence[Vote], winners: frozenset[int], *, close: Closeness | None = None
) -> Mapping[int, Validation]:
    """Return the validation of every placed replica of an accepted task; see `Policy.assess_late`."""
    return policy_named(policy.policy).assess_late(policy, replicas, winners, close=close)
