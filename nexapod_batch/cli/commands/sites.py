"""`site`: which sites there are, what one says, a file to start from, and whether a site works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import complete
from nexapod_batch.cli.context import json_option, paths, seconds
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Output
    from nexapod_batch.config.site.sites import Found, SiteFault
    from nexapod_batch.plugins import Finding

__all__ = ["site"]

#: Every file is bad, or the one that was asked for.
BAD_CONFIGURATION = 78
#: The scheduler of the site does not answer.
UNREACHABLE = 69


@click.group()
def site() -> None:
    """Look at sites, start site files, check, rename and remove sites."""
    if (paths().home / "renaming.json").exists():
        from nexapod_batch.coordinator import renaming

        renaming.finish(paths(), needed=False)  # who changes something hears of it


@site.command()
@json_option
def ls(as_json: bool) -> int:
    """List the sites.

    Files that cannot be used come last, with their faults on stderr.
    """
    from nexapod_batch.coordinator.queries import sites

    found, faults = sites.listing(paths().sites)
    document = {"sites": [_row(one) for one in found], "faults": [_fault(fault) for fault in faults]}
    output(as_json).document(document, _table)
    if not as_json:
        for fault in faults:
            note(str(fault.error))
        if not found and not faults:
            note("no sites\n  -> start from a ready file: nexapod-batch site init --list")
    if faults and not found:
        return BAD_CONFIGURATION
    return 0


@site.command()
@click.argument("name", shell_complete=complete.sites)
@click.option("--origin", is_flag=True, help="Say where each value comes from: a file, or default.")
@json_option
def show(name: str, origin: bool, as_json: bool) -> None:
    """Show one site as it was understood."""
    from msgspec import to_builtins

    from nexapod_batch.coordinator.queries import sites
    from nexapod_batch.entry_points import targets

    found = sites.find(paths().sites, name)
    keys = ("key", "value", "origin") if origin else ("key", "value")
    settings = [{key: getattr(setting, key) for key in keys} for setting in found.settings]
    shown = to_builtins(found.site)
    own = shown.pop("backend_settings")  # under the name of its table, as in the file
    shown |= dict.fromkeys(targets("site_table")) | ({} if own is None else {found.site.scheduler.type: own})
    document: Document = {"site": shown, "file": str(found.file), "settings": settings}
    output(as_json).document(document, renderers.settings)


class _FromBackend(click.Command):
    """`--from-NAME` stands for any backend that is installed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell out which one is meant, up to `--`."""
        end = args.index("--") if "--" in args else len(args)
        spelled = [re.sub(r"^--from-([a-z][a-z0-9_-]*)$", r"--from-BACKEND=\1", arg) for arg in args[:end]]
        return super().parse_args(ctx, spelled + args[end:])


@site.command(cls=_FromBackend)
@click.option("--from", "source", metavar="NAME", help="Ready file to start from.")
@click.option("--list", "as_list", is_flag=True, help="List the ready files.")
@click.option("--from-BACKEND", "backend", metavar="", help="Write what the scheduler of this backend says of itself.")
@click.option("--bin", "folder", metavar="DIR", help="Where the commands of this scheduler are. Default: in PATH.")
@click.option("--conf", metavar="FILE", help="Its configuration file.")
@click.option("--name", metavar="NAME", help="What its site is called. Default: as the cluster.")
@click.option(
    "--to",
    "target",
    metavar="FILE",
    help="New file, its site named as the file is; - prints it. Default: NAME.toml in your sites.d folder.",
)
@json_option
def init(
    source: str | None,
    as_list: bool,
    backend: str | None,
    folder: str | None,
    conf: str | None,
    name: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Write a new site file, to be edited.

    It is a ready one, or what a cluster says. Nothing is overwritten.
    """
    from nexapod_batch.coordinator.queries import sites

    out = output(as_json)
    if backend is not None:
        if source is not None or as_list:
            raise UsageError("two things to start from", got=f"--from-{backend} and another", wanted="one of them")
        _discover(out, backend, folder, conf, name, target)
        return
    _refuse_alone({"--bin": folder, "--conf": conf, "--name": name})
    if as_list:
        rows = [{"name": one.name, "title": one.title} for one in sites.ready()]
        out.rows("ready", rows, ["name", "title"])
        return
    if source is None:
        hint = "nexapod-batch site init --list"
        raise UsageError("nothing to start from", wanted="--from NAME of a ready file", hint=hint)
    if target == "-":
        ready = sites.ready_text(source)
        out.document({"name": source, "text": ready}, lambda _: ready.splitlines())
        return
    file = sites.write_ready(source, Path(target) if target else paths().sites[-1] / f"{source}.toml")
    out.document({"name": file.stem, "file": str(file)}, _written)


