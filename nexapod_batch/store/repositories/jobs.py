"""Jobs: what was submitted, what it waits for, and how far it is."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from nexapod_batch.lifecycle import TaskState
from nexapod_batch.store.row import Row
from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.model.document import PartedDocument
    from nexapod_batch.store.database import Database

__all__ = ["DependencyRow", "DocumentRow", "JobRow", "Jobs"]


class JobRow(Row, frozen=True):
    """A job, with its tasks counted by state."""

    id: int
    uuid: str
    name: str
    user: str
    digest: str  # hex SHA-256 of its document
    folder: str  # where it was submitted
    priority: int
    held: bool
    blocked: str  # why nothing of it is dispatched, as JSON; "" for none
    max_running: int | None
    created_at: int
    finished_at: int | None
    n_tasks: int
    n_waiting: int
    n_active: int
    n_accepted: int
    n_failed: int
    n_inconclusive: int
    n_cancelled: int
    n_want: int  # tasks that want replicas placed
    foreign: bool  # somebody else's than the account's that submitted it

    @property
    def counts(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state."""
        return {
            TaskState.WAITING: self.n_waiting,
            TaskState.ACTIVE: self.n_active,
            TaskState.ACCEPTED: self.n_accepted,
            TaskState.FAILED: self.n_failed,
            TaskState.INCONCLUSIVE: self.n_inconclusive,
            TaskState.CANCELLED: self.n_cancelled,
        }


class DependencyRow(Row, frozen=True):
    """A job that another one waits for."""

    on_job: int
    condition: str  # accepted, ended or failed
    n_tasks: int
    n_waiting: int
    n_active: int
    n_accepted: int


class DocumentRow(Row, frozen=True):
    """The pinned document of a job."""

    job_id: int
    body: bytes  # canonical JSON, exactly the bytes that the digest covers


