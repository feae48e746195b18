"""`submit`, `ls`, `show`, `wait`, `results`, `logs` and `cancel` for a coordinator elsewhere."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli.context import TIMED_OUT, exit_code, json_option, seconds
from nexapod_batch.cli.remote.connection import connected, job_and_task, url_option
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document
    from nexapod_client import NexaPodClient, Outcome

__all__ = ["cancel", "logs", "ls", "results", "show", "submit", "wait"]

_COLUMNS = ["id", "name", "state", "tasks", "accepted", "submitted"]
#: Tasks of one job that are shown.
_TASKS = 1_000


class _ToTheEnd(click.Command):
    """What follows `--` is the command that is to run, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows `--`; `--wait` alone is to wait for ever."""
        end = args.index("--") if "--" in args else len(args)
        given = ["--wait=" if arg == "--wait" else arg for arg in args[:end]]
        rest = super().parse_args(ctx, given)
        ctx.params["command"] = args[end + 1 :] if "--" in args else None
        return rest


@click.command(cls=_ToTheEnd)
@click.argument("arguments", metavar="[DESCRIPTOR | SCRIPT | - | -- COMMAND...]", nargs=-1)
@click.option("--wait", metavar="[=TIME]", help="Wait for the verdict, at most TIME (10 is minutes, 90s, 1h30m).")
@click.option("--input", "inputs", metavar="FILE", multiple=True, help="A file that the command needs.")
@click.option("--output", "outputs", metavar="PATH", multiple=True, help="A file that the command writes.")
@click.option("--env", metavar="NAME[=VALUE]", multiple=True, help="A variable for it.")
@click.option("--parsable", is_flag=True, help="Print the job id alone.")
@url_option
@json_option
def submit(
    arguments: tuple[str, ...], command: list[str] | None, wait: str | None, inputs: tuple[str, ...],
    outputs: tuple[str, ...], env: tuple[str, ...], parsable: bool, url: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Submit a TOML descriptor, a script, or a command to a coordinator elsewhere.

    Files that it names travel with it.
    """
    from nexapod_batch.cli.drafts.draft import Additions
    from nexapod_batch.cli.drafts.source import read_source
    from nexapod_batch.config.toml import decode

    source = read_source(arguments, command, Additions(inputs=inputs, outputs=outputs, env=env), None)
    document = decode(source.text, source.name)
    if isinstance(document.get("job"), dict):
        document["job"].setdefault("name", _name(source.name))
    with connected(url) as client:
        job = client.submit_job(document, files=_files(document, source.folder))
        for warning in job.warnings:
            note(f"warning: {warning}")
        if parsable:
            click.echo(job.id)
        if wait is None:
            if not parsable:
                fields = {"job": job.id, "uuid": job.uuid, "state": job["state"], "tasks": job["tasks"]}
                output(as_json).document(fields, lambda told: [f"job {told['job']} is submitted to {client.url}"])
            return 0
        return _waited(client, [job.id], seconds(wait), as_json=as_json, silent=parsable)


def _name(text: str) -> str:
    from nexapod_batch.config.rules import default_name

    return default_name(text)


def _files(document: Document, folder: Path) -> dict[str, bytes | str | Path]:
    """Return where the files are that a descriptor names, by the names that it gives them."""
    from nexapod_client.downloads import is_inside, named

    return {name: folder / name for name in named(document) if is_inside(name) and (folder / name).is_file()}