def _refuse_alone(options: dict[str, str | None]) -> None:
    """Refuse options that say something to a backend where none is asked."""
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} belongs to --from-BACKEND", got=value, wanted="a backend to ask, as well")


@site.command()
@click.argument("name", shell_complete=complete.sites)
@click.option("--no-job", is_flag=True, help="Start no test jobs.")
@click.option("--dry-run", is_flag=True, help="Call nothing; say what would be called, scripts included.")
@click.option("--timeout", default="5m", show_default=True, metavar="TIME", help="How long to wait for each test job.")
@click.option("--partition", metavar="NAME", help="Send test jobs to this partition.")
@click.option("--account", metavar="NAME", help="Charge test jobs to this account.")
@json_option
def check(
    name: str, no_job: bool, dry_run: bool, timeout: str, partition: str | None, account: str | None, as_json: bool
) -> int:
    """Check that a site works.

    One line for each thing that could be wrong, up to a job with a verified report.
    """
    import signal
    from contextlib import closing

    from nexapod_batch.coordinator.commands import site_check

    words = {key: value for key, value in (("partition", partition), ("account", account)) if value is not None}
    wanted = site_check.Wanted(
        jobs=not no_job, dry_run=dry_run, timeout_s=_above_zero(timeout), words=words,
        tell=lambda text: note(f"... {text}"),
    )  # fmt: skip
    out, rows = output(as_json), []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up behind itself
    with closing(site_check.check(paths(), name, wanted)) as findings:
        for finding in findings:
            rows.append(_finding(finding))
            out.part(rows[-1], _line)
    counts = {mark: sum(row["mark"] == mark for row in rows) for mark in ("ok", "warn", "fail", "skip")}
    out.document({"site": name, "findings": rows, **counts}, renderers.nothing)
    if not as_json:
        note(f"site {name}: " + ", ".join(f"{count} {mark}" for mark, count in counts.items() if count))
    return _verdict(rows)


@site.command()
@click.argument("name", shell_complete=complete.sites)
@click.option("--dry-run", is_flag=True, help="Say what would become of everything, and change nothing.")
@click.option("--abandon", is_flag=True, help="Give up what is out there; it is placed elsewhere.")
@json_option
def remove(name: str, dry_run: bool, abandon: bool, as_json: bool) -> None:
    """Take a site out.

    Its reports must be in, and its results published. Nodes that ran something stay in the registry, drained: their
    keys are part of the record. Its file is kept beside, as NAME.toml.removed.
    """
    from nexapod_batch.cli.context import looking, writing
    from nexapod_batch.coordinator.commands import site_changes

    with looking() if dry_run else writing() as c:
        done = site_changes.remove(c, name, abandon=abandon, dry_run=dry_run)
    output(as_json).document(done, _removed)


def _removed(done: Document) -> Iterator[str]:
    would = "would be " if done["dry_run"] else ""
    if done["file"]:
        yield f"{would}renamed: {done['file']} to {done['kept_file']}"
    yield from (f"{would}drained: node {name}, whose key stays on record" for name in done["drained"])
    yield from (f"{would}deleted: node {name} and its key; it never ran anything" for name in done["deleted"])
    yield from (f"{would}removed: {folder}" for folder in done["folders"])
    yield from (f"left alone, on another machine: {folder}" for folder in done["elsewhere"])
    if done["waiting_jobs"]:
        yield f"open jobs that name it wait for ever: {', '.join(map(str, done['waiting_jobs']))}; nexapod-batch cancel"


@site.command()
@click.argument("name", shell_complete=complete.sites)
@click.argument("new")
@click.option("--dry-run", is_flag=True, help="Say what would get another name, and change nothing.")
@json_option
def rename(name: str, new: str, dry_run: bool, as_json: bool) -> None:
    """Give a site another name.

    Its nodes, keys, spools and work folders get theirs with it. Nothing may be out there. What was signed keeps its
    meaning: keys stay the same.
    """
    from nexapod_batch.cli.context import looking, writing
    from nexapod_batch.coordinator.commands import site_changes

    with looking() if dry_run else writing() as c:
        done = site_changes.rename(c, name, new, dry_run=dry_run)
    output(as_json).document(done, _renamed)


