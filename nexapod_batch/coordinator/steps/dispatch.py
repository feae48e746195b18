"""Placing replicas: plan, write the intent, then hand the signed bundles to the backends.

The intent (launch and replica rows with the sealed bundle) is committed before a backend is spoken to. After a crash
the same bytes are handed over again under the same launch key, and the runner's claim keeps execution at most once.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from itertools import count, filterfalse
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nexapod_batch import log
from nexapod_batch.coordinator.nodes.keys import check_key
from nexapod_batch.coordinator.nodes.registry import usable
from nexapod_batch.coordinator.placement import images
from nexapod_batch.coordinator.placement.eligibility import loads_of
from nexapod_batch.coordinator.placement.host_sets import as_set, host_sets, node_and_set, split
from nexapod_batch.coordinator.placement.input_cache import unstage
from nexapod_batch.coordinator.placement.kept_inputs import drop_changed
from nexapod_batch.coordinator.placement.node_fetch import fetched_by
from nexapod_batch.coordinator.placement.on_the_way import sending
from nexapod_batch.coordinator.placement.start_failures import resting
from nexapod_batch.coordinator.placement.task_files import digests_of_launch, kept_files
from nexapod_batch.coordinator.steps import following_jobs, restored_database
from nexapod_batch.coordinator.steps.continuations import digests_of, given, going_on, pinned
from nexapod_batch.coordinator.steps.intents import Ready, write_intents
from nexapod_batch.coordinator.steps.launch_endings import end_launch, launch_reason, reason_of
from nexapod_batch.errors import NexapodError
from nexapod_batch.files.atomic import is_full
from nexapod_batch.lifecycle import Execution, TaskState
from nexapod_batch.model.job import Domain
from nexapod_batch.model.reason import Code, Reason
from nexapod_batch.planner import Need, plan
from nexapod_batch.plugins import Launch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.basis import JudgedReplica
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.coordinator.placement.on_the_way import OnTheWay
    from nexapod_batch.coordinator.steps.continuations import States
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.planner import NodeLoad
    from nexapod_batch.store.repositories.jobs import JobRow
    from nexapod_batch.store.repositories.launches import LaunchEnvelope
    from nexapod_batch.store.repositories.replicas import VotingReplica
    from nexapod_batch.store.repositories.tasks import PlaceableTask

__all__ = ["dispatch", "domains_of", "hand_over", "needs_of", "set_aside"]

#: Reason of a replica whose deadline passed: it may still report, so it keeps its domain.
OVERDUE = Reason(code=Code.OVERDUE).stored()
#: The longest wait, in seconds, before a task is placed again after losses.
MAX_BACKOFF_S = 300
#: Tasks planned at once.
PLAN_MAX = 5_000


def dispatch(
    c: Coordinator, faults: Faults, without: Collection[int] = (), end: float | None = None, first_job: int = 0
) -> tuple[int, list[tuple[int, int]]]:
    """Place what wants to be placed; return how many replicas, and the tasks for which no domain is left.

    The caller holds the writer's lock. `faults` collects what went wrong, by node. Nodes `without` whose ids we do
    are there, but cannot be used now. At the time `end` no other job is begun with; jobs before `first_job` wait.
    """
    nodes = [node for node in usable(c, faults) if node.active]
    all_there = len(nodes) == sum(node.active for node in c.nodes())
    if not nodes:
        return 0, []
    rests = resting(c)
    for node in nodes:
        if node.id in rests:
            faults.add(Code.REST_FAULT, node.name, node=node.name, reason=rests[node.id])
    wanting = [row for row in c.store.jobs.wanting() if row.id >= first_job]
    launched, stuck = _place_jobs(c, wanting, nodes, without, faults, end)
    return launched, stuck if all_there else []  # else a site whose file is faulty now may still have room for them


def _place_jobs(
    c: Coordinator, jobs: Sequence[JobRow], nodes: Sequence[Node], without: Collection[int], faults: Faults,
    end: float | None,
) -> tuple[int, list[tuple[int, int]]]:
    """Place job after job until the nodes are full or the time is over; return replicas, and tasks without domain."""
    out = Counter(c.store.nodes.out())
    launched, exhausted = 0, []
    for wanting in jobs:
        free = sum(max(0, node.max_queued - out[node.id]) for node in nodes)
        over = end is not None and time.monotonic() >= end
        if free == 0 or (launched and over):
            break
        row = following_jobs.ready(c, wanting)
        if row is None:
            continue
        limit = _most_replicas(c, row, free)
        if limit <= 0:
            continue
        job = c.job(row.id)
        loads = split(job, loads_of(c, job, nodes, out, foreign=row.foreign, away=without))
        placed, stuck = _place(c, row, job, loads, limit, faults)
        exhausted += [(row.id, task) for task in stuck]
        launched += placed.total()
        out += placed
    return launched, exhausted


def _most_replicas(c: Coordinator, row: JobRow, free: int) -> int:
    """Return how many replicas of a job may be placed at once."""
    limit = min(free, PLAN_MAX)
    if row.max_running is None:
        return limit
    return min(limit, row.max_running - c.store.jobs.replicas_out(row.id))


def needs_of(c: Coordinator, job_id: int, tasks: Sequence[PlaceableTask]) -> list[Need]:
    """Return what the planner needs to know of some tasks: how many, and which domains they already use."""
    nodes, job = c.nodes_by_id(), c.job(job_id)
    taken: dict[int, list[Mapping[Domain, str]]] = defaultdict(list)
    networks: dict[int, set[str]] = defaultdict(set)
    lost_on: dict[int, set[int]] = defaultdict(set)
    begun = [row.idx for row in tasks if row.state != TaskState.WAITING]
    for row in c.store.replicas.of_tasks(job_id, begun) if begun else ():
        if not _keeps_its_domain(row):
            if row.execution == Execution.LOST:
                lost_on[row.task].add(row.node_id)
            continue
        node = nodes[row.node_id]
        if host_sets(job, node):
            index = c.store.launches.hosts(row.launch_id).host_set
            node = as_set(node, index)
        taken[row.task].append(domains_of(node, f"{row.id}"))
        networks[row.task].update(node.networks)
    return [
        Need(
            task=t.idx, want=t.want, taken=tuple(taken[t.idx]), networks=frozenset(networks[t.idx]),
            numeric_class=t.numeric_class, lost_on=frozenset(lost_on[t.idx]),
        )
        for t in tasks
    ]  # fmt: skip


def _keeps_its_domain(replica: VotingReplica) -> bool:
    """Say whether no other replica of the task may run where this one did."""
    if replica.execution == Execution.LOST and replica.reason == OVERDUE:
        return True
    return replica.execution not in {Execution.LOST, Execution.CANCELLED} and not set_aside(replica)


def domains_of(node: Node, run: str) -> dict[Domain, str]:
    """Return the failure domains of a replica on a node, from the registry."""
    return {field: node.domain(field, run) for field in Domain}


def set_aside(replica: JudgedReplica) -> bool:
    """Say whether a retry took this replica, which brought no vote, out of the count."""
    return replica.validation == "unneeded" and replica.execution in {"errored", "lost", "cancelled"}


def _keep_refusal(c: Coordinator, ids: Iterable[int], error: Exception) -> None:
    """Keep why launches wait that no backend has taken yet."""
    reason = Reason(code=Code.NOT_HANDED, parameters={"text": " ".join(str(error).split())})
    with c.store.atomic():
        c.store.launches.note_waiting([launch_reason(launch_id, reason) for launch_id in ids])


def hand_over(c: Coordinator, node: Node, launches: Iterable[int], faults: Faults) -> None:
    """Give launches of a node to its backend, and note that it has them; a refusal is tried again later."""
    ids = list(launches)
    if not ids:
        return
    rows = [c.store.launches.envelope(launch_id) for launch_id in ids]
    wanted = [_launch(c, node, launch_id, row) for launch_id, row in zip(ids, rows, strict=True)]
    try:
        answers = c.backend(node).launch(c.context(node), wanted)
    except (NexapodError, OSError) as error:
        faults.of_node(Code.LAUNCH_FAULT, node, error)
        _keep_refusal(c, ids, error)
        return
    log.info(
        __name__, "handed over", node=node.name, launches=len(wanted), replicas=sum(one.replicas for one in wanted),
    )  # fmt: skip
    handed: list[tuple[str, str]] = []
    with c.store.atomic():
        for launch_id, row in zip(ids, rows, strict=True):
            answer = answers.get(row.key)
            if isinstance(answer, str):
                handed.append((row.key, answer))
            elif answer is not None:
                end_launch(c, launch_id, answer)  # over at once: who submitted hears it at once
                if answer.task_fault:
                    about = f"{node.name}:{row.job_id}"
                    why = reason_of(answer)
                    faults.add(Code.JOB_REFUSED_FAULT, about, node=node.name, job=row.job_id, reason=why)
        c.store.launches.hand_over(handed)


def _launch(c: Coordinator, node: Node, launch_id: int, row: LaunchEnvelope) -> Launch:
    """Return a launch as its backend takes it."""
    job = c.job(row.job_id)
    host_set = None
    if row.host_set >= 0:
        host_set = (row.host_set, host_sets(job, node))
    inputs = digests_of_launch(c, job, launch_id)
    return Launch(
        key=row.key, envelope=row.envelope, seed=row.seed or b"", job=job, replicas=row.replicas, inputs=inputs,
        host_set=host_set,
    )  # fmt: skip


def _place(
    c: Coordinator, row: JobRow, job: Job, loads: Sequence[NodeLoad], limit: int, faults: Faults
) -> tuple[Counter[int], list[int]]:
    """Plan one job's tasks, write the intents, hand them over; return replicas by node, and tasks without domain."""
    tasks = _wanting(c, row, job, limit)
    needs = _within(needs_of(c, row.id, tasks), limit)
    placed: Counter[int] = Counter()
    if not needs:
        return placed, []
    states: States = {}
    if job.checkpoint is not None:
        waiting = going_on(c, row.id, [t.idx for t in tasks if t.state != TaskState.WAITING])
        needs, states = pinned(c, job, needs, waiting, loads, faults)
    result = plan(job, needs, loads)
    by_node: dict[int, list[int]] = defaultdict(list)
    for task, number in result.placements:
        by_node[number].append(task)
    known = c.nodes_by_id()
    nodes = {number: known[node_and_set(number)[0]] for number in by_node}
    ready = _all_ready(c, nodes, row.id, by_node, states, faults)
    launches = {}
    with c.store.atomic(), c.store.ledger.appending():
        counts = Counter(task for number in ready for task in by_node[number])
        numbers = _free_numbers(c, row.id, sorted(counts))
        for number, one in ready.items():
            host_set = node_and_set(number)[1]
            going = given(states, number, by_node[number])
            launches[number] = write_intents(c, row, job, nodes[number], by_node[number], numbers, one, host_set, going)
        c.store.tasks.placed(row.id, ((task, n, result.classes.get(task)) for task, n in counts.items()))
        c.store.tasks.blocked(row.id, _stored(result.blocked))
    restored_database.mark(c)
    for number, ids in launches.items():
        hand_over(c, nodes[number], ids, faults)
        placed[nodes[number].id] += len(by_node[number])
    return placed, sorted(result.unplaceable)


