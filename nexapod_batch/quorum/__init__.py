"""Votes and a policy in, a decision out. No I/O, no clock, no randomness.

- A decision depends on the set of replicas only: not on their order, and not on how often it was asked for.
- A tie is never accepted, and an acceptance holds whatever the replicas that are still out may answer.
- Votes are counted in distinct domains; a domain that answered in two groups supports neither.
"""

from nexapod_batch.quorum.domains import independence, max_distinct
from nexapod_batch.quorum.policies import assess_late, decide, doubt
from nexapod_batch.quorum.votes import Closeness, Decision, Vote, failure_kind

__all__ = [
    "Closeness", "Decision", "Vote", "assess_late", "decide", "doubt", "failure_kind", "independence", "max_distinct",
]  # fmt: skip