def _renamed(done: Document) -> Iterator[str]:
    would = "would be " if done["dry_run"] else ""
    yield f"{would}renamed: site {done['site']} to {done['new']}, {done['file']}"
    yield from (f"{would}renamed: node {old} to {new}" for old, new in done["nodes"])
    yield from (f"{would}moved: {old} to {new}" for old, new in done["moves"])
    yield from (f"left under its old name, on another machine: {folder}" for folder in done["elsewhere"])


def _above_zero(timeout: str) -> float:
    """Return `--timeout` in seconds; UsageError where it is no time, or none at all."""
    timeout_s = seconds(timeout)
    if timeout_s is None or timeout_s <= 0:
        raise UsageError("--timeout", got=repr(timeout), wanted="a time above 0, as in 5m")
    return timeout_s


def _verdict(rows: list[Document]) -> int:
    """Return the exit code of a check that found this."""
    if any(row["unreachable"] for row in rows):
        return UNREACHABLE
    if any(row["mark"] == "fail" for row in rows):
        return BAD_CONFIGURATION
    return 0


def _discover(
    out: Output, backend: str, folder: str | None, conf: str | None, name: str | None, target: str | None
) -> None:
    """Write, or print, a site file of what a backend finds."""
    from nexapod_batch.coordinator.queries import sites
    from nexapod_batch.entry_points import names
    from nexapod_batch.model.site import Scheduler, Site

    if backend not in names("backend"):
        wanted = f"--from-NAME with one of: {', '.join(names('backend'))}"
        raise UsageError("unknown backend", got=f"--from-{backend}", wanted=wanted)

    if target not in (None, "-"):
        name = _name_at(Path(target), name)
    commands, settings = (str(Path(one).absolute()) if one else "" for one in (folder, conf))
    draft = Site(name=name or "", scheduler=Scheduler(type=backend, bin=commands, conf=settings))
    found, content = sites.discovered(draft)
    if name not in (None, found):
        wanted = "letters, digits, _ and -, at most 32, a letter or digit first"
        raise UsageError("not a name for a site", got=repr(name), wanted=wanted)
    if target == "-":
        out.document({"name": found, "text": content}, lambda _: content.splitlines())
        return
    place = sites.site_path(Path(target), found) if target else paths().sites[-1] / f"{found}.toml"
    file = sites.write_new(place, content)
    out.document({"name": found, "file": str(file)}, _checkable)


def _name_at(target: Path, name: str | None) -> str | None:
    """Return the name that a site has by where it is written: a file names its site; UsageError for another name."""
    from nexapod_batch.coordinator.queries import sites

    file = sites.site_path(target, name or "cluster")
    if target.is_dir():
        return name
    if name not in (None, file.stem):
        raise UsageError("the site is named as its file", got=f"--name {name}", wanted=f"{name}.toml")
    return file.stem


def _finding(finding: Finding) -> Document:
    return {
        "mark": finding.mark.value,
        "probe": finding.probe,
        "text": finding.text,
        "hint": finding.hint,
        "unreachable": finding.unreachable,
    }


def _line(row: Document) -> Iterator[str]:
    hint = f" ({row['hint']})" if row["hint"] else ""
    yield from f"{row['mark']:<4}  {row['probe']:<20}  {row['text']}{hint}".splitlines()


def _row(site: Found) -> Document:
    one = site.site
    return {
        "name": one.name,
        "title": one.title,
        "backend": one.scheduler.type,
        "transport": one.scheduler.transport,
        "nodes": list(one.groups()),
        "partitions": [partition.name for partition in one.partitions],
        "file": str(site.file),
    }


def _fault(fault: SiteFault) -> Document:
    problems = [
        {"path": problem.path, "line": problem.line, "message": problem.message}
        for problem in fault.error.problems
    ]
    return {"name": fault.file.stem, "file": str(fault.file), "error": fault.error.what, "problems": problems}


def _table(document: Document) -> Iterator[str]:
    rows = [{key: value or None for key, value in site.items()} | {"state": "ok"} for site in document["sites"]]
    rows += [{"name": fault["name"], "file": fault["file"], "state": "fail"} for fault in document["faults"]]
    if rows:
        yield from renderers.table(rows, ["name", "state", "backend", "transport", "nodes", "partitions", "file"])


def _checkable(document: Document) -> Iterator[str]:
    yield f"{document['file']}: read and edit it, then nexapod-batch site check {document['name']}"


def _written(document: Document) -> Iterator[str]:
    yield f"{document['file']}: edit it, then nexapod-batch site show {document['name']}"