def _wanting(c: Coordinator, row: JobRow, job: Job, limit: int) -> Sequence[PlaceableTask]:
    """Return tasks that want replicas now and have their inputs, this many at most."""
    known = following_jobs.placeable(job)
    among = limit if known is None else job.n_tasks
    tasks = c.store.tasks.wanting(row.id, now=c.now(), limit=among, longest_ms=MAX_BACKOFF_S * 1000)
    if known is None:
        return tasks
    return [task for task in tasks if task.idx in known][:limit]


def _within(needs: Iterable[Need], limit: int) -> list[Need]:
    """Return the first needs, cut so that they ask for at most `limit` replicas."""
    found: list[Need] = []
    for need in needs:
        if limit <= 0:
            break
        found.append(need if need.want <= limit else replace(need, want=limit))
        limit -= need.want
    return found


def _stored(blocked: Mapping[int, Reason]) -> Iterator[tuple[int, str]]:
    """Yield (task, reason as it is stored) of tasks that were not placed; most of them share their reason."""
    last, stored = None, ""
    for task, reason in blocked.items():
        if reason is not last:
            last, stored = reason, reason.stored()
        yield task, stored


def _all_ready(
    c: Coordinator, nodes: Mapping[int, Node], job_id: int, by_node: Mapping[int, Sequence[int]],
    states: States, faults: Faults,
) -> dict[int, Ready]:  # fmt: skip
    """Let the backends make ready for the tasks of each node; return those that are."""
    ready = {}
    for number, members in by_node.items():
        found = _ready(c, nodes[number], job_id, members, digests_of(given(states, number, members)), faults)
        if found is not None:  # else its tasks still want their replicas
            ready[number] = found
    return ready


