"""The read side: jobs, tasks and nodes as the documents that the command line prints.

Nothing here writes, verifies or decides; every function is one or two indexed queries, so that a listing costs the
same beside a million tasks as beside one. The documents hold only JSON types. Imports stay few, because `ls` and
`show` are judged by how fast they start.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.queries.parameters import parameters
from nexapod_batch.errors import NotFoundError
from nexapod_batch.lifecycle import TaskState, job_state

if TYPE_CHECKING:
    from nexapod_batch.store import Store
    from nexapod_batch.store.repositories.views import DependencyView, JobDetails, JobView, ReplicaView, TaskView

__all__ = [
    "Document",
    "job",
    "job_ids",
    "jobs",
    "last_job",
    "nodes",
    "open_jobs",
    "require_job",
    "require_task",
    "task_indexes",
    "tasks",
    "waits",
]

#: A JSON object, ready to be printed.
Document = dict[str, Any]

#: No id or index is larger.
LARGEST = 2**63 - 1


def jobs(store: Store, limit: int = 50, *, only_open: bool = False, before: int = LARGEST) -> list[Document]:
    """Return the newest `limit` jobs, newest first; `before` an id to page backwards."""
    views = store.views
    rows = views.open_jobs(limit=limit, before=before) if only_open else views.jobs(limit=limit, before=before)
    return [_job(row) for row in rows]


def jobs_of(store: Store, user: str, limit: int = 50, *, before: int = LARGEST) -> list[Document]:
    """Return the newest `limit` jobs of a user, newest first; `before` an id to page backwards."""
    return [_job(row) for row in store.views.jobs_of(user, limit=limit, before=before)]


def job(store: Store, job_id: int) -> Document:
    """Return one job with its policy and its dependencies; NotFoundError when there is none of this id."""
    row = store.views.job(job_id) if job_id <= LARGEST else None
    if row is None:
        raise NotFoundError(f"there is no job {job_id}", hint="nexapod-batch ls lists the jobs")
    from json import loads  # noqa: PLC0415 - a listing has no need of it

    depends = store.views.dependencies(job_id)
    return {
        **_job(row),
        "foreign": bool(row["foreign"]),
        "digest": row["digest"],
        "folder": row["folder"],
        "max_running": row["max_running"],
        "quorum": loads(row["quorum"] or "{}"),
        "container": loads(row["container"] or "null"),
        "depends_on": [{"job": row["on_job"], "when": row["condition"]} for row in depends],
        **_delivery(store, row),
        **_withdrawn(store, job_id, depends),
    }


def _withdrawn(store: Store, job_id: int, depends: list[DependencyView]) -> Document:
    """Return the outputs that a job was made with and that are accepted no longer; nothing where there are none."""
    if not depends:
        return {}
    from nexapod_batch.coordinator.queries.withdrawn_sources import withdrawn_sources  # noqa: PLC0415 - seldom

    found = withdrawn_sources(store, job_id)
    return {"withdrawn_sources": found} if found else {}


def _delivery(store: Store, job: JobDetails) -> Document:
    """Return how far the delivery of a job is; nothing where it asks for none."""
    if not job["delivered"]:
        return {}
    from nexapod_batch.coordinator.queries.deliveries import delivery_of  # noqa: PLC0415 - few jobs are delivered

    return {"delivery": delivery_of(store, job["id"])}


def tasks(
    store: Store,
    job_id: int,
    first: int | None = None,
    last: int | None = None,
    *,
    limit: int = 1000,
    replicas: bool = True,
) -> Document:
    """Return `{"schema", "job", "tasks", "more"}`: the job and at most `limit` of its tasks from `first` to `last`.

    `more` says that the range holds tasks which did not fit. Without `replicas` each task's list of them is empty.
    """
    found_job = job(store, job_id)
    low, high = 0 if first is None else first, LARGEST if last is None else last
    rows = store.views.tasks(job_id, low, high, limit + 1)
    more = len(rows) > limit
    found = [_task(row) for row in rows[:limit]]
    _add_parameters(store, job_id, found)
    if found and replicas:
        by_index: dict[int, list[Document]] = {one["index"]: one["replicas"] for one in found}
        for row in store.views.replicas(job_id, found[0]["index"], found[-1]["index"]):
            by_index[row["task"]].append(_replica(job_id, row))
        _add_judgements(store, job_id, found)
    return {"schema": 1, "job": found_job, "tasks": found, "more": more}


def _add_judgements(store: Store, job_id: int, tasks: list[Document]) -> None:
    """Put what was judged under other rules into the tasks that have such verdicts."""
    rows = store.views.judged(job_id, tasks[0]["index"], tasks[-1]["index"])
    if rows:
        from nexapod_batch.ledger.events import parse_event  # noqa: PLC0415 - seldom

        by_index = {task["index"]: task for task in tasks}
        for entry, task, body in rows:
            state = str(parse_event(body)["state"]) if body else ""
            by_index[task].setdefault("judged_again", []).append({"entry": entry, "state": state})


def outcome(store: Store, job_id: int, limit: int) -> Document:
    """Return what `tasks` does of a whole job, without replicas; where not all of it fits, what has no result first."""
    found = tasks(store, job_id, limit=limit, replicas=False)
    if found["more"]:
        first = [_task(row) for row in store.views.tasks_without_result(job_id, limit)]
        if first:
            _add_parameters(store, job_id, first)
            found["tasks"] = first
    return found


def _add_parameters(store: Store, job_id: int, tasks: list[Document]) -> None:
    """Put the parameters of the job's array into its tasks."""
    text = store.views.array(job_id)
    array = None
    if text:
        from json import loads  # noqa: PLC0415 - a job of one task has no need of it

        array = loads(text)
    for task in tasks:
        task["parameters"] = parameters(array, task["index"])


