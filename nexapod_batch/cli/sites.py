"""`site`: which sites there are, what one says, and a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli import text
from nexapod_batch.cli.context import json_option, paths
from nexapod_batch.cli.render import Document, note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.config.sites import Found, SiteFault

__all__ = ["site"]

#: Every file is bad, or the one that was asked for.
BAD_CONFIGURATION = 78


@click.group()
def site() -> None:
    """Look at sites, and start new site files."""


@site.command()
@json_option
def ls(as_json: bool) -> int:
    """List the sites; files that cannot be used come last, with their faults on stderr."""
    from nexapod_batch.coordinator import sites

    found, faults = sites.listing(paths().sites)
    document = {"sites": [_row(one) for one in found], "faults": [_fault(one) for one in faults]}
    output(as_json).document(document, _table)
    if not as_json:
        for fault in faults:
            note(str(fault.error))
        if not found and not faults:
            note("no sites\n  -> start from a ready file: nexapod-batch site init --list")
    return BAD_CONFIGURATION if faults and not found else 0


@site.command()
@click.argument("name")
@click.option("--origin", is_flag=True, help="Say where each value comes from: a file, or default.")
@json_option
def show(name: str, origin: bool, as_json: bool) -> None:
    """Show one site as it was understood."""
    from dataclasses import asdict

    from nexapod_batch.coordinator import sites

    found = sites.find(paths().sites, name)
    keys = ("key", "value", "origin") if origin else ("key", "value")
    settings = [{key: getattr(one, key) for key in keys} for one in found.settings]
    document: Document = {"site": asdict(found.site), "file": str(found.file), "settings": settings}
    output(as_json).document(document, text.settings)


@site.command()
@click.option("--from", "source", metavar="NAME", help="Ready file to start from.")
@click.option("--list", "as_list", is_flag=True, help="List the ready files.")
@click.option(
    "--to",
    "target",
    metavar="FILE",
    help="New file, its site named as the file is; - prints it. Default: NAME.toml in your sites.d folder.",
)
@json_option
def init(source: str | None, as_list: bool, target: str | None, as_json: bool) -> None:
    """Copy a ready site file, to be edited; nothing is overwritten."""
    from nexapod_batch.coordinator import sites

    out = output(as_json)
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


def _row(found: Found) -> Document:
    one = found.site
    return {
        "name": one.name,
        "title": one.title,
        "backend": one.scheduler.type,
        "transport": one.scheduler.transport,
        "nodes": list(one.groups()),
        "partitions": [partition.name for partition in one.partitions],
        "file": str(found.file),
    }


def _fault(fault: SiteFault) -> Document:
    problems = [{"path": one.path, "line": one.line, "message": one.message} for one in fault.error.problems]
    return {"name": fault.file.stem, "file": str(fault.file), "error": fault.error.what, "problems": problems}


def _table(document: Document) -> Iterator[str]:
    rows = [{key: value or None for key, value in one.items()} | {"state": "ok"} for one in document["sites"]]
    rows += [{"name": one["name"], "file": one["file"], "state": "fail"} for one in document["faults"]]
    if rows:
        yield from text.table(rows, ["name", "state", "backend", "transport", "nodes", "partitions", "file"])


def _written(document: Document) -> Iterator[str]:
    yield f"{document['file']}: edit it, then nexapod-batch site show {document['name']}"
