"""`submit`: from a descriptor, a script or a command to a job, and with `--wait` to its verdict."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import exit_code, json_option, paths, writing
from nexapod_batch.cli.drafts.submit_options import descriptor_options, overrides
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import SilentOutput, note, output
from nexapod_batch.errors import DescriptorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nexapod_batch.cli.drafts.draft import Additions, Draft
    from nexapod_batch.cli.drafts.source import Source
    from nexapod_batch.cli.rendering.render import Document, Output
    from nexapod_batch.config.job.descriptor import Parsed
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.coordinator.commands.submit import Submitted
    from nexapod_batch.schema.kinds import Value

__all__ = ["submit"]

#: Names of options that differ from those of their values here.
_OPTION = {"show_only": "print"}
#: What `--wait` without a time means.
FOREVER = "forever"


class _OptionalValues(click.Command):
    """`--wait` and `--dry-run` take a value only with `=`, so that a descriptor after them is never eaten.

    What follows `--` is the command that is to run, whatever it looks like.
    """

    bare: ClassVar = {"--wait": f"--wait={FOREVER}", "--dry-run": "--dry-run=one"}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell out the bare forms, up to `--`; UsageError for a value after a blank."""
        end = args.index("--") if "--" in args else len(args)
        for option, after in pairwise(() if ctx.resilient_parsing else args[:end]):
            if option in self.bare and not Path(after).exists() and _is_value(option, after):
                wanted = f"{option}={after}"
                raise UsageError(f"{option} takes its value after =", got=f"{option} {after}", wanted=wanted)
        rest = super().parse_args(ctx, [self.bare.get(arg, arg) for arg in args[:end]])
        ctx.params["command"] = args[end + 1 :] if "--" in args else None
        return rest


def _is_value(option: str, after: str) -> bool:
    """Say whether what stands after the bare form of an option, and is no file, is meant as its value."""
    if option == "--wait":
        return re.fullmatch(r"\d[\d:-]*([dhms]\d*)*", after) is not None
    return after in _dry_run_words()


def _dry_run_words() -> list[str]:
    """Return what may follow `--dry-run=`: how much is shown, or a backend that is to ask its scheduler."""
    from nexapod_batch.entry_points import names

    return ["one", "all", *names("backend")]


@click.command(cls=_OptionalValues)
@click.argument(
    "arguments", metavar="[DESCRIPTOR... | SCRIPT | - | -- COMMAND...]", nargs=-1, shell_complete=complete.files
)
@click.option(
    "--wait", metavar="[=TIME]", shell_complete=complete.files,
    help="Wait for the verdict, at most TIME (10 is minutes, 90s, 1h30m).",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Wait, and show the output of the first task as it is written.")
@click.option(
    "--dry-run",
    metavar="[=HOW]",
    shell_complete=complete.files,
    help="Print what would run, and make nothing; =all lists each task, =BACKEND also asks its scheduler.",
)
@click.option("--print", "show_only", is_flag=True, help="Print the descriptor that this is, and submit nothing.")
@click.option(
    "--set", "sets", metavar="KEY=VALUE", multiple=True, shell_complete=complete.keys, help="Override a key of it."
)
@descriptor_options
@click.option(
    "--input", "inputs", metavar="FILE", multiple=True, shell_complete=complete.files, help="A file that it needs."
)
@click.option(
    "--output", "outputs", metavar="PATH", multiple=True, help="A file that it writes; PATH:significant,digits=8, say."
)
@click.option("--env", metavar="NAME[=VALUE]", multiple=True, help="A variable for it.")
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="A word of your own, to find jobs again.")
@click.option("--partition", help="Use this partition of the site.")
@click.option("--account", help="Charge this account of the site.")
@click.option("--foreign", is_flag=True, help="The job is somebody else's, whoever owns its descriptor: confine it.")
@click.option("--allow-outside", is_flag=True, help="Let the job have files outside its descriptor's folder.")
@click.option("--parsable", is_flag=True, help="Print the job id alone.")
@json_option
def submit(arguments: tuple[str, ...], as_json: bool, **options: Value) -> int:
    """Submit TOML descriptors, a script, or a command.

    Descriptors that are submitted together may name each other's jobs. A script may have #SBATCH lines: what becomes of
    each is shown. A command stands after --; files that it names and that lie here become its inputs. Options that name
    keys of a descriptor win over it.
    """
    from nexapod_batch.cli.drafts.several import are_descriptors
    from nexapod_batch.coordinator.garbage import no_collection

    with no_collection(kept=True):
        if options["command"] is None and are_descriptors(arguments):
            return _submit_several(arguments, options, as_json=as_json)
        return _submit_one(arguments, options, as_json=as_json)


