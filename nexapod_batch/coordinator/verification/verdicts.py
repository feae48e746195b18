"""The verdict on one task, worked out again from its statements and compared with what is stored and published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from nexapod_batch.coordinator.evidence.basis import REPORTED, SET_ASIDE
from nexapod_batch.coordinator.evidence.published_results import faults_of, listed
from nexapod_batch.coordinator.evidence.recompute import Record, decision_then, late_validations
from nexapod_batch.coordinator.steps.votes import Places, counted, every_vote
from nexapod_batch.lifecycle import TASK_ENDED, TaskState, Validation
from nexapod_batch.model.reason import Code, Reason, same
from nexapod_batch.quorum import decide, doubt
from nexapod_batch.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.coordinator.evidence.basis import JudgedReplica
    from nexapod_batch.model.job import Job
    from nexapod_batch.model.node import Node
    from nexapod_batch.quorum import Decision, Vote
    from nexapod_batch.store.repositories.replicas import ReplicaRow
    from nexapod_batch.store.repositories.tasks import TaskRow
    from nexapod_batch.trust.statement import Statement

__all__ = ["VerdictRecord", "reached_faults", "results_faults", "verdict_faults"]


class VerdictRecord(Record, Protocol):
    """What is kept of a verdict."""

    @property
    def job_id(self) -> int:
        """Return the number of the job."""

    @property
    def idx(self) -> int:
        """Return the index of the task."""

    @property
    def state(self) -> str:
        """Return how the task ended."""

    @property
    def agree(self) -> int:
        """Return the size of the leading group."""

    @property
    def reason(self) -> str:
        """Return why it ended so, as it is stored."""

    @property
    def doubt(self) -> str:
        """Return why its quorum is no longer met, as it is stored."""


_FROM_MANY = frozenset({Code.FROM_SITES, Code.FROM_OWNERS, Code.FROM_MACHINES})


def verdict_faults(
    c: Coordinator, job: Job, task: TaskRow, rows: Sequence[ReplicaRow], nodes: dict[int, Node]
) -> list[str]:
    """Return what is wrong with the verdict on a task, given that the rows are what the statements say."""
    state = TaskState(task.state)
    if state not in TASK_ENDED or state is TaskState.CANCELLED:
        if task.doubt:
            return ["it is in doubt, and was not accepted"]
        return []
    if task.basis is None or (task.basis == "" and task.published_from is not None):
        return ["the record of what the verdict was reached from is missing"]
    every = every_vote(c, Places(job, nodes), task.numeric_class, rows)
    if task.basis == "":
        return _without_record(job, task, rows, every)
    return reached_faults(job, task, task.basis, rows, every)


def reached_faults(
    job: Job, task: VerdictRecord, basis: str, rows: Sequence[JudgedReplica], every: Sequence[Vote]
) -> list[str]:
    """Reach the verdict once more from what it was reached from, and compare."""
    if len(basis) != len(rows):
        return [f"{len(rows)} replicas are stored, and the verdict was reached from {len(basis)}"]
    faults = [
        f"replica {row.number} had reported, and has no vote"
        for row, letter in zip(rows, basis, strict=True)
        if letter == REPORTED and row.vote is None
    ]
    try:
        decision = decision_then(job, every, task)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [*faults, f"the record of the verdict is damaged: {error}"]
    faults += _other_decision(task, decision)
    return faults or _judged(job, task, rows, every, decision)


def _other_decision(task: VerdictRecord, decision: Decision) -> list[str]:
    """Return where the stored decision is not the one that the replicas make."""
    faults = []
    for what, stored, found in (("state", task.state, decision.state), ("agree", task.agree, decision.agree)):
        if stored != found:
            faults.append(f"{what} is {stored!r}, and its replicas make it {found and str(found)!r}")
    return faults + _other_reason("reason", task.reason, decision.reason)


def _judged(
    job: Job, task: VerdictRecord, rows: Sequence[JudgedReplica], every: Sequence[Vote], decision: Decision
) -> list[str]:
    """Return which replicas are worth something else than is stored, and whether the quorum still holds."""
    wanted = dict(decision.validations)
    why: Reason | None = None
    votes = counted(every, rows)
    if decision.state is TaskState.ACCEPTED:
        late = late_validations(job, votes, decision)
        wanted |= late
        why = doubt(job.quorum, votes, late)
    faults = []
    for row, letter in zip(rows, task.basis or "", strict=True):
        expected = wanted.get(row.number, Validation.UNNEEDED if letter == SET_ASIDE else None)
        if expected is not None and row.validation != expected:
            faults.append(f"replica {row.number} is {row.validation}, and its statement makes it {expected}")
    return faults + _doubt_faults(task, why)


def _doubt_faults(task: VerdictRecord, why: Reason | None) -> list[str]:
    """Return where the stored doubt is another than `why`; the doubt itself is a fault as well."""
    other = _other_reason("its doubt", task.doubt, why)
    if other or why is None:
        return other
    name = f"{task.job_id}_{task.idx}"
    hint = f"nexapod-batch retry {name} asks for another replica"
    return [f"the quorum is no longer met: {sentence(why)}; {hint}"]


def _other_reason(what: str, stored: str, found: Reason | None) -> list[str]:
    """Return that a stored reason is not the one that the replicas make.

    Of a sentence from before reasons were data only that there is one is compared: how it was put has changed since.
    """
    kept = Reason.parse(stored)
    imported = kept is not None and found is not None and kept.code == Code.IMPORTED
    if imported or same(kept, found):
        return []
    if _lacks_makers(kept) and same(_without_independence(kept), _without_independence(found)):
        return []
    return [f"{what} is {sentence(kept)!r}, and its replicas make it {sentence(found)!r}"]


def _lacks_makers(reason: Reason | None) -> bool:
    """Say whether a reason is from before it was noted who made the keys: it told owners otherwise."""
    independence = None if reason is None else reason.parameters.get("independence")
    if not isinstance(independence, dict):
        return False
    return independence.get("code") in _FROM_MANY and "run_by_one" not in independence.get("parameters", {})


def _without_independence(reason: Reason | None) -> Reason | None:
    return None if reason is None else replace(reason, parameters={**reason.parameters, "independence": None})


def _without_record(job: Job, task: TaskRow, rows: Sequence[ReplicaRow], every: Sequence[Vote]) -> list[str]:
    """Check a verdict from before its basis was kept: what won must still be a quorum by itself."""
    if task.state != TaskState.ACCEPTED:
        return []
    won = [vote for vote, row in zip(every, rows, strict=True) if row.validation == Validation.VALID]
    if len({vote.answer for vote in won}) > 1:
        return ["replicas that count as valid said different things"]
    decision = decide(job.quorum, won)
    if decision.state is TaskState.ACCEPTED:
        return []
    return [f"no quorum: {sentence(decision.reason)}"]


def _unpublished_faults(folder: Path, number: int | None) -> list[str]:
    """Return what is wrong where nothing is published: only a replica that was chosen may have files there."""
    if folder.is_dir() and number is None:
        return ["files lie in its folder, and nothing of it was published: nexapod-batch reconcile"]
    return []


def results_faults(
    c: Coordinator,
    task: TaskRow,
    rows: Sequence[ReplicaRow],
    statements: Mapping[int, Sequence[Statement]],
    advance: Callable[[int], None],
) -> list[str]:
    """Return what is wrong with the published files of a task; `statements` are those of each replica, by number."""
    folder = c.paths.results / str(task.job_id) / str(task.idx)
    number = task.published_from
    if not task.published:
        return _unpublished_faults(folder, number)
    packed = c.store.tasks.manifest(task.job_id, task.idx)
    valid = [r.number for r in rows if r.validation == Validation.VALID and len(statements[r.number]) == 1]
    if number is None:
        return _from_any([statements[one][0] for one in valid], folder, packed, advance)
    if not statements.get(number):
        return [f"it was published from replica {number}, of which there is no statement"]
    faults = []
    if number not in valid and not task.doubt:
        faults.append(f"it was published from replica {number}, which is not valid")
    return faults + _from_one(statements[number][0], folder, packed, advance)


def _from_any(
    winners: Sequence[Statement], folder: Path, packed: bytes | None, advance: Callable[[int], None]
) -> list[str]:
    """Check files that were published before it was kept from which replica: by any of the winners."""
    faults = ["no replica of it is valid"]
    for statement in winners:
        faults = faults_of(folder, statement, listed(statement, packed), advance)
        if not faults:
            break
    return faults


def _from_one(
    statement: Statement, folder: Path, packed: bytes | None, advance: Callable[[int], None]
) -> list[str]:
    """Check files that were published from one replica; `packed` is their manifest where it is stored."""
    files = listed(statement, packed)
    if statement.manifest and files is None:
        missing = "the manifest of its outputs is missing, or is not the signed one"
        return [missing, *faults_of(folder, statement, None, advance)]
    return faults_of(folder, statement, files, advance)