class Jobs:
    """The jobs of a coordinator."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "jobs")

    def find(self, job: int) -> JobRow | None:
        """Return a job; None where there is none of this id."""
        return self._sql.find(JobRow, "job", id=job)

    def get(self, job: int) -> JobRow:
        """Return a job that is known to be there; LookupError otherwise."""
        row = self.find(job)
        if row is None:
            msg = f"there is no job {job}"
            raise LookupError(msg)
        return row

    def insert(
        self, *, uuid: str, name: str, user: str, foreign: bool, digest: str, folder: str, priority: int, held: bool,
        max_running: int | None, n_tasks: int, now: int,
    ) -> int:  # fmt: skip
        """Store a new job all of whose tasks wait, without its tasks; return its id."""
        self._sql.run(
            "job_insert", uuid=uuid, name=name, user=user, foreign=int(foreign), digest=digest, folder=folder,
            priority=priority, held=int(held), max_running=max_running, n_tasks=n_tasks, now=now,
        )  # fmt: skip
        (number,) = self._sql.values(int, "job_id_of", uuid=uuid)
        return number

    def renumber(self, job: int, free: int) -> None:
        """Give a job that has no tasks yet another id."""
        self._sql.run("job_renumber", id=job, free=free)

    def document(self, job: int) -> bytes | None:
        """Return the pinned document of a job; None where there is no job."""
        return self._sql.value(bytes, "document", job=job)

    def insert_document(self, job: int, body: bytes) -> None:
        """Keep the pinned document of a job."""
        self._sql.run("document_insert", job=job, body=body, inputs=None, inputs_at=None)

    def insert_parted(self, job: int, document: PartedDocument) -> None:
        """Keep the pinned document of a job; what another one has the same inputs shares their list with it."""
        sha256 = hashlib.sha256(document.inputs).digest()
        if self._sql.value(int, "input_list_known", sha256=sha256) is None:
            self._sql.run("input_list_insert", sha256=sha256, body=document.inputs)
        self._sql.run("document_insert", job=job, body=document.body, inputs=sha256, inputs_at=document.at)

    def pin(self, job: int, *, digest: str, body: bytes) -> None:
        """Keep another document of a job of which nothing was placed."""
        self._sql.run("job_pin", job=job, digest=digest)
        self._sql.run("document_pin", job=job, body=body)

    def open_documents(self) -> list[DocumentRow]:
        """Return the documents of the jobs that have not ended."""
        return self._sql.all(DocumentRow, "jobs_open_documents")

    def ended_documents(self, since: int) -> list[DocumentRow]:
        """Return the documents of jobs that ended at a time (ms) or later, the first of them first."""
        return self._sql.all(DocumentRow, "jobs_ended_documents", since=since)

    def running_documents(self) -> list[DocumentRow]:
        """Return the documents of the jobs that have not ended, or of which a backend still has launches."""
        return self._sql.all(DocumentRow, "jobs_running_documents")

    def add_dependency(self, job: int, on_job: int, condition: str) -> None:
        """Let a job wait for another one."""
        self._sql.run("dependency_insert", job=job, on_job=on_job, condition=condition)

    def dependencies(self, job: int) -> list[DependencyRow]:
        """Return the jobs that a job waits for."""
        return self._sql.all(DependencyRow, "dependencies", job=job)

    def wanting(self) -> list[JobRow]:
        """Return the jobs that want replicas placed and are not held, the most urgent first."""
        return self._sql.all(JobRow, "jobs_wanting")

    def count_ahead(self, job: int) -> int:
        """Return how many other jobs are placed before a job that wants replicas."""
        return self._sql.value(int, "jobs_ahead", job=job) or 0

    def block(self, job: int, reason: str) -> None:
        """Keep why nothing of a job is dispatched; "" when it may be."""
        self._sql.run("job_block", job=job, reason=reason)

    def any_blocked(self, jobs: Sequence[int]) -> bool:
        """Say whether something keeps one of these jobs back."""
        return bool(self._sql.values(int, "jobs_blocked", jobs=json.dumps(jobs)))

    def replicas_out(self, job: int) -> int:
        """Return how many replicas of a job are out."""
        return self._sql.value(int, "job_out", job=job) or 0

    def any_foreign(self) -> bool:
        """Say whether any job is somebody else's."""
        return bool(self._sql.value(int, "foreign_jobs"))

    def with_news(self) -> list[int]:
        """Return the jobs that have a task of which something changed since it was decided."""
        return self._sql.values(int, "jobs_with_news")

    def finish(self, job: int, now: int) -> None:
        """Note when a job ended, if it did and that is not noted yet."""
        self._sql.run("job_finished", job=job, now=now)

    def reopen(self, job: int) -> None:
        """Forget when a job ended that has open tasks again."""
        self._sql.run("job_reopened", job=job)

    def hold(self, job: int, *, held: bool) -> bool:
        """Hold or release an open job; False when there was nothing to change."""
        return self._sql.run("job_hold", job=job, held=int(held)) > 0

    def count(self) -> int:
        """Return how many jobs there are."""
        return self._sql.value(int, "jobs_count") or 0

    def count_open(self) -> int:
        """Return how many jobs have not ended."""
        return self._sql.value(int, "jobs_open") or 0

    def still_open(self, jobs: Sequence[int]) -> list[int]:
        """Return which of these jobs have not ended."""
        return self._sql.values(int, "jobs_still_open", jobs=json.dumps(jobs))

    def has_unpublished(self, jobs: Sequence[int]) -> bool:
        """Say whether results of these jobs are still to be published, and nothing is known to prevent it."""
        return bool(self._sql.value(int, "unpublished_of", jobs=json.dumps(jobs)))

    def progress(self, jobs: Sequence[int]) -> dict[str, int]:
        """Return how many tasks these jobs have: in all (`tasks`), and by state."""
        (counts,) = self._sql.documents("progress", jobs=json.dumps(jobs))
        return counts