@click.command()
@click.option("-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@url_option
@json_option
def ls(limit: int, url: str | None, as_json: bool) -> None:
    """List your jobs at a coordinator elsewhere, the newest first."""
    from itertools import islice

    with connected(url) as client:
        found = list(islice(client.jobs(), limit))
    output(as_json).rows("jobs", found, _COLUMNS, lambda job: {**job, **job["counts"], "tasks": job["n_tasks"]})


@click.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@url_option
@json_option
def show(names: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Show jobs of a coordinator elsewhere with their tasks and replicas."""
    from itertools import islice

    shown = []
    with connected(url) as client:
        for name in names:
            job = {**client.get_job_status(name), "results": f"nexapod-batch results {name} --out FOLDER"}
            tasks = list(islice(client.tasks(name), _TASKS + 1))
            shown.append({"job": job, "tasks": tasks[:_TASKS], "more": len(tasks) > _TASKS, "each": False})
    if len(shown) == 1:
        output(as_json).document(shown[0], renderers.show)
    else:
        output(as_json).document({"jobs": shown}, renderers.shows)


@click.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", metavar="TIME", help="Wait at most TIME (10 is minutes, 90s, 1h30m).")
@url_option
@json_option
def wait(names: tuple[str, ...], timeout: str | None, url: str | None, as_json: bool) -> int:
    """Wait until jobs of a coordinator elsewhere have ended."""
    with connected(url) as client:
        return _waited(client, list(names), seconds(timeout), as_json=as_json)


def _waited(
    client: NexaPodClient, names: list[Any], limit_s: float | None, *, as_json: bool, silent: bool = False
) -> int:
    """Wait for jobs, print how they ended, and return the exit code."""
    from nexapod_client.errors import WaitTimeoutError

    end = None if limit_s is None else monotonic() + limit_s
    found: list[Outcome] = []
    ended = True
    for name in names:
        try:
            found.append(client.wait(name, _left(end)))
        except WaitTimeoutError:
            ended = False
            found.append(client.job(name))
    jobs = [{**one.job, "results": f"nexapod-batch results {one.job['id']} --out FOLDER"} for one in found]
    if not silent:
        output(as_json).document({"jobs": jobs}, renderers.jobs_ended)
    if not ended:
        note(f"not ended yet: nexapod-batch wait {' '.join(str(one.job['id']) for one in found if not one.ended)}")
        return TIMED_OUT
    return exit_code([one.state for one in found], ended=True)


def _left(end: float | None) -> float | None:
    """Return the seconds until an end, if there is one."""
    if end is None:
        return None
    return max(0.0, end - monotonic())


@click.command()
@click.argument("name", metavar="ID")
@click.option("--out", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help="Save them to here.")
@url_option
@json_option
def results(name: str, out: Path | None, url: str | None, as_json: bool) -> int:
    """List the files of accepted results of a job elsewhere, or save them, as they were signed."""
    with connected(url) as client:
        found = client.results(name, to=out)
    rows = [
        {
            "task": file.task, "path": file.path, "size": file.size, "sha256": file.sha256,
            "saved": None if file.local is None else str(file.local),
        }
        for file in found
    ]  # fmt: skip
    output(as_json).rows("results", rows, ["task", "path", "size", "saved" if out else "sha256"])
    return 0 if rows else 1


@click.command()
@click.argument("name", metavar="ID")
@click.option("--stderr", "of_errors", is_flag=True, help="What it wrote to stderr.")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until the task ended.")
@url_option
@json_option
def logs(name: str, of_errors: bool, follow: bool, url: str | None, as_json: bool) -> None:
    """Print what a task (42_7) of a job elsewhere wrote; of a job, its first task."""
    job, task = job_and_task(name)
    stream = "stderr" if of_errors else "stdout"
    if as_json and follow:
        raise UsageError("--json and --follow", wanted="one of them")
    with connected(url) as client:
        first = next(client.tasks(job))["index"] if task is None else task
        lines = client.logs(job, first, stream, follow=follow)
        if as_json:
            output(as_json).lines("lines", list(lines))
            return
        for line in lines:
            output(as_json).lines("lines", [line])


@click.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@url_option
@json_option
def cancel(names: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Cancel jobs of a coordinator elsewhere; what was accepted stays accepted."""
    with connected(url) as client:
        found = [{"id": one.job["id"], "state": one.state} for one in map(client.cancel, names)]
    output(as_json).rows("jobs", found, ["id", "state"])
