"""`ls` and `show`: what is there. These are judged by how fast they start, so they import little."""

from __future__ import annotations

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.command_table import JOB_COLUMNS
from nexapod_batch.cli.context import (
    has_database,
    home_that_is_not_there,
    json_option,
    reading,
    results_folder,
    staging_of,
    tell_of_unread_reports,
)
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.cli.selection import Selection, optional_selection, selection
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nexapod_batch.coordinator.queries.views import Document
    from nexapod_batch.store import Store

__all__ = ["ls", "show"]

#: Tasks that `show` prints without `--tasks`.
LIMIT = 1000
#: What `ls` shows where nobody says otherwise.
_COLUMNS = ("id", "name", "state", "tasks", "accepted", "submitted")


@click.command()
@optional_selection
@click.option("--open", "only_open", is_flag=True, help="Only jobs that have not ended.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many."
)
@click.option(
    "--sort", metavar="COLUMN", shell_complete=complete.columns, help="Sort by this column; -COLUMN turns it round."
)
@click.option(
    "--format", "form", metavar="COLUMNS", shell_complete=complete.columns,
    help="These columns (id,name,labels), or a text with {id} {name}.",
)  # fmt: skip
@json_option
def ls(
    selected: Selection, only_open: bool, limit: int, sort: str | None, form: str | None, as_json: bool
) -> None:
    """List jobs, the newest first.

    Columns: id, name, state, tasks, accepted, submitted; also labels, user, finished, failed, active, waiting,
    inconclusive, cancelled, priority, uuid, held, doubted.
    """
    found = []
    if has_database():  # before the first job there is nothing to list, which is no fault
        with reading() as store:
            found = _jobs(store, selected, limit, only_open=only_open)
            tell_of_unread_reports(store)
    elif missing := home_that_is_not_there():
        note(missing)
    if sort is not None:
        found = _sorted(found, sort)
    if form is not None and "{" in form and not as_json:
        output(as_json).lines("jobs", [_filled(form, _row(job)) for job in found])
    else:
        output(as_json).rows("jobs", found, _shown_columns(form, found), _row)


def _shown_columns(form: str | None, jobs: list[Document]) -> list[str]:
    if form is not None and "{" not in form:
        return _columns(form)
    if form is None and any(job["labels"] for job in jobs):
        return [*_COLUMNS, "labels"]
    return list(_COLUMNS)


def _jobs(store: Store, selected: Selection, limit: int, *, only_open: bool) -> list[Document]:
    """Return the jobs that are asked for, newest first."""
    if selected.texts:
        ids = dict.fromkeys(target.job for target in selected.targets(store, only_open=only_open))
        return [views.job(store, job) for job in sorted(ids, reverse=True)[:limit]]
    if selected.filters is None:
        return views.jobs(store, limit, only_open=only_open)
    from nexapod_batch.coordinator.queries.selection import chosen_jobs

    return chosen_jobs(store, selected.filters, limit, only_open=only_open)


def _columns(text: str) -> list[str]:
    """Return the columns of a list; UsageError for one that there is not."""
    columns = [column.strip().lower() for column in text.split(",")]
    for column in columns:
        if column not in JOB_COLUMNS:
            raise UsageError("no such column", got=repr(column), wanted=f"some of {', '.join(JOB_COLUMNS)}")
    return columns


def _filled(text: str, row: Document) -> str:
    """Return a text with the values of a job; UsageError for a name that there is not."""
    shown = {name: renderers.cell(row[name]) for name in JOB_COLUMNS}
    try:
        return text.replace("\\t", "\t").format_map(shown)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        wanted = f"names of columns in braces: {', '.join(JOB_COLUMNS)}"
        raise UsageError("--format", got=repr(text), wanted=wanted) from error


def _sorted(jobs: list[Document], text: str) -> list[Document]:
    (column,) = _columns(text.removeprefix("-"))

    def key(job: Document) -> tuple[bool, object]:
        value = _row(job)[column]
        if isinstance(value, dict):
            value = renderers.cell(value)
        return value is not None, value

    return sorted(jobs, key=key, reverse=text.startswith("-"))


@click.command()
@selection
@click.option("--tasks", "span", metavar="FIRST-LAST", help="These tasks only, each by itself.")
@json_option
def show(selected: Selection, span: str | None, as_json: bool) -> None:
    """Show jobs (42) or tasks (42_7) with their replicas.

    Of a job with many tasks those that stand alike are shown in one line; --tasks shows each. With --state or --where
    single tasks are chosen.
    """
    with reading() as store:
        shown = [_shown(store, target, span) for target in selected.targets(store, of_tasks=True)]
        tell_of_unread_reports(store)
    if len(shown) == 1:
        output(as_json).document(shown[0], renderers.show)
    else:
        output(as_json).document({"jobs": shown}, renderers.shows)


def _shown(store: Store, target: selectors.Target, span: str | None) -> Document:
    first, last, limit = 0, views.LARGEST, LIMIT
    if target.task is not None:
        first = last = target.task
    elif span is not None:
        first, last = selectors.parse_range(span)
        limit = min(last - first + 1, 1_000_000)
    document = views.tasks(store, target.job, first, last, limit=limit)
    document["job"]["results"] = results_folder(target.job)
    if staging := staging_of(target.job):
        document["job"]["staging"] = staging
    document["each"] = target.task is not None or span is not None
    return document


def _row(job: Document) -> Document:
    state = f"{job['state']} (held)" if job["held"] else job["state"]
    state += " (in doubt)" if job["n_doubted"] else ""
    return {
        **job,
        **job["counts"],
        "state": state,
        "tasks": job["n_tasks"],
        "doubted": job["n_doubted"],
    }
