"""`submit`: from a descriptor to a job, and with `--wait` to its verdict."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from nexapod_batch.cli.context import exit_code, json_option, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import SilentOutput, note, note_new, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.cli.rendering.render import Document, Output
    from nexapod_batch.config.job.descriptor import Parsed
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.coordinator.commands.submit import Submitted

__all__ = ["submit"]

#: What `--wait` without a time means.
FOREVER = "forever"
#: Seconds that dispatch may take before the shell gets its prompt back; the next pass goes on where it stopped.
DISPATCH_S = 5.0
#: Passes that a submission may take, where backends refuse what they are given: as many as errors are allowed usually.
_PASSES = 8


class _OptionalValues(click.Command):
    """`--wait` and `--dry-run` take a value only with `=`, so that a descriptor after them is never eaten."""

    bare: ClassVar = {"--wait": f"--wait={FOREVER}", "--dry-run": "--dry-run=one"}
    #: What after the bare form is meant as its value, unless there is such a file.
    value: ClassVar = {"--wait": r"\d[\d:-]*([dhms]\d*)*", "--dry-run": "all|one|slurm|dask"}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell out the bare forms, up to `--`; UsageError for a value after a blank."""
        end = args.index("--") if "--" in args else len(args)
        for option, after in pairwise(args[:end]):
            if option in self.value and re.fullmatch(self.value[option], after) and not Path(after).exists():
                wanted = f"{option}={after}"
                raise UsageError(f"{option} takes its value after =", got=f"{option} {after}", wanted=wanted)
        return super().parse_args(ctx, [self.bare.get(arg, arg) for arg in args[:end]] + args[end:])


@click.command(cls=_OptionalValues)
@click.argument("descriptor", type=click.Path(path_type=Path))
@click.option("--wait", metavar="[=TIME]", help="Wait for the verdict, at most TIME (10 is minutes, 90s, 1h30m).")
@click.option("--follow", is_flag=True, help="Wait, and show the output of the first task as it is written.")
@click.option(
    "--dry-run",
    metavar="[=HOW]",
    help="Print what would run, and make nothing; =all lists each task, =slurm or =dask also asks that scheduler.",
)
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Override a key of the descriptor.")
@click.option("--array", metavar="IDS", help="Override array.ids, as in 1-100%10.")
@click.option("--replicas", type=click.IntRange(1), help="Override quorum.replicas.")
@click.option("--agree", type=click.IntRange(1), help="Override quorum.agree.")
@click.option("--site", help="Use nodes of this site only, for later replicas as well.")
@click.option("--partition", help="Use this partition of the site.")
@click.option("--account", help="Charge this account of the site.")
@click.option("--foreign", is_flag=True, help="The job is somebody else's, whoever owns its descriptor: confine it.")
@click.option("--allow-outside", is_flag=True, help="Let the job have files outside its descriptor's folder.")
@click.option("--parsable", is_flag=True, help="Print the job id alone.")
@json_option
def submit(
    descriptor: Path,
    wait: str | None,
    follow: bool,
    dry_run: str | None,
    sets: tuple[str, ...],
    array: str | None,
    replicas: int | None,
    agree: int | None,
    site: str | None,
    partition: str | None,
    account: str | None,
    foreign: bool,
    allow_outside: bool,
    parsable: bool,
    as_json: bool,
) -> int:
    """Submit the job of a TOML descriptor."""
    from nexapod_batch.cli.rendering.progress import progress
    from nexapod_batch.cli.waiting import parse_wait, wait_for
    from nexapod_batch.coordinator.commands import submit as use_case
    from nexapod_batch.coordinator.queries import views

    timeout = parse_wait(None if wait == FOREVER else wait)
    words = {name: value for name, value in (("partition", partition), ("account", account)) if value is not None}
    out: Output = SilentOutput() if parsable else output(as_json)
    given = {"array.ids": array, "quorum.replicas": replicas, "quorum.agree": agree, "schedule.sites": site}
    chosen = {key: value for key, value in given.items() if value is not None}
    parsed = _load(descriptor, sets, chosen, outside=allow_outside)
    warnings = parsed.warnings
    if parsed.owner not in {os.geteuid(), 0}:
        foreign = True
        owned = f"{descriptor} belongs to uid {parsed.owner}"
        warnings += (f"{owned}: somebody else's commands are confined, without network",)
    if dry_run is not None:
        return _dry_run(parsed, words, dry_run, output(as_json), foreign=foreign)
    with writing() as c:
        with progress() as shown:
            folder = descriptor.parent.absolute()
            done = use_case.submit(
                c, parsed.job, folder, words, foreign=foreign, warnings=warnings, progress=shown
            )
        fields = _announce(done, out)
        if parsable:
            click.echo(done.job)
        code = 0
        found: list[Document] = []
        if wait is not None or follow:
            code, found = wait_for(c, [done.job], timeout, follow=follow and not as_json, said=done.warnings)
        else:
            _dispatch(c, done)
        state = views.job(c.store, done.job)["state"]
        if state == "failed" and not code:  # refused for good: as sbatch, submit says so at once
            code = exit_code([state], ended=True)
        out.document({**fields, "state": state}, lambda _: renderers.jobs_ended({"jobs": found}))
    return code