def _submit_one(arguments: tuple[str, ...], options: dict[str, Value], *, as_json: bool) -> int:
    """Submit one job, or show what it would be."""
    from nexapod_batch.cli.drafts.source import read_source
    from nexapod_batch.cli.waiting import parse_wait, place_now, wait_for

    wait = options["wait"]
    timeout = parse_wait(None if wait == FOREVER else wait)
    chosen = overrides(options, options["labels"])
    source = read_source(arguments, options["command"], _additions(options), options["site"])
    if options["show_only"]:
        return _print(source, output(as_json))
    _tell(source)
    parsed = _load(source, options["sets"], chosen, outside=options["allow_outside"])
    foreign = options["foreign"] or _is_foreign(source)
    warnings = (*parsed.warnings, *_owned(source))
    scheduler = _scheduler_words(options)
    if options["dry_run"] is not None:
        return _dry_run(parsed, scheduler, options["dry_run"], output(as_json), foreign=foreign)
    out: Output = SilentOutput() if options["parsable"] else output(as_json)
    with writing() as c:
        done = _stored(c, parsed, source, scheduler, foreign=foreign, warnings=warnings)
        fields = _announce(done, out)
        if options["parsable"]:
            click.echo(done.job)
        follow = options["follow"] and not as_json
        code = 0
        found: list[Document] = []
        if wait is None and not options["follow"]:
            place_now(c, [done.job], done.warnings)
        else:
            code, found = wait_for(c, [done.job], timeout, follow=follow, already_told=done.warnings)
        return _ended(c, done, code, {**fields, "jobs": found}, out)


def _submit_several(arguments: Sequence[str], options: dict[str, Value], *, as_json: bool) -> int:
    """Submit descriptors whose jobs may follow each other: all of them, or none."""
    from nexapod_batch.cli.drafts.several import in_order, provisional_numbers
    from nexapod_batch.cli.drafts.source import read_source
    from nexapod_batch.cli.waiting import parse_wait

    _refuse_of_several(len(arguments), options)
    timeout = parse_wait(None if options["wait"] == FOREVER else options["wait"])
    chosen = overrides(options, options["labels"])
    sources = [read_source([word], None, _additions(options), options["site"]) for word in arguments]
    numbers = provisional_numbers(sources)
    read: dict[str, tuple[Source, Parsed]] = {}
    for name, source in zip(numbers, sources, strict=True):
        others = {other: number for other, number in numbers.items() if other != name}
        parsed = _load(source, options["sets"], chosen, outside=options["allow_outside"], jobs=others)
        read[name] = source, parsed
    order = in_order({name: parsed for name, (_, parsed) in read.items()}, numbers)
    jobs = [(name, *read[name]) for name in order]
    if options["dry_run"] is not None:
        return _dry_run_of_several(jobs, options, as_json=as_json)
    out: Output = SilentOutput() if options["parsable"] else output(as_json)
    with writing() as c:
        done = _stored_together(c, [(numbers[name], source, parsed) for name, source, parsed in jobs], options)
        fields = [_announce(submitted, out) for submitted in done]
        if options["parsable"]:
            click.echo("\n".join(str(submitted.job) for submitted in done))
        return _waited(c, done, fields, timeout, out, wait=options["wait"] is not None)


def _refuse_of_several(number: int, options: dict[str, Value]) -> None:
    """Raise UsageError for an option that means one job."""
    for option in ("follow", "show_only"):
        if options[option]:
            raise UsageError("one descriptor at a time", got=f"{number} with --{_OPTION.get(option, option)}")


