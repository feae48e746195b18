"""What people and scripts are shown, as the database has it.

These rows become JSON documents, and commands that show them are judged by how fast they start: a row is a dictionary
whose type exists for the type checker only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexapod_batch.store.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    from nexapod_batch.store.database import Database

    class JobView(TypedDict):
        """A job in a listing."""

        id: int
        uuid: str
        name: str
        user: str
        held: int  # 1: it is
        blocked: str
        priority: int
        created_at: int
        finished_at: int | None
        n_tasks: int
        n_waiting: int
        n_active: int
        n_accepted: int
        n_failed: int
        n_inconclusive: int
        n_cancelled: int
        n_doubted: int
        labels: str | None  # JSON

    class JobDetails(JobView):
        """A job by itself."""

        foreign: int  # 1: it is somebody else's
        digest: str
        folder: str
        max_running: int | None
        quorum: str | None  # JSON
        container: str | None  # JSON
        delivered: int  # 1: its results are wanted elsewhere

    class DependencyView(TypedDict):
        """A job that another one waits for."""

        on_job: int
        condition: str

    class TaskView(TypedDict):
        """A task."""

        idx: int
        state: str
        reason: str
        agree: int
        numeric_class: str | None
        published: int  # 1: it is
        published_from: int | None
        unpublished: str
        doubt: str

    class ReplicaView(TypedDict):
        """A replica, and the node that it is on."""

        task: int
        number: int
        node: str
        node_key: str
        site: str
        owner: str
        backend: str
        host: str
        numeric_class: str
        isolation: str
        execution: str
        validation: str
        voided: int  # 1: it is
        exit_code: int | None
        wall_ms: int | None
        cpu_ms: int | None
        max_rss_kib: int | None
        output_bytes: int | None
        gpus: str | None  # JSON
        cleaned: int  # 1: its work folder is gone
        reason: str  # as JSON; of its launch, as long as it has not ended
        native_id: str  # what the scheduler calls its launch
        native_state: str  # the scheduler's word for the state of its launch
        native_reason: str  # the scheduler's word for why
        continues: int | None  # number of the earlier replica from whose saved state it goes on

    class NodeView(TypedDict):
        """A node, and how many replicas are out on it."""

        name: str
        key_id: str
        public_key: bytes
        site: str
        owner: str
        host: str
        tier: str
        backend: str
        cpus: int
        mem_mib: int
        gpus: int
        gpu_type: str | None
        classes: str  # JSON
        max_queued: int
        active: int  # 0: drained
        blame: int
        created_at: int
        out: int


__all__ = ["Views"]


class Views:
    """The read side: each method is one indexed query."""

    def __init__(self, database: Database) -> None:
        """Use a database that is open."""
        self._sql = Statements(database, "views")

    def jobs(self, *, before: int, limit: int) -> list[JobView]:
        """Return jobs with ids below `before`, the newest first."""
        return self._documents("view_jobs", before=before, limit=limit)

    def jobs_of(self, user: str, *, before: int, limit: int) -> list[JobView]:
        """Return a user's jobs with ids below `before`, the newest first."""
        return self._documents("view_jobs_of", user=user, before=before, limit=limit)

    def job_of_uuid(self, uuid: str) -> int | None:
        """Return the id of the job of a UUID."""
        return self._sql.value(int, "view_job_of_uuid", uuid=uuid)

    def open_jobs(self, *, before: int, limit: int) -> list[JobView]:
        """Return jobs with ids below `before` that have not ended, the newest first."""
        return self._documents("view_open_jobs", before=before, limit=limit)

    def job(self, job: int) -> JobDetails | None:
        """Return a job; None where there is none of this id."""
        rows: list[JobDetails] = self._documents("view_job", id=job)
        if rows:
            return rows[0]
        return None

    def array(self, job: int) -> str | None:
        """Return the array of a job, as JSON; None where it has one task."""
        return self._sql.value(str, "view_job_array", id=job)

    def dependencies(self, job: int) -> list[DependencyView]:
        """Return the jobs that a job waits for."""
        return self._documents("view_job_dependencies", id=job)

    def jobs_before_that_may_not_hold(self, job: int) -> list[int]:
        """Return the jobs that a job follows, also through others, with a task that is not accepted, or in doubt."""
        return self._sql.values(int, "view_jobs_before_that_may_not_hold", id=job)

    def judged(self, job: int, first: int, last: int) -> list[tuple[int, int, bytes | None]]:
        """Return entry, task and the ledger's bytes of the verdicts under other rules on tasks from first to last."""
        return self._sql.tuples("view_judged", job=job, first=first, last=last)

    def tasks(self, job: int, first: int, last: int, limit: int) -> list[TaskView]:
        """Return at most `limit` tasks from `first` to `last`, in order."""
        return self._documents("view_tasks", id=job, first=first, last=last, limit=limit)

    def tasks_without_result(self, job: int, limit: int) -> list[TaskView]:
        """Return at most `limit` tasks, in order, that were not accepted, or whose results are in doubt or missing."""
        return self._documents("view_tasks_without_result", id=job, limit=limit)

    def replicas(self, job: int, first: int, last: int) -> list[ReplicaView]:
        """Return the replicas of the tasks from `first` to `last`, in order."""
        return self._documents("view_replicas", id=job, first=first, last=last)

    def carried(self, job: int, task: int) -> dict[int, bytes]:
        """Return the files that came with the reports of a task, as JSON: name -> base64; by number of the replica."""
        return dict(self._sql.tuples("view_carried", job=job, task=task))

    def nodes(self) -> list[NodeView]:
        """Return every node, by name."""
        return self._documents("view_nodes")

    def segments(self) -> dict[str, dict[str, int]]:
        """Return for every node how far, in bytes, each of its segments was read, by name of the segment."""
        read: dict[str, dict[str, int]] = {}
        for node, segment, position in self._sql.tuples("view_segments"):
            positions = read.setdefault(node, {})
            if segment is not None:
                positions[segment] = position
        return read

    def last_job(self) -> int | None:
        """Return the id of the newest job; None when there is none."""
        return self._sql.value(int, "view_last_job")

    def job_ids(self, first: int, last: int) -> list[int]:
        """Return the ids of jobs from `first` to `last`."""
        return self._sql.values(int, "view_job_ids", first=first, last=last)

    def open_job_ids(self) -> list[int]:
        """Return the ids of the jobs that have not ended."""
        return self._sql.values(int, "view_open_job_ids")

    def waits(self, jobs: Sequence[int], now: int, limit: int) -> list[tuple[int, str]]:
        """Return (job, reason) of what waits at a time, each once."""
        from json import dumps  # noqa: PLC0415 - a listing has no need of it

        return [(job, why) for job, why in self._sql.tuples("view_waits", jobs=dumps(jobs), now=now, limit=limit)]

    def waits_after_losses(self, jobs: Sequence[int], now: int, limit: int) -> list[tuple[int, str]]:
        """Return why the newest replicas were lost of tasks that are placed again later: job and reason."""
        from json import dumps  # noqa: PLC0415 - see above

        return list(self._sql.tuples("view_waits_lost", jobs=dumps(jobs), now=now, limit=limit))

    def _documents(self, name: str, **params: int | str) -> list[Any]:
        return self._sql.documents(name, **params)
