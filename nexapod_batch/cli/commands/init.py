"""`init`: a commented descriptor to start from."""

from __future__ import annotations

from pathlib import Path

import click

from nexapod_batch.cli.context import json_option
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.errors import NexapodError

__all__ = ["CASES", "init"]

#: What a descriptor is for: a file of `drafts/starters` each.
CASES = ("script", "sweep", "container", "gpu", "mpi", "netcdf")


@click.command()
@click.argument("case", type=click.Choice(CASES), default="script")
@click.option(
    "--out", type=click.Path(path_type=Path), default="job.toml", show_default=True, help="File, or - for stdout."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
def init(case: str, out: Path, force: bool, as_json: bool) -> None:
    """Write a commented descriptor to start from.

    CASE is what the job is: a script (the default), a sweep over parameters, a container, a GPU job, an MPI job, or one
    whose NetCDF outputs agree up to rounding.
    """
    text = starter(case)
    if str(out) == "-":
        output(as_json).lines("descriptor", text.rstrip("\n").split("\n"))
        return
    try:
        with out.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise NexapodError(f"{out} is there already", hint="--out another.toml, or --force to replace it") from error
    output(as_json).document({"case": case, "path": str(out)}, lambda document: [document["path"]])
    note(f"next: edit it, then nexapod-batch submit {out} --dry-run, and the same with --wait")


def starter(case: str) -> str:
    """Return the text of a case's descriptor."""
    from importlib.resources import files

    return (files("nexapod_batch.cli.drafts") / "starters" / f"{case}.toml").read_text("utf-8")