def _dispatch(c: Coordinator, done: Submitted) -> None:
    """Place what can be placed now. The job is stored: a pass that cannot run must not make a script submit again."""
    from nexapod_batch.coordinator.commands import reconcile
    from nexapod_batch.errors import TryAgainError

    said = list(done.warnings)
    try:
        for _ in range(_PASSES):
            found = reconcile.reconcile(c, max_seconds=DISPATCH_S)
            for fault in found.faults:
                note_new(fault, said)
            said += found.faults
            if not found.news:
                break
    except TryAgainError as error:
        next_pass = f"the next pass (nexapod-batch wait {done.job})"
        note(f"job {done.job} is kept and will be placed by {next_pass}; not now: {error.what}")


def _load(descriptor: Path, sets: Sequence[str], given: Document, *, outside: bool) -> Parsed:
    """Parse the descriptor: options win over `--set`, that over `NEXAPOD_*`, the job, the project, the user."""
    from nexapod_batch.config.job.descriptor import load
    from nexapod_batch.config.settings import settings

    found = settings(paths(), project=descriptor.parent)
    for warning in found.warnings:
        note(f"warning: {warning}")
    defaults, variables = dict(found.job_defaults), dict(found.job_overrides)
    if found.site is not None:
        (variables if found.origin["site"] == "NEXAPOD_SITE" else defaults)["schedule.sites"] = found.site
    variables = {key: value for key, value in variables.items() if not _set_too(key, sets)}
    return load(descriptor, sets=sets, overrides={**variables, **given}, defaults=defaults, outside=outside)


def _set_too(key: str, sets: Sequence[str]) -> bool:
    return any(one.partition("=")[0].strip() == key for one in sets)


def _dry_run(parsed: Parsed, words: dict[str, str], how: str, out: Output, *, foreign: bool) -> int:
    """Print what a submission would launch. Nothing is made, also where nothing was submitted yet."""
    from nexapod_batch.coordinator.commands import submit as use_case
    from nexapod_batch.coordinator.context import open_to_look

    if how not in {"one", "all", "slurm", "dask"}:
        raise UsageError("--dry-run", got=repr(how), wanted="it alone, or with =all, =slurm or =dask")
    ask = "" if how in {"one", "all"} else how
    for warning in parsed.warnings:
        note(f"warning: {warning}")
    with open_to_look(paths()) as c:
        lines = use_case.dry_run(c, parsed.job, words, foreign=foreign, every=how == "all", ask=ask)
    out.lines("dry_run", lines)
    return 0


def _announce(done: Submitted, out: Output) -> Document:
    """Say, before anything is dispatched, what was submitted, what it will cost, and where results will be."""
    for warning in done.warnings:
        note(f"warning: {warning}")
    fields = {
        "job": done.job,
        "uuid": done.uuid,
        "tasks": done.tasks,
        "core_hours": done.core_hours,
        "results": str(done.results),
        "reach": done.reach,
        "warnings": list(done.warnings),
    }
    out.part(fields, renderers.submitted)
    return fields
