"""`backup`, and `db`: the database checked, copied, restored, salvaged and begun."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, paths, reading
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import note, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.cli.rendering.render import Document

__all__ = ["backup", "db"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--results", is_flag=True, help="Take published results as well: as large as they are.")
@json_option
def backup(file: Path, results: bool, as_json: bool) -> None:
    """Write everything needed to go on elsewhere into one checked file.

    Database, private keys, settings, site files, inputs of open jobs, and reports that nobody took in yet, also while
    work goes on. A tar archive, compressed when its name ends in .gz or .tgz; keep it private. nexapod-batch db restore
    puts it back.
    """
    from nexapod_batch.coordinator.commands.upkeep import backup as use_case

    with looking() as c:
        done = use_case.backup(c, file.absolute(), results=results)
    for warning in done["warnings"]:
        note(f"warning: {warning}: not in the backup")
    output(as_json).document(done, _backed_up)


def _backed_up(done: Document) -> Iterator[str]:
    size = done["bytes"] / 2**20
    yield f"{done['backup']}: {done['files']} files, {size:.1f} MiB, read again and checked; it holds private keys"
    if not done["results"]:
        yield f"results are not in it: copy {done['results_folder']}, or use --results"


@click.group()
def db() -> None:
    """Check, copy, restore, salvage and begin the database."""


@db.command("backup")
@click.argument("destination", type=_FILE)
@json_option
def db_backup(destination: Path, as_json: bool) -> None:
    """Write a copy of the database alone, also while it is in use.

    nexapod-batch backup takes keys and settings as well.
    """
    with reading() as store:
        store.backup(destination.absolute())
    output(as_json).document({"backup": str(destination)}, lambda document: [document["backup"]])


@db.command("init")
@json_option
def db_init(as_json: bool) -> None:
    """Begin with an empty database where the old one is lost.

    No job is known then; results stay as they are.
    """
    from nexapod_batch.coordinator import open_coordinator

    with open_coordinator(paths(), anew=True) as c:
        output(as_json).document({"database": str(c.paths.state_db)}, lambda document: [document["database"]])


@db.command("check")
@json_option
def db_check(as_json: bool) -> int:
    """Check the database: structure, constraints, counters.

    Of a damaged one it says what can still be read, table by table.
    """
    from nexapod_batch.store import check_file

    where = paths()
    found = check_file(where.state_db)
    readable = _survey(where.state_db) if found else []
    output(as_json).document({"problems": found, "readable": readable}, _checked)
    if found:
        return 78
    return 0


def _survey(file: Path) -> list[Document]:
    from nexapod_batch.store.salvage.survey import survey

    try:
        return [one._asdict() for one in survey(file)]
    except OSError:  # there is none, or it cannot be opened: that is a problem listed already
        return []


def _checked(document: Document) -> Iterator[str]:
    if not document["problems"]:
        yield "ok"
        return
    yield from document["problems"]
    shown = [one for one in document["readable"] if one["rows"] or one["lost_pages"] or one["bad_rows"]]
    if shown:
        yield ""
        yield "what can still be read:"
        yield from renderers.table(shown, ["name", "rows", "lost_pages", "bad_rows"])
    yield ""
    yield "put a backup back: nexapod-batch db restore BACKUP"
    yield "or keep what can be read: nexapod-batch db salvage"


@db.command("restore")
@click.argument("backup", type=_FILE)
@json_option
def db_restore(backup: Path, as_json: bool) -> None:
    """Put a backup in place, here or on another machine.

    One of nexapod-batch backup, or of the database alone. It is checked before anything is touched; what it replaces is
    kept beside. Results and settings that are here stay as they are.
    """
    from nexapod_batch.coordinator.commands.upkeep import restore

    output(as_json).document(restore.restore(paths(), backup.absolute()), _restored)


def _restored(done: Document) -> Iterator[str]:
    yield f"{done['database']}: {done['jobs']} jobs, {done['open_jobs']} of them open"
    if done["replaced"]:
        yield f"what was there before is kept in {done['replaced']}"
    yield from (f"put back: {file}" for file in done["settings"])
    if done["results"]:
        yield f"put back: results of {done['results']} tasks"
    if not done["archive"]:
        yield "a database alone: keys, settings and inputs are those that are here"
    yield "next: nexapod-batch doctor, then nexapod-batch reconcile"


@db.command("salvage")
@click.option("--from", "source", type=_FILE, metavar="FILE", help="Of this database, in the place of the one here.")
@json_option
def db_salvage(source: Path | None, as_json: bool) -> None:
    """Make a sound database of what can be read of a damaged one.

    Each statement is verified; verdicts that have lost what they rest on are made anew, from reports that are still in
    spools and by asking for more replicas. Results are left alone. The damaged database is kept beside.
    """
    from nexapod_batch.coordinator.commands.upkeep import salvage

    done = salvage.salvage(paths(), None if source is None else source.absolute())
    output(as_json).document(done, _salvaged)


def _salvaged(done: Document) -> Iterator[str]:
    rows = done["rows"]
    kept = ", ".join(f"{rows.get(table, 0)} {table}s" for table in ("job", "task", "replica", "report"))
    yield f"{done['database']}: {kept}"
    if done["lost"]:
        lost = ", ".join(f"{count} of {table}" for table, count in done["lost"].items())
        yield f"rows without a place: {lost}; they are in {done['lost_file']}"
    if done["jobs_lost"]:
        yield f"lost jobs: {', '.join(map(str, done['jobs_lost']))}"
    if done["reopened"]:
        yield f"decided anew: {', '.join(done['reopened'][:10])}" + (" ..." if len(done["reopened"]) > 10 else "")
    if done["results_without_job"]:
        yield f"results of jobs that are not known any more: {', '.join(map(str, done['results_without_job']))}"
    if done["replaced"]:
        yield f"the damaged database is kept in {done['replaced']}"
    yield "next: nexapod-batch doctor, then nexapod-batch reconcile, then nexapod-batch verify JOB"
