"""Asking the quorum checker about every task with news, and writing down what it says.

Decisions are functions of the replicas alone, so a pass may be repeated or interrupted anywhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch.compare import allclose
from nexapod_batch.coordinator.dispatch import MAX_BACKOFF_S, domains_of, set_aside
from nexapod_batch.coordinator.faults import told
from nexapod_batch.coordinator.hosts import confirmed, host_sets, set_name
from nexapod_batch.coordinator.outputs import outputs_of, rule_for
from nexapod_batch.errors import CompareError, ConfigError, SchedulerError, UnsafeOutputError
from nexapod_batch.lifecycle import TASK_ENDED, Execution, TaskState, Validation
from nexapod_batch.model.job import Comparator, NumericClass
from nexapod_batch.quorum import Vote, assess_late, decide
from nexapod_batch.quorum.machines import Boot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.store import Row

__all__ = ["close_for", "decide_news", "decide_task", "votes_of"]

#: Tasks decided in one transaction.
BATCH = 500
#: Losses after which placing again waits.
PATIENT_LOSSES = 2


def decide_news(c: Coordinator, faults: dict[str, str]) -> tuple[int, list[int]]:
    """Decide every task with news; return how many, and the row ids of replicas that are no longer needed.

    Where outputs must be compared that cannot be fetched now, the job keeps its news for a later pass.
    """
    decided, unneeded = 0, []
    nodes = c.nodes_by_id()
    for row in c.store.all("jobs_with_news"):
        job = c.job(row["job_id"])
        while tasks := c.store.all("tasks_with_news", job=row["job_id"], limit=BATCH):
            try:
                with c.store.atomic():
                    unneeded += _decide(c, row["job_id"], job, tasks, nodes, placeable=True)
                    c.store.run("job_finished", job=row["job_id"], now=c.now())
            except (SchedulerError, ConfigError) as error:
                if not told(faults, error):
                    faults[f"decide:{row['job_id']}"] = f"job {row['job_id']}: outputs cannot be fetched: {error}"
                break
            decided += len(tasks)
    return decided, unneeded


def decide_task(c: Coordinator, job_id: int, task: int, *, placeable: bool) -> None:
    """Decide one task, with the planner's word on whether another replica could be placed at all."""
    row = c.store.only("task", job=job_id, task=task)
    with c.store.atomic():
        _decide(c, job_id, c.job(job_id), [row], c.nodes_by_id(), placeable=placeable)
        c.store.run("job_finished", job=job_id, now=c.now())


def votes_of(
    c: Coordinator, job: Job, klass: str | None, replicas: Sequence[Row], nodes: dict[int, Node]
) -> list[Vote]:
    """Return the replicas of one task as the quorum checker sees them; what a retry set aside is not among them."""
    # The quorum makes every replica its own run.
    domains = {node_id: domains_of(nodes[node_id], "") for node_id in {r["node_id"] for r in replicas}}
    split = any(host_sets(job, nodes[node_id]) for node_id in domains)
    return [
        Vote(
            number=r["number"],
            domain=domains[r["node_id"]],
            execution=Execution(r["execution"]),
            voided=bool(r["voided"]),
            answer=r["vote"],
            detail=r["reason"],
            failure=r["failure"],
            unheard=_unheard(job, klass, r),
            machine=Boot.parse(r["machine"]),
            where=r["host"] or "",
        )
        if not split
        else _vote_on_host(c, job, klass, r, nodes[r["node_id"]])
        for r in replicas
        if not set_aside(r)
    ]


def _vote_on_host(c: Coordinator, job: Job, klass: str | None, r: Row, node: Node) -> Vote:
    """Return a vote where hosts of a cluster count: it is out until the scheduler says where it ran."""
    execution, unheard = Execution(r["execution"]), _unheard(job, klass, r)
    if host_sets(job, node):
        launch = c.store.only("launch_hosts", id=r["launch_id"])
        said, told = r["host"] or "", launch["hosts"]
        sure = confirmed(said, told)
        node = replace(node, host=f"{node.name}/{said}" if sure else set_name(node, launch["host_set"]))
        if execution is Execution.REPORTED and not told:
            execution = Execution.RUNNING
        elif not sure:
            unheard = unheard or "the scheduler does not confirm its host"
    return Vote(
        number=r["number"],
        domain=domains_of(node, ""),
        execution=execution,
        voided=bool(r["voided"]),
        answer=r["vote"],
        detail=r["reason"],
        failure=r["failure"],
        unheard=unheard,
        machine=Boot.parse(r["machine"]),
        where=r["host"] or "",
    )


