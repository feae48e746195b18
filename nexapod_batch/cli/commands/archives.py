"""`archive`: a job with everything that its verdicts rest on, in one folder or file; what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli import complete, selectors
from nexapod_batch.cli.context import json_option, looking
from nexapod_batch.cli.rendering.render import output

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["archive"]


class _IdFirst(click.Group):
    """A group that takes the first word for a job unless it is a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `create` before what is no subcommand."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["create", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_IdFirst)
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
    output(as_json).document(document, _created)


def _created(document: dict[str, Any]) -> Iterator[str]:
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
