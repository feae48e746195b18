"""Asking the quorum checker about every task with news, and writing down what it says.

Decisions are functions of the replicas alone, so a pass may be repeated or interrupted anywhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch import log
from nexapod_batch.coordinator.evidence.basis import basis_of
from nexapod_batch.coordinator.evidence.closeness import Measuring, tolerant
from nexapod_batch.coordinator.evidence.recompute import decision_then, late_validations
from nexapod_batch.coordinator.pass_faults import told
from nexapod_batch.coordinator.placement.host_sets import confirmed, host_sets, set_name
from nexapod_batch.coordinator.steps.dispatch import MAX_BACKOFF_S, domains_of, set_aside
from nexapod_batch.coordinator.steps.shared_accounts import account_of, beside, strangers
from nexapod_batch.errors import ConfigError, NexapodError, SchedulerError, TryAgainError
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState
from nexapod_batch.model.job import Domain, Isolation, NumericClass
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.quorum import Decision, Vote, decide, doubt
from nexapod_batch.quorum.expected import isolation_at_least
from nexapod_batch.quorum.machines import Boot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.steps.shared_accounts import Stranger
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["Places", "decide_news", "decide_task", "every_vote", "votes_of"]

#: Tasks decided in one transaction.
BATCH = 500
#: Losses after which placing again waits.
PATIENT_LOSSES = 2


def decide_news(c: Coordinator, faults: dict[str, str]) -> int:
    """Decide every task with news; return how many. Replicas that are no longer needed are owed a stop afterwards.

    A task whose outputs must be compared and cannot be read now keeps its news for a later pass.
    """
    decided = 0
    nodes = c.nodes_by_id()
    for row in c.store.all("jobs_with_news"):
        job = c.job(row["job_id"])
        waits: dict[int, NexapodError] = {}
        while True:
            found = c.store.all("tasks_with_news", job=row["job_id"], limit=BATCH + len(waits))
            tasks = [task for task in found if task["idx"] not in waits]
            if not tasks:
                break
            with c.store.atomic():
                _decide(c, row["job_id"], job, tasks, nodes, waits, placeable=True)
                c.store.run("job_finished", job=row["job_id"], now=c.now())
            decided += len(tasks)
        decided -= len(waits)
        for task, error in waits.items():
            if not told(faults, error):
                faults[f"decide:{row['job_id']}"] = f"task {row['job_id']}_{task} waits: {error}"
                break
    return decided


def decide_task(c: Coordinator, job_id: int, task: int, *, placeable: bool) -> None:
    """Decide one task, with the planner's word on whether another replica could be placed at all."""
    row = c.store.only("task", job=job_id, task=task)
    with c.store.atomic():
        _decide(c, job_id, c.job(job_id), [row], c.nodes_by_id(), {}, placeable=placeable)
        c.store.run("job_finished", job=job_id, now=c.now())


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
    c: Coordinator, places: Places, klass: str | None, replicas: Sequence[Row], known: Sequence[Stranger] | None = None
) -> list[Vote]:
    """Return the replicas of one task as the quorum checker sees them; what a retry set aside is not among them."""
    every = every_vote(c, places, klass, replicas, known)
    return [vote for vote, r in zip(every, replicas, strict=True) if not set_aside(r)]


def every_vote(
    c: Coordinator, places: Places, klass: str | None, replicas: Sequence[Row], known: Sequence[Stranger] | None = None
) -> list[Vote]:
    """Return all replicas of one task as the quorum checker sees them, one for each row.

    `known` are the strangers that were out meanwhile, where somebody looked already.
    """
    if known is None:
        known = strangers(c, replicas, places.nodes)
    return [_vote(c, places, klass, r, known) for r in replicas]


def _vote(c: Coordinator, places: Places, klass: str | None, r: Row, known: Sequence[Stranger]) -> Vote:
    """Return one vote; where hosts of a cluster count it is out until the scheduler says where it ran."""
    place = places[r["node_id"]]
    execution, no_vote, domain = Execution(r["execution"]), _no_vote(places.job, klass, r), place.domain
    if place.many_hosts:
        launch = c.store.only("launch_hosts", id=r["launch_id"])
        said, told = r["host"] or "", launch["hosts"]
        sure = confirmed(said, told)
        host = f"{place.node.name}/{said}" if sure else set_name(place.node, launch["host_set"])
        domain = {**domain, Domain.HOST: host}
        if execution is Execution.REPORTED and not told:
            execution = Execution.RUNNING
        elif not sure:
            no_vote = no_vote or Reason(code=Code.HOST_UNCONFIRMED)
    loose = r["isolation"] == Isolation.NONE
    return Vote(
        number=r["number"],
        domain=domain,
        execution=execution,
        voided=r["voided"] != 0,
        answer=r["vote"],
        detail=Reason.text(r["reason"]) if r["reason"] else None,
        failure=r["failure"],
        no_vote=no_vote,
        machine=Boot.parse(r["machine"]),
        account=place.account if loose else "",
        beside=loose and known != [] and beside(known, r, place.account),
        where=r["host"] or "",
    )


