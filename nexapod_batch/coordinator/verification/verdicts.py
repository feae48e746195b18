"""The verdict on one task, worked out again from its statements and compared with what is stored and published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.evidence.basis import REPORTED, SET_ASIDE
from nexapod_batch.coordinator.evidence.published_results import faults_of, listed
from nexapod_batch.coordinator.evidence.recompute import decision_then, late_validations
from nexapod_batch.coordinator.steps.dispatch import set_aside
from nexapod_batch.coordinator.steps.votes import Places, every_vote
from nexapod_batch.lifecycle import TASK_ENDED, TaskState, Validation
from nexapod_batch.model.reason import Code, Reason, same
from nexapod_batch.quorum import decide, doubt
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["results_faults", "verdict_faults"]


def verdict_faults(
    c: Coordinator, job: Job, task: TaskRow, rows: Sequence[ReplicaRow], nodes: dict[int, Node]
) -> list[str]:
    """Return what is wrong with the verdict on a task, given that the rows are what the statements say."""
    state = TaskState(task.state)
    if state not in TASK_ENDED or state is TaskState.CANCELLED:
        return ["it is in doubt, and was not accepted"] if task.doubt else []
    every = every_vote(c, Places(job, nodes), task.numeric_class, rows)
    if task.basis is None or (task.basis == "" and task.published_from is not None):
        return ["the record of what the verdict was reached from is missing"]
    if task.basis == "":
        return _without_record(job, task, rows, every)
    if len(task.basis) != len(rows):
        return [f"{len(rows)} replicas are stored, and the verdict was reached from {len(task.basis)}"]
    faults = [
        f"replica {row.number} had reported, and has no vote"
        for row, letter in zip(rows, task.basis, strict=True)
        if letter == REPORTED and row.vote is None
    ]
    try:
        decision = decision_then(job, every, task)
    except (ValueError, KeyError) as error:
        return [*faults, f"the record of the verdict is damaged: {error}"]
    if task.state != decision.state:
        faults.append(f"state is {task.state!r}, and its replicas make it {decision.state and str(decision.state)!r}")
    if task.agree != decision.agree:
        faults.append(f"agree is {task.agree!r}, and its replicas make it {decision.agree and str(decision.agree)!r}")
    faults += _other_reason("reason", task.reason, decision.reason)
    if faults:
        return faults
    return _judged(job, task, rows, every, decision)


def _judged(
    job: Job, task: TaskRow, rows: Sequence[ReplicaRow], every: Sequence[Vote], decision: Decision
) -> list[str]:
    """Return which replicas are worth something else than is stored, and whether the quorum still holds."""
    wanted = dict(decision.validations)
    why: Reason | None = None
    votes = [vote for vote, row in zip(every, rows, strict=True) if not set_aside(row)]
    if decision.state is TaskState.ACCEPTED:
        late = late_validations(job, votes, decision)
        wanted |= late
        why = doubt(job.quorum, votes, late)
    faults = []
    for row, letter in zip(rows, task.basis or "", strict=True):
        expected = wanted.get(row.number, Validation.UNNEEDED if letter == SET_ASIDE else None)
        if expected is not None and row.validation != expected:
            faults.append(f"replica {row.number} is {row.validation}, and its statement makes it {expected}")
    other = _other_reason("its doubt", task.doubt, why)
    if other:
        faults += other
    elif why is not None:
        name = f"{task.job_id}_{task.idx}"
        hint = f"nexapod-batch retry {name} asks for another replica"
        faults.append(f"the quorum is no longer met: {sentence(why)}; {hint}")
    return faults


def _other_reason(what: str, stored: str, found: Reason | None) -> list[str]:
    """Return that a stored reason is not the one that the replicas make.

    Of a sentence from before reasons were data only that there is one is compared: how it was put has changed since.
    """
    kept = Reason.parse(stored)
    imported = kept is not None and found is not None and kept.code == Code.IMPORTED
    if imported or same(kept, found):
        return []
    return [f"{what} is {sentence(kept)!r}, and its replicas make it {sentence(found)!r}"]


def _without_record(job: Job, task: TaskRow, rows: Sequence[ReplicaRow], every: Sequence[Vote]) -> list[str]:
    """Check a verdict from before its basis was kept: what won must still be a quorum by itself."""
    if task.state != TaskState.ACCEPTED:
        return []
    won = [vote for vote, row in zip(every, rows, strict=True) if row.validation == Validation.VALID]
    if len({vote.answer for vote in won}) > 1:
        return ["replicas that count as valid said different things"]
    decision = decide(job.quorum, won)
    return [] if decision.state is TaskState.ACCEPTED else [f"no quorum: {sentence(decision.reason)}"]


def results_faults(
    c: Coordinator,
    task: TaskRow,
    rows: Sequence[ReplicaRow],
    statements: Mapping[int, Sequence[Statement]],
    advance: Callable[[int], None],
) -> list[str]:
    """Return what is wrong with the published files of a task; `statements` are those of each replica, by number."""
    folder = c.paths.results / str(task.job_id) / str(task.idx)
    if not task.published:
        there = folder.is_dir() and task.published_from is None
        return ["files lie in its folder, and nothing of it was published: nexapod-batch reconcile"] if there else []
    packed = c.store.tasks.manifest(task.job_id, task.idx)
    valid = [r.number for r in rows if r.validation == Validation.VALID and len(statements[r.number]) == 1]
    number = task.published_from
    if number is None:  # published before this was kept: by any of them
        faults: list[str] = ["no replica of it is valid"]
        for one in valid:
            (said,) = statements[one]
            faults = faults_of(folder, said, listed(said, packed), advance)
            if not faults:
                return []
        return faults
    if not statements.get(number):
        return [f"it was published from replica {number}, of which there is no statement"]
    said = statements[number][0]
    faults = [] if number in valid or task.doubt else [f"it was published from replica {number}, which is not valid"]
    if said.manifest and (packed is None or listed(said, packed) is None):
        faults.append("the manifest of its outputs is missing, or is not the signed one")
        packed = None
    return faults + faults_of(folder, said, listed(said, packed), advance)