def task_indexes(store: Store, job_id: int, first: int, last: int) -> list[int]:
    """Return the indexes of a job's tasks from `first` to `last`; NotFoundError when there is no such job."""
    require_job(store, job_id)
    rows = store.views.tasks(job_id, min(first, LARGEST), min(last, LARGEST), LARGEST)
    return [row["idx"] for row in rows]


def require_job(store: Store, job_id: int) -> None:
    """Raise NotFoundError unless there is a job of this id."""
    if job_id > LARGEST or not store.views.job_ids(job_id, job_id):
        raise NotFoundError(f"there is no job {job_id}", hint="nexapod-batch ls lists the jobs")


def require_task(store: Store, job_id: int, index: int) -> None:
    """Raise NotFoundError unless there is a task of this index."""
    require_job(store, job_id)
    if index > LARGEST or not store.views.tasks(job_id, index, index, 1):
        raise NotFoundError(f"job {job_id} has no task {index}", hint=f"nexapod-batch show {job_id} lists its tasks")


def nodes(store: Store) -> list[Document]:
    """Return every registered node by name, with the replicas that are out on it."""
    from json import loads  # noqa: PLC0415

    rows = store.views.nodes()
    return [
        {
            "name": row["name"],
            "key": row["key_id"],
            "site": row["site"],
            "owner": row["owner"],
            "host": row["host"],
            "tier": row["tier"],
            "backend": row["backend"],
            "cpus": row["cpus"],
            "mem_mib": row["mem_mib"],
            "gpus": row["gpus"],
            "gpu_type": row["gpu_type"],
            "classes": loads(row["classes"]),
            "max_queued": row["max_queued"],
            "active": bool(row["active"]),
            "blame": row["blame"],
            "out": row["out"],
            "public_key": row["public_key"].hex(),
            "created": _time(row["created_at"]),
        }
        for row in rows
    ]


def last_job(store: Store) -> int | None:
    """Return the id of the newest job; None when there is none."""
    return store.views.last_job()


def job_ids(store: Store, first: int = 1, last: int = LARGEST) -> list[int]:
    """Return the ids of the jobs from `first` to `last`, both included."""
    return store.views.job_ids(min(first, LARGEST), min(last, LARGEST))


def open_jobs(store: Store) -> list[int]:
    """Return the ids of the jobs that have not ended."""
    return store.views.open_job_ids()