def _no_vote(job: Job, klass: str | None, r: Row) -> Reason | None:
    """Return why a report does not count whatever it says; None if it counts."""
    if job.quorum.numeric_class is not NumericClass.ANY and r["class"] != klass:
        return Reason(code=Code.OTHER_CLASS, parameters={"class": job.quorum.numeric_class})
    least = job.quorum.min_isolation
    if r["execution"] == Execution.REPORTED and not isolation_at_least(r["isolation"] or Isolation.NONE, least):
        return Reason(code=Code.TOO_LITTLE_ISOLATION, parameters={"isolation": r["isolation"], "wanted": least})
    return None


def _decide(
    c: Coordinator,
    job_id: int,
    job: Job,
    tasks: Sequence[Row],
    nodes: dict[int, Node],
    waits: dict[int, NexapodError],
    *,
    placeable: bool,
) -> None:
    """Decide some tasks of one job inside the caller's transaction; what cannot be decided now is put in `waits`."""
    of_task: dict[int, list[Row]] = defaultdict(list)
    indexes = json.dumps([t["idx"] for t in tasks])
    for replica in c.store.all("replicas_of_tasks", job=job_id, tasks=indexes):
        of_task[replica["task"]].append(replica)
    now = c.now()
    moved, judged, unneeded, quiet, doubted = [], [], [], [], []
    known = strangers(c, [one for replicas in of_task.values() for one in replicas], nodes)
    places = Places(job, nodes)
    for task in tasks:
        replicas = of_task[task["idx"]]
        votes = votes_of(c, places, task["class"], replicas, known)
        state = TaskState(task["state"])
        if state in TASK_ENDED:
            quiet.append((job_id, task["idx"]))
            if state is TaskState.ACCEPTED:
                late, why = _late(job, task, every_vote(c, places, task["class"], replicas), replicas)
                judged += late
                stored = why.stored() if why else ""
                doubted.append((stored, job_id, task["idx"], stored))
            continue
        measuring = Measuring(c, job, replicas, nodes) if tolerant(job) else None
        try:
            decision = _ask(job, votes, measuring, extra=task["extra"], placeable=placeable)
        except (SchedulerError, ConfigError, TryAgainError) as error:
            waits[task["idx"]] = error
            continue
        new = decision.state or (TaskState.ACTIVE if replicas else state)
        basis = basis_of([r["number"] for r in replicas], votes) if new in TASK_ENDED else None
        record = {} if measuring is None else measuring.record(decision.centre)
        if intruded := [vote.number for vote in votes if vote.beside]:
            record["beside"] = intruded
        measured = json.dumps(record) if record and basis is not None else None
        wait = _backoff(replicas) * 1000
        not_before = now + wait if decision.want and wait else 0
        counts = decision.want, decision.agree, decision.reason.stored()
        log.debug(
            __name__, "decided", task=f"{job_id}_{task['idx']}", state=new.value,
            agree=decision.agree, want=decision.want,
        )  # fmt: skip
        moved.append((new.value, *counts, not_before, basis, measured, job_id, task["idx"]))
        for r in replicas:
            validation = decision.validations.get(r["number"])
            if validation is not None:
                judged.append((validation.value, r["id"], validation.value))
            # What runs already is let run: its report comes late, is compared and may name a liar.
            if new in TASK_ENDED and r["execution"] in {Execution.CREATED, Execution.SUBMITTED, Execution.QUEUED}:
                unneeded.append((now, r["id"]))
    c.store.many("task_decided", moved)
    c.store.many("task_quiet", quiet)
    c.store.many("task_doubted", doubted)
    c.store.many("replica_judged", judged)
    c.store.many("replica_unneeded", unneeded)
    c.store.many("stop_owe", [(replica_id,) for _, replica_id in unneeded])


def _ask(job: Job, votes: Sequence[Vote], measuring: Measuring | None, *, extra: int, placeable: bool) -> Decision:
    """Return the decision, with outputs compared within tolerances where the job asks for it."""
    if measuring is None:
        return decide(job.quorum, votes, placeable=placeable, extra=extra)
    return measuring.decide(
        votes, lambda heard, close: decide(job.quorum, heard, placeable=placeable, close=close, extra=extra)
    )


def _late(
    job: Job, task: Row, every: Sequence[Vote], replicas: Sequence[Row]
) -> tuple[list[tuple[str, int, str]], Reason | None]:
    """Judge replicas that came after the verdict, and winners that were voided; say why the quorum is in doubt."""
    if task["basis"] is not None and len(task["basis"]) == len(replicas):
        decision = decision_then(job, every, task)
    else:  # of a verdict from before its basis was kept
        winners = frozenset(r["number"] for r in replicas if r["validation"] == "valid")
        decision = Decision(state=TaskState.ACCEPTED, reason=Reason(code=Code.ACCEPTED), winners=winners)
    votes = [vote for vote, r in zip(every, replicas, strict=True) if not set_aside(r)]
    late = late_validations(job, votes, decision)
    judged = []
    for r in replicas:
        validation = late.get(r["number"])
        if validation is not None:
            judged.append((validation.value, r["id"], validation.value))
    return judged, doubt(job.quorum, votes, late)


def _backoff(replicas: Sequence[Row]) -> int:
    """Return how many seconds to wait before placing again: none at first, then doubling with every loss."""
    losses = sum(r["execution"] == Execution.LOST and not set_aside(r) for r in replicas)
    return min(MAX_BACKOFF_S, 2 ** (losses - PATIENT_LOSSES - 1)) if losses > PATIENT_LOSSES else 0