def _dry_run_of_several(
    jobs: Sequence[tuple[str, Source, Parsed]], options: dict[str, Value], *, as_json: bool
) -> int:
    """Print what would be submitted, job by job, under the name of each."""
    for name, source, parsed in jobs:
        click.echo(f"# {name} ({source.name})", err=as_json)
        foreign = options["foreign"] or _is_foreign(source)
        _dry_run(parsed, _scheduler_words(options), options["dry_run"], output(as_json), foreign=foreign)
    return 0


def _stored_together(
    c: Coordinator, jobs: Sequence[tuple[int, Source, Parsed]], options: dict[str, Value]
) -> list[Submitted]:
    """Store jobs in the order in which they follow each other; where one is refused, those before it are cancelled."""
    from msgspec.structs import replace

    from nexapod_batch.coordinator.commands.job_control import cancel
    from nexapod_batch.errors import NexapodError
    from nexapod_batch.model.job_source import with_numbers

    done: list[Submitted] = []
    given: dict[int, int] = {}
    for number, source, parsed in jobs:
        bound = replace(parsed, job=with_numbers(parsed.job, given))
        foreign = options["foreign"] or _is_foreign(source)
        warnings = (*parsed.warnings, *_owned(source))
        try:
            stored = _stored(c, bound, source, _scheduler_words(options), foreign=foreign, warnings=warnings)
        except NexapodError:
            if done:
                cancel(c, [(one.job, None) for one in done])
                names = ", ".join(str(one.job) for one in done)
                note(f"nothing runs: job {names}, submitted with it, is cancelled")
            raise
        given[number] = stored.job
        done.append(stored)
    return done


def _waited(
    c: Coordinator, done: Sequence[Submitted], fields: Sequence[Document], timeout: float | None, out: Output,
    *, wait: bool,
) -> int:  # fmt: skip
    """Place jobs that were submitted together, or wait for all of them; print how they stand."""
    from nexapod_batch.cli.waiting import place_now, wait_for
    from nexapod_batch.coordinator.queries import views

    numbers = [one.job for one in done]
    told = [warning for one in done for warning in one.warnings]
    if wait:
        code, found = wait_for(c, numbers, timeout, already_told=told)
        out.document({"submitted": list(fields), "jobs": found}, renderers.jobs_ended)
        return code
    place_now(c, numbers, told)
    states = [views.job(c.store, number)["state"] for number in numbers]
    submitted = [{**one, "state": state} for one, state in zip(fields, states, strict=True)]
    out.document({"submitted": submitted}, renderers.what_next_of_several)
    return exit_code(["failed"], ended=True) if "failed" in states else 0


def _additions(options: dict[str, Value]) -> Additions:
    """Return what the options add to a command or script that is read as a descriptor."""
    from nexapod_batch.cli.drafts.draft import Additions

    return Additions(
        inputs=options["inputs"], outputs=options["outputs"], env=options["env"],
        parameters=any(text.startswith("array.") for text in options["sets"]),
    )  # fmt: skip


def _scheduler_words(options: dict[str, Value]) -> dict[str, str]:
    """Return what the options say to the scheduler of a site alone."""
    return {name: options[name] for name in ("partition", "account") if options[name] is not None}


def _is_foreign(source: Source) -> bool:
    """Say whether somebody else wrote what is submitted; root may."""
    return source.owner not in {os.geteuid(), 0}


def _owned(source: Source) -> tuple[str, ...]:
    """Return a warning for somebody else's descriptor."""
    if not _is_foreign(source):
        return ()
    owned = f"{source.name} belongs to uid {source.owner}"
    return (f"{owned}: somebody else's commands are confined, without network",)


def _stored(
    c: Coordinator, parsed: Parsed, source: Source, scheduler: dict[str, str], *,
    foreign: bool, warnings: tuple[str, ...],
) -> Submitted:  # fmt: skip
    from nexapod_batch.cli.rendering.progress import progress
    from nexapod_batch.coordinator.commands import submit as use_case

    with progress() as shown:
        folder = source.folder.absolute()
        done = use_case.submit(c, parsed.job, folder, scheduler, foreign=foreign, warnings=warnings, progress=shown)
    if parsed.known is not None:
        parsed.known.save()
    return done


