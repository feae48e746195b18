"""`ls`, `show` and `results`: what is there. These are judged by how fast they start, so they import little."""

from __future__ import annotations

import click

from nexapod_batch.cli import selectors
from nexapod_batch.cli.context import has_database, json_option, looking, reading, results_folder
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NexapodError, TryAgainError, UsageError

__all__ = ["ls", "results", "show"]

#: Tasks that `show` prints without `--tasks`.
LIMIT = 1000


@click.command()
@click.option("--open", "only_open", is_flag=True, help="Only jobs that have not ended.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many."
)
@json_option
def ls(only_open: bool, limit: int, as_json: bool) -> None:
    """List jobs, the newest first."""
    found = []
    if has_database():  # before the first job there is nothing to list, which is no fault
        with reading() as store:
            found = views.jobs(store, limit, only_open=only_open)
    output(as_json).rows("jobs", found, ["id", "name", "state", "tasks", "accepted", "submitted"], _row)


@click.command()
@click.argument("selector", metavar="ID")
@click.option("--tasks", "span", metavar="FIRST-LAST", help="These tasks only.")
@json_option
def show(selector: str, span: str | None, as_json: bool) -> None:
    """Show a job (42) or a task (42_7) with its replicas."""
    with reading() as store:
        job, task = selectors.resolve_one(store, selector)
        if task is not None:
            first, last, limit = task, task, LIMIT
        elif span is not None:
            first, last = selectors.parse_range(span)
            limit = min(last - first + 1, 1_000_000)
        else:
            first, last, limit = 0, views.LARGEST, LIMIT
        document = views.tasks(store, job, first, last, limit=limit)
        document["job"]["results"] = results_folder(job)
        output(as_json).document(document, renderers.show)


@click.command()
@click.argument("selector", metavar="ID")
@click.option("--replica", "single", is_flag=True, help="What single replicas (42_7.2) wrote, accepted or not.")
@click.option("--out", type=click.Path(file_okay=False), help="Copy what one replica wrote to here.")
@json_option
def results(selector: str, single: bool, out: str | None, as_json: bool) -> int:
    """Print the folders of a job's accepted results.

    With --replica: where single replicas of a task (42_7, or one of them, 42_7.2) left what they wrote.
    """
    if single or out is not None or "." in selector:
        return _of_replicas(selector, out, as_json)
    with reading() as store:
        target = selectors.resolve_one(store, selector)
        found = views.tasks(store, target.job, target.task, target.task, limit=1_000_000)
    job, folder = found["job"], results_folder(target.job)
    there = [task for task in found["tasks"] if task["published"]]
    if not there:
        raise _no_results(target, found)
    rows = [
        {
            "task": f"{job['id']}_{task['index']}",
            "path": f"{folder}/{task['index']}",
            **({"doubt": task["doubt"]} if task["doubt"] else {}),
        }
        for task in there
    ]
    for task in there:
        if task["doubt"]:
            note(renderers.doubted(job["id"], task))
    output(as_json).document({"job": job["id"], "folder": folder, "results": rows}, _paths)
    return 0


def _of_replicas(selector: str, out: str | None, as_json: bool) -> int:
    """Print where the files of replicas are, or copy those of one."""
    from pathlib import Path

    from nexapod_batch.coordinator.queries import replica_files

    with looking() as c:
        (job, task), number = selectors.replica_of(c.store, selector)
        if task is None:
            raise UsageError("replicas belong to a task", got=selector, wanted="42_7 or 42_7.2")
        if out is None:
            found = replica_files.listed(c, job, task, number)
            output(as_json).rows("replicas", found, ["replica", "node", "execution", "kept", "folder"])
            return 0
        if number is None:
            raise UsageError("--out takes what one replica wrote", got=selector, wanted=f"{job}_{task}.1, say")
        document = replica_files.copy(c, job, task, number, Path(out))
    output(as_json).document(document, renderers.copied)
    return 0


def _paths(document: dict[str, list[dict[str, str]]]) -> list[str]:
    return [one["path"] for one in document["results"]]


def _no_results(target: selectors.Target, found: views.Document) -> NexapodError:
    state = found["job"]["state"] if target.task is None else found["tasks"][0]["state"]
    if state in {"waiting", "active", "accepted"}:
        return TryAgainError(f"no results of {target} yet: it is {state}", hint=f"nexapod-batch wait {target.job}")
    return NexapodError(f"{target} has no results: it is {state}", hint=f"nexapod-batch explain {target}")


def _row(job: views.Document) -> views.Document:
    state = f"{job['state']} (held)" if job["held"] else job["state"]
    state += " (in doubt)" if job["n_doubted"] else ""
    return {**job, "state": state, "tasks": job["n_tasks"], "accepted": job["counts"]["accepted"]}