def _job(row: JobView) -> Document:
    counts = {
        TaskState.WAITING: row["n_waiting"],
        TaskState.ACTIVE: row["n_active"],
        TaskState.ACCEPTED: row["n_accepted"],
        TaskState.FAILED: row["n_failed"],
        TaskState.INCONCLUSIVE: row["n_inconclusive"],
        TaskState.CANCELLED: row["n_cancelled"],
    }
    blocked = _reason(row["blocked"])
    return {
        "id": row["id"],
        "uuid": row["uuid"],
        "name": row["name"],
        "state": job_state(counts).value,
        "user": row["user"],
        "held": bool(row["held"]),
        "blocked": blocked["sentence"],
        "blocked_why": blocked["why"],
        "priority": row["priority"],
        "submitted": _time(row["created_at"]),
        "finished": _time(row["finished_at"]),
        "n_tasks": row["n_tasks"],
        "counts": {state.value: count for state, count in counts.items()},
        "n_doubted": row["n_doubted"],
        "labels": _labels(row["labels"]),
    }


def _labels(text: str | None) -> dict[str, str]:
    if not text or text == "[]":
        return {}
    from json import loads  # noqa: PLC0415 - for jobs that have some

    return dict(loads(text))


def _task(row: TaskView) -> Document:
    reason, unpublished = _reason(row["reason"]), _reason(row["unpublished"])
    return {
        "index": row["idx"],
        "state": row["state"],
        "reason": _with_unpublished(reason["sentence"], unpublished["sentence"]),
        "why": reason["why"],
        "unpublished": unpublished["why"],
        "doubt": _reason(row["doubt"])["sentence"],
        "agree": row["agree"],
        "class": row["numeric_class"],
        "published": bool(row["published"]),
        "published_from": row["published_from"],
        "replicas": [],
    }


def _reason(text: str) -> Document:
    """Return the sentence of a stored reason, and the reason as data."""
    if not text:
        return {"sentence": "", "why": None}
    from nexapod_batch.wording import sentence  # noqa: PLC0415 - a list of jobs has no need of it

    document = _reason_document(text)
    return {"sentence": sentence(document), "why": document}


def _reason_document(text: str) -> Document:
    """Return a stored reason as data, read by what is imported anyway."""
    from json import loads  # noqa: PLC0415

    with suppress(ValueError):
        document = loads(text)
        if isinstance(document, dict) and "code" in document:
            return {"code": document["code"], "parameters": document.get("parameters", {})}
    from nexapod_batch.model.reason_codes import Code  # noqa: PLC0415 - databases of today have JSON alone

    return {"code": Code.TEXT, "parameters": {"text": text}}


def _with_unpublished(reason: str, unpublished: str) -> str:
    """Return the sentence of a task, and why its files are not in the results."""
    if not unpublished:
        return reason
    if reason:
        return f"{reason}; unpublished: {unpublished}"
    return f"unpublished: {unpublished}"


def _replica(job_id: int, row: ReplicaView) -> Document:
    reason = _reason(row["reason"])
    return {
        "id": f"{job_id}_{row['task']}.{row['number']}",
        "node": row["node"],
        "node_key": row["node_key"],
        "site": row["site"],
        "owner": row["owner"],
        "host": row["host"],
        "backend": row["backend"],
        "class": row["numeric_class"],
        "isolation": row["isolation"],
        "execution": row["execution"],
        "validation": row["validation"],
        "voided": bool(row["voided"]),
        "exit_code": row["exit_code"],
        "reason": reason["sentence"],
        "why": reason["why"],
        "native": {"id": row["native_id"], "state": row["native_state"], "reason": row["native_reason"]},
        "wall_ms": row["wall_ms"],
        "cpu_ms": row["cpu_ms"],
        "max_rss_kib": row["max_rss_kib"],
        "output_bytes": row["output_bytes"],
        "gpus": _gpus(row["gpus"]),
        "cleaned": bool(row["cleaned"]),
        "continues": row["continues"],
    }


def _gpus(text: str | None) -> list[Document]:
    if text is None:
        return []
    from json import loads  # noqa: PLC0415 - for who had one

    return list(loads(text))


def _time(milliseconds: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the second."""
    if milliseconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))


def waits(store: Store, job_ids: list[int], now: int, limit: int) -> list[tuple[int, str]]:
    """Return why jobs wait at a time (ms): job and reason; empty where everything runs, or nobody said yet."""
    lost = [
        (job, f"a replica was lost, and the next one waits a while: {_reason(reason)['sentence']}")
        for job, reason in store.views.waits_after_losses(job_ids, now, limit)
    ]
    rest = [(job, _reason(reason)["sentence"]) for job, reason in store.views.waits(job_ids, now, limit)]
    return (lost + rest)[:limit]