def _ended(c: Coordinator, done: Submitted, code: int, fields: Document, out: Output) -> int:
    """Print how the job stands, and return the exit code."""
    from nexapod_batch.coordinator.queries import views

    found = fields.pop("jobs")
    state = views.job(c.store, done.job)["state"]
    if state == "failed" and not code:  # refused for good: as sbatch, submit says so at once
        code = exit_code([state], ended=True)
    if found:
        out.document({**fields, "state": state}, lambda _: renderers.jobs_ended({"jobs": found}))
    else:
        out.document({**fields, "state": state}, renderers.what_next)
    return code


def _print(source: Source, out: Output) -> int:
    """Print the descriptor; what cannot be translated of a script stands in front of it."""
    notes: list[str] = []
    if source.draft is not None:
        notes += source.draft.notes
        notes += [f"not translated: {text}" for text in source.draft.refused]
    lines = [f"# {text}" for text in notes]
    out.lines("descriptor", [*lines, *source.text.rstrip("\n").split("\n")])
    return 0


def _tell(source: Source) -> None:
    """Say how a command or script was read; DescriptorError for what cannot be left out of it."""
    draft: Draft | None = source.draft
    if draft is None:
        return
    note(f"{source.name} is read as a descriptor (--print shows it):")
    for text in draft.notes:
        note(f"  {text}")
    if draft.refused:
        from nexapod_batch.errors import Problem

        raise DescriptorError(
            f"{source.name} cannot be translated as it is",
            problems=tuple(Problem("", text) for text in draft.refused),
            hint="mend these lines, or write a descriptor: nexapod-batch submit --print SCRIPT > job.toml",
        )


def _load(
    source: Source, sets: Sequence[str], given: Document, *, outside: bool, jobs: Mapping[str, int] | None = None
) -> Parsed:
    """Parse the descriptor: options win over `--set`, that over `NEXAPOD_*`, the job, the project, the user."""
    from nexapod_batch.config.job.descriptor import parse
    from nexapod_batch.config.settings import settings
    from nexapod_batch.files.known_digests import KnownDigests

    found = settings(paths(), project=source.folder)
    for warning in found.warnings:
        note(f"warning: {warning}")
    defaults, variables = dict(found.job_defaults), dict(found.job_overrides)
    if found.site is not None:
        (variables if found.origin["site"] == "NEXAPOD_SITE" else defaults)["schedule.sites"] = found.site
    variables = {key: value for key, value in variables.items() if not _set_too(key, sets)}
    return parse(
        source.text, source.folder, name=source.name, sets=sets, overrides={**variables, **given},
        defaults=defaults, outside=outside, jobs=jobs, known=KnownDigests(paths().digests, source.folder),
    )  # fmt: skip


def _set_too(key: str, sets: Sequence[str]) -> bool:
    return any(text.partition("=")[0].strip() == key for text in sets)


def _dry_run(parsed: Parsed, scheduler_options: dict[str, str], how: str, out: Output, *, foreign: bool) -> int:
    """Print what a submission would launch. Nothing is made, also where nothing was submitted yet."""
    from nexapod_batch.coordinator.commands import submit as use_case
    from nexapod_batch.coordinator.context import open_to_look

    ask = "" if how in {"one", "all"} else how
    if ask and ask not in _dry_run_words():
        known = ", ".join(f"={word}" for word in _dry_run_words()[1:])
        raise UsageError("--dry-run", got=repr(how), wanted=f"it alone, or with one of: {known}")
    for warning in parsed.warnings:
        note(f"warning: {warning}")
    with open_to_look(paths()) as c:
        lines = use_case.dry_run(c, parsed.job, scheduler_options, foreign=foreign, every=how == "all", ask=ask)
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
        "travel": [way.as_document() for way in done.travel],
        "warnings": list(done.warnings),
    }
    out.part(fields, renderers.submitted)
    return fields
