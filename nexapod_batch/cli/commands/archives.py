"""`archive`: a job with everything that its verdicts rest on, in one folder or file; what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.context import json_option, looking, writing
from nexapod_batch.cli.id_first import IdFirst
from nexapod_batch.cli.rendering.render import note, output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["archive", "created", "reproduce"]


@click.group(cls=IdFirst)
def archive() -> None:
    """Write one folder or tar that proves a job to anybody: archive ID.

    `nexapod-batch verify` checks one, without a database and anywhere; so do `bagit.py`, `sha256sum` and `openssl`: the
    README.md in it says how.
    """


@archive.command()
@click.argument("selector", metavar="ID", shell_complete=complete.jobs)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR|FILE.tar",
    help="New folder, or new file that ends in .tar. Default: archive-ID.",
)
@click.option("--without-inputs", is_flag=True, help="Name inputs by digest and source; leave the files out.")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, dir_okay=False),
    help="A head of the ledger that witnesses cosigned, to prove against.",
)
@json_option
def create(
    selector: str, out: Path | None, without_inputs: bool, checkpoint: Path | None, as_json: bool
) -> None:
    """Write the archive of a job (the same as: archive ID)."""
    from nexapod_batch.coordinator.archives import make
    from nexapod_batch.files import umask

    with looking() as c:
        (job,) = selectors.jobs_of([selectors.resolve_one(c.store, selector)])
        with umask.as_given():
            target = out or Path(f"archive-{job}")
            done = make.archive(c, job, target, inputs=not without_inputs, checkpoint=checkpoint)
    document = {"archive": str(done.path), "job": job, "files": done.files, "bytes": done.size, "sha256": done.sha256}
    output(as_json).document(document, created)


def created(document: dict[str, Any]) -> Iterator[str]:
    """Describe an archive that was written."""
    yield f"{document['archive']}: job {document['job']}, {document['files']} files, {document['bytes']} bytes"
    yield f"  to check it: nexapod-batch verify {document['archive']}"


@archive.command()
@click.argument("path", metavar="ARCHIVE", type=click.Path(path_type=Path))
@json_option
def show(path: Path, as_json: bool) -> None:
    """Say what an archive says of itself; nothing is checked."""
    from nexapod_batch.coordinator.archives.look import shown

    output(as_json).document(shown(path), _shown)


def _shown(document: dict[str, Any]) -> Iterator[str]:
    yield f"job {document['job']} ({document['name']}), ended {document['ended']}, uuid {document['uuid']}"
    yield f"  digest: {document['digest']}"
    states = ", ".join(f"{number} {state}" for state, number in document["states"].items())
    yield f"  {document['tasks']} tasks: {states}; {document['statements']} statements"
    for node in document["nodes"]:
        yield f"  node {node}"
    inputs = "inputs included" if document["inputs"] else "inputs by digest and source"
    yield f"  {document['files']} files, {document['bytes']} bytes; {inputs}"
    yield f"  not checked: nexapod-batch verify {document['archive']}"


@archive.command()
@click.argument("statement", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("path", metavar="[ARCHIVE]", default=".", type=click.Path(path_type=Path))
@json_option
def add(statement: Path, path: Path, as_json: bool) -> None:
    """Put a reproduction statement into its archive."""
    from nexapod_batch.coordinator.archives import reproductions
    from nexapod_batch.coordinator.archives.check import check_archive
    from nexapod_batch.coordinator.commands.reproduce import require_whole
    from nexapod_batch.files import umask

    sealed, _ = reproductions.read_statement(statement)
    checked = check_archive(path, {})
    members, export = require_whole(path, checked)
    job = (export.word.uuid, export.word.digest)
    with members, umask.as_given():
        name = reproductions.add(path, members, checked.sha256, job, sealed)
    output(as_json).document({"archive": str(path), "statement": name}, lambda _: [f"{path}: {name}"])


@click.command()
@click.argument("path", metavar="ARCHIVE", type=click.Path(path_type=Path))
@click.option("--site", help="Run it on nodes of this site. Default: on any of yours.")
@click.option("--job", "job", type=int, metavar="ID", help="Conclude with a job that an earlier call began.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Where to write the statement. Default: reproduction-ID.dsse.json.",
)
@click.option("--trust", is_flag=True, help="Run its commands as if they were your own, not confined.")
@json_option
def reproduce(path: Path, site: str | None, job: int | None, out: Path | None, trust: bool, as_json: bool) -> int:
    """Run an archived job on your own nodes, compare, and sign what came out.

    Exit code 0: everything that was accepted was got again. 1: something differs, and where is said. What is in the
    archive must hold; its commands are a stranger's, and are confined, unless your own coordinator signed it.
    """
    from nexapod_batch.cli.waiting import wait_for
    from nexapod_batch.coordinator.archives.check import check_archive
    from nexapod_batch.coordinator.commands.reproduce import begin, concluded, require_whole

    checked = check_archive(path, {})
    members, _ = require_whole(path, checked)
    with members, writing() as c:
        if job is None:
            done = begin(c, checked, site, trusted=trust)
            for warning in done.warnings:
                note(f"warning: {warning}")
            job = done.job
            note(f"job {job} runs it again; if this ends early: nexapod-batch reproduce {path} --job {job}")
            wait_for(c, [job], None, already_told=done.warnings)
        sealed, found = concluded(c, checked, job)
    document = {
        "job": job, "agreed": found.agreed, "statement": str(out or f"reproduction-{job}.dsse.json"),
        "archive": str(path), "tasks": [task._asdict() for task in found.tasks],
    }  # fmt: skip
    _written(Path(str(document["statement"])), sealed)
    output(as_json).document(document, _reproduced)
    return 0 if found.agreed else 1


def _written(path: Path, sealed: bytes) -> None:
    from nexapod_batch.files import atomic, umask

    with umask.as_given():
        atomic.write(path, sealed)


def _reproduced(document: dict[str, Any]) -> Iterator[str]:
    for task in document["tasks"]:
        where = f" on {task['node']} (site {task['site']})" if task["node"] else ""
        word = "agrees" if task["agreed"] else "differs"
        yield f"{task['task']}{where}: {word}"
        yield from (f"  {line}" for line in task["differences"])
    agreed = sum(task["agreed"] for task in document["tasks"])
    yield f"{agreed} of {len(document['tasks'])} tasks agree; signed: {document['statement']}"
    yield f"  to put it there: nexapod-batch archive add {document['statement']} {document['archive']}"
