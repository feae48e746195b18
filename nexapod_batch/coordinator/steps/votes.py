"""The replicas of a task as the quorum checker sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.placement.host_sets import confirmed, host_sets, set_name
from nexapod_batch.coordinator.steps.dispatch import domains_of, set_aside
from nexapod_batch.coordinator.steps.shared_accounts import account_of, beside, strangers
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.job import Domain, Isolation, NumericClass
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Vote
from nexapod_batch.quorum.expected import isolation_at_least
from nexapod_batch.quorum.machines import Boot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.basis import JudgedReplica
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store.repositories.replicas import VotingReplica

__all__ = ["Places", "counted", "every_vote", "votes_of"]

_EXECUTIONS = {execution.value: execution for execution in Execution}


class Places:
    """Where the replicas of one job ran, worked out once for each node."""

    def __init__(self, job: Job, nodes: Mapping[int, Node]) -> None:
        """Take the job and all nodes by id."""
        self.job, self.nodes = job, nodes
        self._known: dict[int, Place] = {}

    def __getitem__(self, node_id: int) -> Place:
        """Return what counts of a node's replicas."""
        found = self._known.get(node_id)
        if found is None:
            node = self.nodes[node_id]
            # The quorum makes every replica its own run.
            found = Place(node, domains_of(node, ""), account_of(node), host_sets(self.job, node) > 0)
            self._known[node_id] = found
        return found


class Place(NamedTuple):
    """What counts of the replicas of one node."""

    node: Node
    domain: dict[Domain, str]
    account: str  # by which its commands run
    many_hosts: bool  # hosts count, and it is made of many


def votes_of(
    c: Coordinator,
    places: Places,
    numeric_class: str | None,
    replicas: Sequence[VotingReplica],
    known: Sequence[Stranger] | None = None,
) -> list[Vote]:
    """Return the replicas of one task as the quorum checker sees them; what a retry set aside is not among them."""
    return counted(every_vote(c, places, numeric_class, replicas, known), replicas)


def counted(every: Sequence[Vote], replicas: Sequence[JudgedReplica]) -> list[Vote]:
    """Return the votes, given one for each row, that no retry set aside."""
    return [vote for vote, r in zip(every, replicas, strict=True) if not set_aside(r)]


def every_vote(
    c: Coordinator,
    places: Places,
    numeric_class: str | None,
    replicas: Sequence[VotingReplica],
    known: Sequence[Stranger] | None = None,
) -> list[Vote]:
    """Return all replicas of one task as the quorum checker sees them, one for each row.

    `known` are the strangers that were out meanwhile, where somebody looked already.
    """
    if known is None:
        known = strangers(c, replicas, places.nodes)
    return [_vote(c, places, numeric_class, r, known) for r in replicas]


def _vote(
    c: Coordinator, places: Places, numeric_class: str | None, r: VotingReplica, known: Sequence[Stranger]
) -> Vote:
    """Return one vote."""
    place = places[r.node_id]
    loose = r.isolation == Isolation.NONE
    vote = Vote(
        number=r.number,
        domain=place.domain,
        execution=_EXECUTIONS[r.execution],
        voided=r.voided,
        answer=r.vote,
        detail=Reason.parse(r.reason),
        failure=r.failure,
        no_vote=_no_vote(places.job, numeric_class, r),
        machine=Boot.parse(r.machine),
        account=place.account if loose else "",
        beside=loose and known != [] and beside(known, r, place.account),
        where=r.host or "",
        run_by=place.node.made_by,
    )
    if place.many_hosts:
        return _on_host(c, place, r, vote)
    return vote


def _on_host(c: Coordinator, place: Place, r: VotingReplica, vote: Vote) -> Vote:
    """Return a vote with the host of a cluster on which it counts; it is out until the scheduler says where it ran."""
    launch = c.store.launches.hosts(r.launch_id)
    if confirmed(vote.where, launch.hosts):
        return replace(vote, domain={**vote.domain, Domain.HOST: f"{place.domain[Domain.HOST]}/{vote.where}"})
    vote = replace(vote, domain={**vote.domain, Domain.HOST: set_name(place.node, launch.host_set)})
    signed = vote.execution is Execution.REPORTED or (vote.execution is Execution.ERRORED and vote.failure)
    if signed and not launch.hosts:
        return replace(vote, execution=Execution.RUNNING)
    return replace(vote, no_vote=vote.no_vote or Reason(code=Code.HOST_UNCONFIRMED))


def _no_vote(job: Job, numeric_class: str | None, r: VotingReplica) -> Reason | None:
    """Return why a report does not count whatever it says; None if it counts."""
    if job.quorum.numeric_class is not NumericClass.ANY and r.numeric_class != numeric_class:
        return Reason(code=Code.OTHER_CLASS, parameters={"class": job.quorum.numeric_class})
    least = job.quorum.min_isolation
    if r.execution == Execution.REPORTED and not isolation_at_least(r.isolation or Isolation.NONE, least):
        return Reason(code=Code.TOO_LITTLE_ISOLATION, parameters={"isolation": r.isolation, "wanted": least})
    return None