def _ready(
    c: Coordinator, node: Node, job_id: int, tasks: Sequence[int], states: Sequence[str], faults: Faults
) -> Ready | None:
    """Let a backend make ready for replicas of these tasks of a job; None when it cannot now."""
    job = c.job(job_id)
    try:
        there = fetched_by(c, node, job_id, job, tasks)
        drop_changed(c, job_id, tasks)
        inputs = kept_files(c, node, job, tasks, without=there)
        if inputs is None:
            return None  # they are fetched here first
        inputs.update({sha256: c.paths.inputs / sha256 for sha256 in states})
        check_key(c, node)  # without its key nothing can be given to it
        inputs.update(images.files_of(c, job))
        with sending(c, node, job_id) as way:
            staged = {**_stage(c, node, way, inputs, faults), **there}
        return Ready(staged, c.backend(node).launch_size(c.context(node), job, len(tasks)))
    except (NexapodError, OSError) as error:
        faults.of_node(Code.STAGE_FAULT, node, error)
        return None


def _stage(c: Coordinator, node: Node, way: OnTheWay, inputs: Mapping[str, Path], faults: Faults) -> Mapping[str, str]:
    """Let a backend bring inputs to a node; where its disk is full, what no job needs there goes first."""
    backend, context = c.backend(node), replace(c.context(node), sending=way)
    try:
        return backend.stage(context, inputs)
    except (NexapodError, OSError) as error:
        if not is_full(error) or not unstage(c, [node], faults, whatever_else=True):
            raise
    return backend.stage(context, inputs)


def _free_numbers(c: Coordinator, job_id: int, tasks: list[int]) -> dict[int, Iterator[int]]:
    """Return the free replica numbers of each task, the lowest first.

    After a takeover there may be some below those in use: of launches that no node had fetched from the former leader.
    """
    taken: dict[int, set[int]] = {task: set() for task in tasks}
    for replica in c.store.replicas.of_tasks(job_id, tasks):
        taken[replica.task].add(replica.number)
    return {task: filterfalse(numbers.__contains__, count(1)) for task, numbers in taken.items()}
