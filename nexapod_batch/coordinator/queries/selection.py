"""Jobs and tasks by what they are: state, name, labels, age, parameters."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from nexapod_batch.coordinator.queries import views
from nexapod_batch.coordinator.queries.parameters import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nexapod_batch.coordinator.queries.views import Document
    from nexapod_batch.store import Store

__all__ = ["Filters", "chosen_jobs", "chosen_targets"]

#: Jobs or tasks that are read at once.
_PAGE = 500

Target = tuple[int, int | None]


class Filters(NamedTuple):
    """What a job or task must be like; what is empty is not asked."""

    states: tuple[str, ...] = ()  # of the job; of the task, where tasks are named
    name: str = ""  # with * and ?, as in a shell
    labels: tuple[tuple[str, str], ...] = ()
    since: str = ""  # RFC 3339 in UTC: submitted then or later
    where: tuple[tuple[str, str], ...] = ()  # parameters of tasks

    def of_job(self, job: Document) -> bool:
        """Say whether a job is wanted, its state aside."""
        if self.name and not fnmatchcase(job["name"], self.name):
            return False
        if self.since and job["submitted"] < self.since:
            return False
        return all(job["labels"].get(name) == value for name, value in self.labels)


def chosen_jobs(store: Store, filters: Filters, limit: int, *, only_open: bool = False) -> list[Document]:
    """Return the newest `limit` jobs that are wanted, newest first."""
    found: list[Document] = []
    before = views.LARGEST
    while len(found) < limit:
        page = views.jobs(store, _PAGE, only_open=only_open, before=before)
        wanted = filter(filters.of_job, page)
        found += [job for job in wanted if not filters.states or job["state"] in filters.states]
        if len(page) < _PAGE or (filters.since and page[-1]["submitted"] < filters.since):
            break
        before = page[-1]["id"]
    return found[:limit]


def chosen_targets(
    store: Store, targets: Iterable[Target], filters: Filters, *, of_tasks: bool = False
) -> Iterator[Target]:
    """Yield those of the targets that are wanted.

    With `where`, and with states `of_tasks`, jobs become those of their tasks that are like that.
    """
    by_task = bool(filters.where) or (of_tasks and bool(filters.states))
    jobs: dict[int, Document] = {}
    for job_id, task in targets:
        if job_id not in jobs:
            jobs[job_id] = views.job(store, job_id)
        job = jobs[job_id]
        if not filters.of_job(job):
            continue
        if task is None and not by_task:
            if not filters.states or job["state"] in filters.states:
                yield (job_id, None)
            continue
        yield from _chosen_tasks(store, job_id, task, filters)


def _chosen_tasks(store: Store, job_id: int, task: int | None, filters: Filters) -> Iterator[Target]:
    """Yield the tasks of a job, or the one that is named, by their own state and parameters."""
    for row in _tasks(store, job_id, task):
        if filters.states and row["state"] not in filters.states:
            continue
        if not filters.where or matches(row["parameters"], filters.where):
            yield (job_id, row["index"])


def _tasks(store: Store, job: int, task: int | None) -> Iterator[Document]:
    """Yield the tasks of a job, or the one."""
    first = 0 if task is None else task
    last = views.LARGEST if task is None else task
    while True:
        found = views.tasks(store, job, first, last, limit=_PAGE, replicas=False)
        yield from found["tasks"]
        if not found["more"]:
            return
        first = found["tasks"][-1]["index"] + 1
