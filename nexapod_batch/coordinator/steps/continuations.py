"""Which replicas go on from what an earlier one of their task left when it was stopped, and where.

A state is the word of one node: a replica that goes on from it rests on that node as well. So it goes on there and
nowhere else, and a task's replicas stay as independent as they were. Where the node is gone, or no longer has the
state, or its domain was given to another replica meanwhile, the next attempt begins at the beginning.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.replica_outputs import saved_files_of, statement_of
from nexapod_batch.coordinator.placement.host_sets import number_of
from nexapod_batch.errors import NexapodError, UnsafeOutputError
from nexapod_batch.files.atomic import sync_files
from nexapod_batch.files.own import own_folder
from nexapod_batch.lifecycle import Execution
from nexapod_batch.model.reason import Code
from nexapod_batch.model.replica import Continuation
from nexapod_batch.planner.fitness import unfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.pass_faults import Faults
    from nexapod_batch.model.job import Domain, Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.planner import Need, NodeLoad
    from nexapod_batch.store.repositories.replicas import VotingReplica

__all__ = ["GoingOn", "States", "by_task", "digests_of", "given", "going_on", "pinned"]

_GONE = frozenset({Execution.LOST, Execution.CANCELLED})


class GoingOn(Struct, frozen=True):
    """A state that waits for a replica to go on from it."""

    task: int
    before: int  # row id of the replica that left it
    node: Node
    number: int  # of the node, or of the set of its hosts, as the planner knows it
    continues: Continuation


#: By the number of the node; several of one task only where replicas need differ in nothing but their run.
States = dict[int, list[GoingOn]]


def by_task(states: Sequence[GoingOn]) -> dict[int, list[GoingOn]]:
    """Return states by the task that they are of, in their order."""
    found: dict[int, list[GoingOn]] = defaultdict(list)
    for state in states:
        found[state.task].append(state)
    return found


def given(states: States, number: int, tasks: Sequence[int]) -> list[GoingOn]:
    """Return the states on a node from which replicas of these tasks go on; most nodes have none."""
    waiting = states.get(number)
    if not waiting:
        return []
    placed = set(tasks)
    return [state for state in waiting if state.task in placed]


def digests_of(states: Sequence[GoingOn]) -> list[str]:
    """Return the SHA-256 of every file of some states."""
    return [sha256 for state in states for _, sha256 in state.continues.files]


def going_on(c: Coordinator, job_id: int, tasks: Sequence[int]) -> list[GoingOn]:
    """Return the states from which no replica of these tasks goes on yet, or only one that was lost, newest first."""
    replicas = {row.id: row for row in c.store.replicas.of_tasks(job_id, tasks)}
    states = {row.id: files for row in replicas.values() if (files := _saved(c, row))}
    if not states:
        return []
    gone = {row.id for row in replicas.values() if row.execution in _GONE} - states.keys()
    used = {before for before, later in c.store.continuations.pairs(job_id, tasks) if later not in gone}
    nodes = c.nodes_by_id()
    found = []
    for row_id in sorted(states.keys() - used, reverse=True):
        row = replicas[row_id]
        number = number_of(row.node_id, c.store.launches.hosts(row.launch_id).host_set)
        continues = Continuation(number=row.number, files=states[row_id])
        found.append(GoingOn(row.task, row_id, nodes[row.node_id], number, continues))
    return found


def pinned(
    c: Coordinator, job: Job, needs: Sequence[Need], states: Sequence[GoingOn], loads: Sequence[NodeLoad],
    faults: Faults,
) -> tuple[list[Need], States]:  # fmt: skip
    """Return the needs, with one of its own for each state that can be gone on from, and those states.

    Their files are here then. What cannot be brought here now makes its task wait.
    """
    there = {load.node.id: load for load in loads if unfit(job, load) is None}
    of_task = by_task([state for state in states if state.number in there])
    found: list[Need] = []
    used: States = defaultdict(list)
    for need in needs:
        rest = need
        for state in of_task.get(need.task, ()):
            if not rest.want:
                break
            domain = _domain(job, there[state.number])
            brought = False if _is_taken(domain, rest) else _bring(c, state, faults)
            if brought:
                found.append(replace(need, want=1, taken=rest.taken, only=state.number))
                used[state.number].append(state)
            if brought is not False:  # what is not known now waits
                rest = replace(rest, want=rest.want - 1, taken=(*rest.taken, domain))
        if rest.want:
            found.append(rest)
    return found, used


def _domain(job: Job, load: NodeLoad) -> dict[Domain, str]:
    return {name: load.node.domain(name, "") for name in job.quorum.distinct}


def _is_taken(domain: Mapping[Domain, str], need: Need) -> bool:
    """Say whether a domain was given to another replica of the task."""
    return any(taken.get(name) == value for taken in need.taken for name, value in domain.items() if value)


def _saved(c: Coordinator, row: VotingReplica) -> tuple[tuple[str, str], ...]:
    """Return the state that a lost replica signed; empty where it signed none."""
    if row.execution != Execution.LOST or row.voided or not row.host:
        return ()
    try:
        statement = statement_of(c, row.id)
    except UnsafeOutputError:
        return ()
    return tuple([(file.name, file.sha256) for file in statement.saved])


def _bring(c: Coordinator, state: GoingOn, faults: Faults) -> bool | None:
    """Bring the files of a state here; False where they are gone, None where that is not known now."""
    missing = {name: sha256 for name, sha256 in state.continues.files if not (c.paths.inputs / sha256).exists()}
    if not missing:
        return True
    own_folder(c.paths.inputs, below=c.paths.home)
    try:
        _copy(c, state, missing)
    except UnsafeOutputError:
        return False
    except (NexapodError, OSError) as error:
        faults.of_node(Code.STAGE_FAULT, state.node, error)
        return None
    return True


def _copy(c: Coordinator, state: GoingOn, missing: Mapping[str, str]) -> None:
    files = saved_files_of(c, state.node, state.before)
    for name, sha256 in missing.items():
        kept = c.paths.inputs / sha256
        partial = kept.with_name(f".{sha256}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        try:
            files.copy(name, partial)
            sync_files([partial])
            partial.replace(kept)
        finally:
            partial.unlink(missing_ok=True)
