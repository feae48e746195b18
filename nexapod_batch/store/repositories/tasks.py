"""Tasks: what is to be placed, what is to be decided, what was decided, and what is to be published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nexapod_batch.store.database import Database

__all__ = ["PlaceableTask", "TaskDecision", "TaskRow", "TaskStateRow", "Tasks", "UndecidedTask"]


class PlaceableTask(Row, frozen=True):
    """What the planner needs to know of a task."""

    idx: int
    state: str
    want: int  # replicas to place now
    numeric_class: str | None  # fixed when its first replica is placed


class UndecidedTask(PlaceableTask, frozen=True):
    """What the quorum checker needs to know of a task."""

    extra: int  # replicas beyond max_replicas that retries allowed
    basis: str | None  # a letter for each replica, as they stood when it ended; "": not kept; None: it has not ended
    measured: str | None  # JSON object: what was compared within tolerances
    doubt: str  # why the quorum of an accepted task is no longer met


class TaskRow(UndecidedTask, frozen=True):
    """A task."""

    job_id: int
    reason: str
    news: bool  # something changed since the last decision
    agree: int  # size of the leading group, in distinct domains
    not_before: int  # no replica is placed earlier
    published: bool
    published_from: int | None  # number of the replica whose files lie in the results
    unpublished: str  # why it could not be published so far


class TaskStateRow(Row, frozen=True):
    """The state of a task."""

    idx: int
    state: str


class TaskDecision(NamedTuple):
    """A decision on a task, in the order of the statement that stores it."""

    state: str
    want: int
    agree: int
    reason: str
    not_before: int
    basis: str | None
    measured: str | None
    decided: int | None  # number of the ledger's entry that says so; None: it has not ended
    job_id: int
    idx: int


class Tasks:
    """The tasks of all jobs."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "tasks")

    def insert(self, job: int, indexes: Iterable[int], want: int) -> None:
        """Store the tasks of a job, each of which wants so many replicas."""
        self._sql.many("task_insert", ((job, index, want) for index in indexes))

    def find(self, job: int, task: int) -> TaskRow | None:
        """Return a task; None where there is none."""
        return self._sql.find(TaskRow, "task", job=job, task=task)

    def get(self, job: int, task: int) -> TaskRow:
        """Return a task that is known to be there; LookupError otherwise."""
        row = self.find(job, task)
        if row is None:
            msg = f"there is no task {job}_{task}"
            raise LookupError(msg)
        return row

    def after(self, job: int, index: int, limit: int) -> list[TaskRow]:
        """Return at most `limit` tasks of a job that come after an index, in order."""
        return self._sql.all(TaskRow, "tasks_of_job", job=job, after=index, limit=limit)

    def published_of(self, job: int) -> list[int]:
        """Return the tasks of a job whose results are published, in order."""
        return self._sql.values(int, "tasks_published_of", job=job)

    def states(self, job: int) -> Iterator[TaskStateRow]:
        """Yield the state of every task of a job, in order."""
        return self._sql.each(TaskStateRow, "task_states", job=job)

    # Placing ---------------------------------------------------------------------------------------------------

    def wanting(self, job: int, *, now: int, longest_ms: int, limit: int) -> list[PlaceableTask]:
        """Return tasks that want replicas now; a wait that is longer than `longest_ms` counts as over."""
        return self._sql.all(PlaceableTask, "tasks_wanting", job=job, now=now, longest=longest_ms, limit=limit)

    def placed(self, job: int, counts: Iterable[tuple[int, int, str | None]]) -> None:
        """Note for each (task, replicas, numeric class) that so many replicas were placed."""
        self._sql.many("task_placed", ((n, numeric, job, task, n) for task, n, numeric in counts))

    def fix_classes(self, job: int, classes: Iterable[tuple[int, str]]) -> None:
        """Fix for each (task, numeric class) of a job of which nothing was placed yet where it may run."""
        self._sql.many("task_class", ((numeric, job, task) for task, numeric in classes))

    def blocked(self, job: int, reasons: Iterable[tuple[int, str]]) -> None:
        """Keep for each (task, reason) why it cannot be placed."""
        self._sql.many("task_blocked", ((why, job, task, why) for task, why in reasons))

    # Deciding --------------------------------------------------------------------------------------------------

    def note_news(self, tasks: Iterable[tuple[int, int]]) -> None:
        """Note that something changed for each (job, task)."""
        self._sql.many("task_news", tasks)

    def with_news(self, job: int, limit: int) -> list[UndecidedTask]:
        """Return at most `limit` tasks of a job of which something changed since they were decided."""
        return self._sql.all(UndecidedTask, "tasks_with_news", job=job, limit=limit)

    def decide(self, decisions: Iterable[TaskDecision]) -> None:
        """Store decisions; their tasks have no news any more."""
        self._sql.many("task_decided", decisions)

    def quiet(self, job: int, tasks: Iterable[int]) -> None:
        """Note that tasks have no news any more, and are as they were."""
        self._sql.many("task_quiet", ((job, task) for task in tasks))

    def doubt(self, job: int, doubts: Iterable[tuple[int, str]]) -> None:
        """Keep for each accepted (task, why) why its quorum is no longer met; "" where it is."""
        self._sql.many("task_doubted", ((why, job, task, why) for task, why in doubts))

    def cancel(self, job: int, task: int | None) -> int:
        """Cancel one task, or all of a job, that have not ended; return how many."""
        return self._sql.run("task_cancel", job=job, task=task)

    def allow_more(self, job: int, task: int | None, *, agree: int, max_replicas: int) -> None:
        """Let one task, or all of a job, that ended without a good result have so many more replicas that one can win.

        What brought no vote must have been set aside before.
        """
        self._sql.run("task_allowance", job=job, task=task, agree=agree, max_replicas=max_replicas)

    def retry(self, job: int, task: int | None) -> int:
        """Open one task, or all of a job, again that ended without a good result; return how many."""
        return self._sql.run("task_retry", job=job, task=task, want=0)

    # Publishing ------------------------------------------------------------------------------------------------

    def unpublished(self, limit: int) -> list[tuple[int, int]]:
        """Return (job, task) of accepted tasks whose results are still to be published."""
        return [(job, task) for job, task in self._sql.tuples("tasks_unpublished", limit=limit)]

    def unpublished_on(self, nodes: Sequence[int]) -> list[tuple[int, int]]:
        """Return (job, task) of accepted tasks whose files may have to come from these nodes."""
        named = json.dumps(list(nodes))
        return [(job, task) for job, task in self._sql.tuples("tasks_unpublished_on", nodes=named)]

    def newest_published(self, limit: int) -> list[tuple[int, int]]:
        """Return (job, task) of published tasks, those of the newest jobs first."""
        return [(job, task) for job, task in self._sql.tuples("tasks_newest_published", limit=limit)]

    def published(self, tasks: Iterable[tuple[int, int, int]], entry: int) -> None:
        """Note for each (job, task, number) that the files of the replica of this number lie in the results.

        `entry` of the ledger says so of the first of them, the next one of the second.
        """
        rows = [(number, at, job, task) for at, (job, task, number) in enumerate(tasks, entry)]
        self._sql.many("task_published", rows)

    def cannot_publish(self, job: int, task: int, why: str) -> None:
        """Keep why a task could not be published."""
        self._sql.run("task_unpublished", job=job, task=task, why=why)

    def put_manifest(self, job: int, task: int, packed: bytes) -> None:
        """Keep the deflated manifest of a task's outputs."""
        self._sql.run("manifest_put", job=job, task=task, packed=packed)

    def manifest(self, job: int, task: int) -> bytes | None:
        """Return the deflated manifest of a task's outputs; None where its statement lists them."""
        return self._sql.value(bytes, "manifest", job=job, task=task)

    def put_difference(self, job: int, task: int, text: str) -> None:
        """Keep what the losers of a task did differently."""
        self._sql.run("difference_put", job=job, task=task, text=text)

    def difference(self, job: int, task: int) -> str | None:
        """Return what the losers of a task did differently; None where that is not known."""
        return self._sql.value(str, "difference", job=job, task=task)
