"""`explain`, `verify`, `attestations`, `archive` and `ledger` for a coordinator elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli import selectors
from nexapod_batch.cli.commands import archives, evidence_commands
from nexapod_batch.cli.commands.operating import ledger as ledger_commands
from nexapod_batch.cli.context import json_option
from nexapod_batch.cli.id_first import IdFirst
from nexapod_batch.cli.remote.connection import connected, job_and_task, url_option
from nexapod_batch.cli.rendering.render import output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexapod_batch.cli.rendering.render import Document
    from nexapod_client import NexaPodClient

__all__ = ["archive", "attestations", "explain", "ledger", "verify"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("name", metavar="ID")
@url_option
@json_option
def explain(name: str, url: str | None, as_json: bool) -> None:
    """Say why a job or task elsewhere is where it is, and where replicas differ."""
    job, task = job_and_task(name)
    with connected(url) as client:
        found = client.explain(job, task)
    output(as_json).document(found, lambda document: document["explanation"])


@click.command()
@click.argument("name", metavar="[ID | ARCHIVE]", required=False)
@click.option("--folder", type=_FOLDER, help="Check a folder that `attestations` wrote instead, here.")
@click.option("--key", "keys", multiple=True, type=_FILE, help="A public key (PEM) that you got from its owner.")
@click.option("--uuid", help="The UUID of the job, from whoever published it.")
@click.option("--results", type=_FOLDER, help="The published files of the job: what `results ID --out` wrote.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="Who must have cosigned the ledger's head.")
@click.option("--roster", type=_FILE, help="A roster that must name the coordinator.")
@url_option
@json_option
def verify(
    name: str | None, folder: Path | None, keys: tuple[Path, ...], uuid: str | None, results: Path | None,
    witnesses: tuple[str, ...], roster: Path | None, url: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Work the verdicts of a job elsewhere out again, here, from the signed statements.

    The proof is fetched, and checked as `verify --folder` does: the server's word is not asked for. Archives and
    folders are checked as ever. Exit code 0: everything holds. 1: something does not. 66: there is nothing to check.
    """

    def check(path: str | None, inside: Path | None) -> int:
        options: Document = {"keys": keys, "uuid": uuid, "results": results, "witnesses": witnesses, "roster": roster}
        run: Callable[..., int] = evidence_commands.verify.callback  # type: ignore[assignment]
        return run(selector=path, folder=inside, chain=False, as_json=as_json, **options)

    if name is None or folder is not None or selectors.is_path(name):
        return check(name, folder)
    from nexapod_client.evidence import unpacked

    with connected(url) as client, unpacked(lambda to: client.attestations(name, to)) as proof:
        return check(None, proof)


@click.command()
@click.argument("name", metavar="ID")
@click.option("--out", type=_FOLDER, required=True, help="New folder to write to.")
@url_option
@json_option
def attestations(name: str, out: Path, url: str | None, as_json: bool) -> None:
    """Write the signed statements of a job elsewhere and the signers' public keys."""
    job, task = job_and_task(name)
    with connected(url) as client:
        _save_folder(out, lambda to: client.attestations(job, to, task))
    output(as_json).lines("files", sorted(str(file) for file in out.iterdir()))


def _save_folder(out: Path, fetch: Callable[[Path], Path]) -> None:
    """Write what a tar file holds as a new folder; UsageError where there is something of that name."""
    from nexapod_batch.files import umask
    from nexapod_client.evidence import unpacked

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", wanted="a new folder", hint="give another --out")
    with unpacked(fetch) as inside, umask.as_given():
        shutil.copytree(inside, out, dirs_exist_ok=True)


@click.group(cls=IdFirst)
def archive() -> None:
    """Write one folder or tar that proves a job elsewhere to anybody: archive ID."""


@archive.command()
@click.argument("name", metavar="ID")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR|FILE.tar", help="New folder, or new .tar file.")
@click.option("--without-inputs", is_flag=True, help="Name inputs by digest and source; leave the files out.")
@url_option
@json_option
def create(name: str, out: Path | None, without_inputs: bool, url: str | None, as_json: bool) -> None:
    """Write the archive of a job elsewhere (the same as: archive ID)."""
    with connected(url) as client:
        number = client.job(name).job["id"]
        target = out or Path(f"archive-{number}")
        if target.exists():
            raise UsageError(f"{target} is there already", wanted="a new name", hint="give another --out")
        _save_archive(client, name, target, inputs=not without_inputs)
    from nexapod_batch.coordinator.archives.look import shown

    found = shown(target)
    document = {"archive": str(target), "job": number, "files": found["files"], "bytes": found["bytes"]}
    output(as_json).document(document, archives.created)


def _save_archive(client: NexaPodClient, name: str, target: Path, *, inputs: bool) -> None:
    if target.name.endswith(".tar"):
        client.archive(name, target, inputs=inputs)
    else:
        _save_folder(target, lambda to: client.archive(name, to, inputs=inputs))


archive.add_command(archives.archive.commands["show"])
archive.add_command(archives.archive.commands["add"])


@click.group()
def ledger() -> None:
    """Show what the ledger of a coordinator elsewhere has of a job of yours."""


@ledger.command("log")
@click.argument("name", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ended.")
@url_option
@json_option
def log(name: str, follow: bool, url: str | None, as_json: bool) -> None:
    """List what happened to a job or task elsewhere."""
    job, task = job_and_task(name)
    out = output(as_json)
    if as_json and follow:
        raise UsageError("--json and --follow", wanted="one of them")
    with connected(url) as client:
        rows = client.events(job, task, follow=follow)
        if follow:
            for row in rows:
                shown = ledger_commands.shown(row)
                out.lines("entries", [f"{shown['entry']}  {shown['time']}  {shown['what']}"])
            return
        out.rows("entries", list(rows), ["entry", "time", "what"], ledger_commands.shown)


@ledger.command("head")
@url_option
@json_option
def head(url: str | None, as_json: bool) -> None:
    """Print the signed head of the ledger elsewhere, and nothing else."""
    from nexapod_batch.ledger.checkpoint import head_of
    from nexapod_batch.ledger.note import parse

    with connected(url) as client:
        text, key = client.checkpoint()
    said = head_of(parse(text))
    document: dict[str, Any] = {"origin": said.origin, "size": said.size, "root": said.root.hex(), "key": key}
    output(as_json).document(document | {"checkpoint": text}, lambda _: text.removesuffix("\n").split("\n"))
