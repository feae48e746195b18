"""The nouns of a quorum: what is known of one replica, and what was decided on its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from nexapod_batch.lifecycle import Execution

if TYPE_CHECKING:
    from nexapod_batch.lifecycle import TaskState, Validation
    from nexapod_batch.model.job import Domain
    from nexapod_batch.model.reason import Reason
    from nexapod_batch.quorum.machines import Boot

__all__ = ["Closeness", "Decision", "Vote", "failure_kind"]

#: The one outcome of which the exit code says more: others name their own cause, and how they are ended may vary.
_BY_EXIT_CODE = "failed"

#: Says whether the outputs of two replicas, by number, are close enough (`allclose`). Symmetric.
Closeness = Callable[[int, int], bool]


class Vote(Struct, frozen=True, kw_only=True):
    """One replica of a task as the quorum sees it; only a `reported` one has a vote."""

    number: int
    domain: Mapping[Domain, str]  # where it ran; a field that is missing is one unknown domain, shared by all
    execution: Execution
    voided: bool = False  # two different valid statements: no vote, and invalid
    answer: bytes | None = None  # digest of the (normalised) outputs
    placed: bool = True  # False: a row that no node was found for; it is as if it were not there
    raw: bytes = b""  # digest of the outputs as they are; breaks ties between centres of `allclose`
    detail: Reason | None = None  # why it errored
    #: Which kind of failure its node signed, as `failure_kind` spells it; "" for none, or unsigned. With an answer:
    #: outputs that cannot be compared, and agree with the same bytes alone.
    failure: str = ""
    no_vote: Reason | None = None  # why it does not count even if it reported
    machine: Boot | None = None  # where `host` counts, two on one machine count as one; None: nobody signed it
    account: str = ""  # that its command ran by where nothing kept it from what else this account has; "" elsewhere
    beside: bool = False  # somebody else's command ran like this by the same account: all these count as one
    run_by: str = ""  # account that made its node's key; "" where nobody noted it
    where: str = ""  # host that its statement names, for people: nobody counts it


    @property
    def withdrawn(self) -> bool:
        """Say whether it had an answer that counts no more: it is void, or its scheduler says otherwise of its end."""
        return self.voided or (self.execution is Execution.ERRORED and self.answer is not None)


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with a task: end it in `state`, or go on and place `want` more replicas."""

    state: TaskState | None  # None: go on
    want: int = 0  # replicas to place beyond those placed already; 0 when the task ended
    agree: int = 0  # size of the leading group, in distinct domains
    reason: Reason
    winners: frozenset[int] = frozenset()  # numbers of the accepted group
    centre: int | None = None  # number of the one that all of them are close to (`allclose`)
    validations: Mapping[int, Validation] = field(default_factory=dict)  # of all placed replicas, when the task ended


def failure_kind(outcome: str, exit_code: int | None) -> str:
    """Return the kind of a failure of the task's own: `failed:7`, `time`, `memory`. Equal kinds agree."""
    if outcome == _BY_EXIT_CODE:
        return f"{outcome}:{exit_code}"
    return outcome
