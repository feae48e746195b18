"""Commands that change jobs: `wait`, `cancel`, `hold`, `release`, `retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import selectors
from nexapod_batch.cli.context import json_option, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.cli.selection import Selection, selection

if TYPE_CHECKING:
    from nexapod_batch.cli.rendering.render import Document, Output
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.coordinator.commands.resubmit import Fresh

__all__ = ["cancel", "hold", "release", "retry", "wait"]


@click.command()
@selection
@click.option("--timeout", metavar="TIME", help="Wait at most so long (10 is minutes, 90s, 1h30m).")
@json_option
def wait(selected: Selection, timeout: str | None, as_json: bool) -> int:
    """Wait until jobs have ended, and drive them meanwhile."""
    from nexapod_batch.cli.waiting import parse_wait, wait_for

    limit = parse_wait(timeout)
    with writing() as c:
        jobs = selectors.jobs_of(selected.targets(c.store, only_open=True))
        code, found = wait_for(c, jobs, limit)
    output(as_json).document({"jobs": found}, renderers.jobs_ended)
    return code


@click.command()
@selection
@json_option
def cancel(selected: Selection, as_json: bool) -> None:
    """Cancel jobs or tasks; what was accepted stays accepted."""
    from nexapod_batch.coordinator.commands import job_control

    with writing() as c:
        names, owed = job_control.cancel(c, selected.targets(c.store, only_open=True, of_tasks=True))
    if owed:
        from nexapod_batch.wording import one_line

        for fault in map(one_line, owed):
            note(f"cancelled here; its site has not heard it yet, and every pass tells it again: {fault}")
    output(as_json).document({"cancelled": names}, renderers.changed)


@click.command()
@selection
@json_option
def hold(selected: Selection, as_json: bool) -> None:
    """Dispatch nothing more of jobs until they are released."""
    from nexapod_batch.coordinator.commands import job_control

    with writing() as c:
        names = job_control.hold(c, _jobs(c, selected))
    output(as_json).document({"held": names}, renderers.changed)


@click.command()
@selection
@json_option
def release(selected: Selection, as_json: bool) -> None:
    """Let held jobs go on."""
    from nexapod_batch.cli.waiting import place_now
    from nexapod_batch.coordinator.commands import job_control

    with writing() as c:
        names = job_control.release(c, _jobs(c, selected))
        if names:
            place_now(c, list(map(int, names)))
            note(renderers.how_to_go_on(names))
    output(as_json).document({"released": names}, renderers.changed)


@click.command()
@selection
@click.option("--fresh", is_flag=True, help="As a new job, with the input files as they are now.")
@click.option("--wait", is_flag=True, help="Wait for the verdicts, as `wait` does.")
@json_option
def retry(selected: Selection, fresh: bool, wait: bool, as_json: bool) -> int:
    """Reopen tasks that failed, found no quorum, were cancelled, or are in doubt.

    They run with the inputs of the submit, whatever became of the files since; a note says which have changed.
    """
    from nexapod_batch.coordinator.commands import job_control, resubmit
    from nexapod_batch.coordinator.placement import kept_inputs

    with writing() as c:
        targets = selected.targets(c.store, of_tasks=True)
        if fresh:
            made = [_as_json(one) for one in resubmit.resubmit(c, targets)]
            room: dict[str, int] = {}
        else:
            made, room = [], job_control.retry(c, targets)
        for job in dict.fromkeys(int(name.partition("_")[0]) for name in room):
            if changed := kept_inputs.changed(c, job):
                note(f"job {job} runs with its inputs of the submit; changed since: {', '.join(changed)}")
                again = f"nexapod-batch cancel {job} && nexapod-batch retry {job} --fresh"
                note(f"  to run it with the files of now: {again}")
        document: dict[str, object] = {"reopened": list(room), "at_least_more": room}
        if fresh:
            document["submitted"] = made
        if not wait:
            output(as_json).document(document, renderers.reopened)
            return 0
        names = [name.partition("_")[0] for name in room] + [str(job["job"]) for job in made]
        return _waited(c, list(dict.fromkeys(map(int, names))), document, output(as_json))


def _waited(c: Coordinator, jobs: list[int], document: Document, out: Output) -> int:
    """Say what goes on, wait for it, and print how it ended; return the exit code."""
    from nexapod_batch.cli.waiting import wait_for

    out.part(document, renderers.reopened)
    code, found = wait_for(c, jobs, None)
    out.document({**document, "jobs": found}, lambda _: renderers.jobs_ended({"jobs": found}))
    return code


def _as_json(one: Fresh) -> dict[str, object]:
    return {"job": one.submitted.job, "of": list(one.tasks), "changed": list(one.changed)}


def _jobs(c: Coordinator, selected: Selection) -> list[selectors.Target]:
    """Return whole jobs; UsageError when a selector names a task."""
    found = selected.targets(c.store, only_open=True)
    selectors.jobs_of(found)
    return found
