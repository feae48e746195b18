"""`results`: where accepted results lie, and copies of them: of single replicas, or of a whole sweep."""

from __future__ import annotations

import click

from nexapod_batch.cli import selectors
from nexapod_batch.cli.context import json_option, looking, reading, results_folder
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.cli.selection import Selection, selection
from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NexapodError, TryAgainError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nexapod_batch.coordinator.queries.views import Document
    from nexapod_batch.store import Store

__all__ = ["results"]

#: Exit code where results are still to come: sysexits' "try again".
_NOT_YET = 75
#: States in which results may still come.
_STILL = frozenset({"waiting", "active", "accepted"})
#: Missing tasks that are named one by one.
_NAMED = 10


@click.command()
@selection
@click.option("--replica", "single", is_flag=True, help="What single replicas (42_7.2) wrote, accepted or not.")
@click.option("--out", metavar="FOLDER", type=click.Path(file_okay=False), help="Copy the results to here.")
@click.option("--flat", "layout", flag_value="flat", help="With --out: no folders, names such as 42_7.out.csv.")
@click.option("--table", "layout", flag_value="table", help="With --out: one table.csv of all tasks.")
@click.option("--pull", is_flag=True, help="Bring a delivery here, verified: that of a job, or one by its place.")
@click.option("--deliver", is_flag=True, help="Try again now to put them where [results] to says.")
@json_option
def results(
    selected: Selection, single: bool, out: str | None, layout: str | None, pull: bool, deliver: bool, as_json: bool
) -> int:
    """Print the folders of accepted results, or copy them.

    A table has a row for each task, with its parameters and what is in its JSON and CSV outputs. What is missing is
    named; then the exit code is 1, or 75 while it can still come. With --replica: where single replicas of a task
    (42_7, or one of them, 42_7.2) left what they wrote.
    """
    if pull or deliver:
        if sum(map(bool, (pull, deliver, single, layout))) > 1:
            raise UsageError("--pull and --deliver stand alone", hint="nexapod-batch results --help")
        return _delivered(selected.texts, out, pull=pull, as_json=as_json)
    if layout is not None and out is None:
        raise UsageError(f"--{layout} copies results", wanted="--out FOLDER as well")
    if single or any("." in text for text in selected.texts):
        return _of_replicas(selected.texts, out, as_json)
    with reading() as store:
        targets = selected.targets(store, of_tasks=True)
        rows, missing = _published(store, targets)
        if not rows:
            raise _no_results(store, targets[0])
    _tell_of_doubts(rows)
    if out is None:
        output(as_json).document({**_head(targets), "results": list(map(_listed, rows)), "missing": missing}, _paths)
    else:
        _collected(rows, missing, out, layout or "folders", as_json=as_json)
    return _missing_code(missing)


def _collected(rows: list[Document], missing: list[Document], out: str, layout: str, *, as_json: bool) -> None:
    """Copy results to a folder, and print what came of it."""
    from nexapod_batch.cli.collecting import collect

    output(as_json).document({**collect(rows, out, layout), "missing": missing}, renderers.collected)


def _delivered(texts: tuple[str, ...], out: str | None, *, pull: bool, as_json: bool) -> int:
    """Bring deliveries back, or try them once more."""
    from nexapod_batch.cli.commands.deliveries import deliver_now, pull_back

    if pull:
        return pull_back(texts, out, as_json)
    return deliver_now(texts, as_json)


def _tell_of_doubts(rows: list[Document]) -> None:
    for row in rows:
        if "doubt" in row:
            job = int(row["task"].partition("_")[0])
            note(renderers.doubted(job, {"index": row["index"], "doubt": row["doubt"]}))


def _head(targets: list[selectors.Target]) -> Document:
    """Return job and folder, where all results are of one job."""
    jobs = {target.job for target in targets}
    if len(jobs) > 1:
        return {}
    (job,) = jobs
    return {"job": job, "folder": results_folder(job)}


def _published(store: Store, targets: list[selectors.Target]) -> tuple[list[Document], list[Document]]:
    """Return a row for each task with results, and one for each without."""
    rows: list[Document] = []
    missing: list[Document] = []
    for target in targets:
        found = views.tasks(store, target.job, target.task, target.task, limit=1_000_000, replicas=False)
        folder = results_folder(target.job)
        for task in found["tasks"]:
            name = f"{target.job}_{task['index']}"
            if not task["published"]:
                missing.append({"task": name, "state": task["state"], "parameters": task["parameters"]})
                continue
            row = {
                "task": name, "path": f"{folder}/{task['index']}", "parameters": task["parameters"],
                "index": task["index"], "state": task["state"],
            }  # fmt: skip
            if task["doubt"]:
                row["doubt"] = task["doubt"]
            rows.append(row)
    return rows, missing


def _listed(row: Document) -> Document:
    return {key: row[key] for key in ("task", "path", "parameters", "doubt") if key in row}


def _missing_code(missing: list[Document]) -> int:
    """Say what is missing, and return the exit code."""
    if not missing:
        return 0
    named = ", ".join(f"{row['task']} {row['state']}" for row in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    ended = [row["task"] for row in missing if row["state"] not in _STILL]
    jobs = " ".join(dict.fromkeys(row["task"].partition("_")[0] for row in missing))
    how = f"why: nexapod-batch explain {ended[0]}" if ended else f"to go on: nexapod-batch wait {jobs}"
    note(f"missing: {named}{more}\n  {how}")
    if all(row["state"] in _STILL for row in missing):
        return _NOT_YET
    return 1


def _of_replicas(texts: tuple[str, ...], out: str | None, as_json: bool) -> int:
    """Print where the files of replicas are, or copy those of one."""
    from pathlib import Path

    from nexapod_batch.coordinator.queries import replica_files

    if len(texts) != 1:
        raise UsageError("replicas of one task at a time", got=" ".join(texts) or "none", wanted="42_7 or 42_7.2")
    (selector,) = texts
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


def _paths(document: Document) -> list[str]:
    return [row["path"] for row in document["results"]]


def _no_results(store: Store, target: selectors.Target) -> NexapodError:
    found = views.tasks(store, target.job, target.task, target.task, limit=1, replicas=False)
    state = found["job"]["state"] if target.task is None else found["tasks"][0]["state"]
    if state in _STILL:
        return TryAgainError(f"no results of {target} yet: it is {state}", hint=f"nexapod-batch wait {target.job}")
    return NexapodError(f"{target} has no results: it is {state}", hint=f"nexapod-batch explain {target}")