def _unheard(job: Job, klass: str | None, r: Row) -> str:
    """Return why a report does not count whatever it says, or ""."""
    if job.quorum.numeric_class is NumericClass.ANY or r["class"] == klass:
        return ""
    return f"another {job.quorum.numeric_class} than the task's"


def close_for(
    c: Coordinator, job: Job, replicas: Sequence[Row], nodes: dict[int, Node]
) -> Callable[[int, int], bool] | None:
    """Return how two replicas are compared within tolerances, or None when every output has a digest to compare."""
    if all(output.rule.comparator is not Comparator.ALLCLOSE for output in job.outputs):
        return None
    rows = {r["number"]: r for r in replicas}

    def close(left: int, right: int) -> bool:
        if rows[left]["vote"] != rows[right]["vote"]:
            return False
        try:
            a, b = (outputs_of(c, nodes[rows[n]["node_id"]], rows[n]) for n in (left, right))
            for name in a.files:
                rule = rule_for(job, rows[left]["task"], name)
                if rule.comparator is Comparator.ALLCLOSE:
                    with a.open(name) as one, b.open(name) as two:
                        if allclose(one, two, name, rule) is not None:
                            return False
        except (CompareError, UnsafeOutputError):
            return False
        return True

    return close


def _decide(
    c: Coordinator, job_id: int, job: Job, tasks: Sequence[Row], nodes: dict[int, Node], *, placeable: bool
) -> list[int]:
    """Decide some tasks of one job inside the caller's transaction."""
    of_task: dict[int, list[Row]] = defaultdict(list)
    indexes = json.dumps([t["idx"] for t in tasks])
    for replica in c.store.all("replicas_of_tasks", job=job_id, tasks=indexes):
        of_task[replica["task"]].append(replica)
    now = c.now()
    moved, judged, unneeded, quiet = [], [], [], []
    for task in tasks:
        replicas = of_task[task["idx"]]
        votes = votes_of(c, job, task["class"], replicas, nodes)
        state = TaskState(task["state"])
        if state in TASK_ENDED:
            quiet.append((job_id, task["idx"]))
            if state is TaskState.ACCEPTED:
                judged += _late(job, votes, replicas)
            continue
        close = close_for(c, job, replicas, nodes)
        decision = decide(job.quorum, votes, placeable=placeable, close=close, extra=task["extra"])
        new = decision.state or (TaskState.ACTIVE if replicas else state)
        want = decision.want
        wait = _backoff(replicas) * 1000
        moved.append(
            (new.value, want, decision.agree, decision.reason, now + wait if want and wait else 0, job_id, task["idx"])
        )
        for r in replicas:
            validation = decision.validations.get(r["number"])
            if validation is not None:
                judged.append((validation.value, r["id"], validation.value))
            # What runs already is let run: its report comes late, is compared and may name a liar.
            if new in TASK_ENDED and r["execution"] in {Execution.CREATED, Execution.SUBMITTED, Execution.QUEUED}:
                unneeded.append((now, r["id"]))
    c.store.many("task_decided", moved)
    c.store.many("task_quiet", quiet)
    c.store.many("replica_judged", judged)
    c.store.many("replica_unneeded", unneeded)
    return [replica_id for _, replica_id in unneeded]


def _late(job: Job, votes: Sequence[Vote], replicas: Sequence[Row]) -> list[tuple[str, int, str]]:
    """Judge replicas that came after the verdict.

    Where values are compared within tolerances the accepted work folders may be gone: then they stay inconclusive.
    """
    winners = frozenset(r["number"] for r in replicas if r["validation"] == "valid")
    late = assess_late(job.quorum, votes, winners)
    tolerant = any(output.rule.comparator is Comparator.ALLCLOSE for output in job.outputs)
    judged = []
    for r in replicas:
        if r["number"] in late and r["number"] not in winners:
            validation = late[r["number"]]
            if tolerant and validation is Validation.VALID:
                validation = Validation.INCONCLUSIVE
            judged.append((validation.value, r["id"], validation.value))
    return judged


def _backoff(replicas: Sequence[Row]) -> int:
    """Return how many seconds to wait before placing again: none at first, then doubling with every loss."""
    losses = sum(r["execution"] == Execution.LOST and not set_aside(r) for r in replicas)
    return min(MAX_BACKOFF_S, 2 ** (losses - PATIENT_LOSSES - 1)) if losses > PATIENT_LOSSES else 0
