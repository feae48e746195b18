"""`publish`: an archive with a page for people and entries for catalogues, in a folder or in a repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexapod_batch.cli.context import json_option
from nexapod_batch.cli.rendering.render import note, output
from nexapod_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexapod_batch.coordinator.publishing.publish import Deposit, Wanted
    from nexapod_batch.publication.invenio import Record

__all__ = ["publish"]

#: The variable that holds the token of a repository.
TOKEN = "NEXAPOD_INVENIO_TOKEN"  # noqa: S105 - its name


@click.command()
@click.argument("path", metavar="ARCHIVE", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), metavar="DIR", help="New folder for all that is deposited.")
@click.option(
    "--invenio", metavar="URL",
    help=f"Make a draft of it in this InvenioRDM repository, such as https://zenodo.org; its token is in {TOKEN}.",
)
@click.option("--publish", "for_all", is_flag=True, help="With --invenio, publish the draft; that cannot be undone.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the token, that only you can read."
)
@click.option(
    "--metadata", type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with a table [publication], for what the job's descriptor does not say.",
)
@click.option(
    "--key", "keys", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="A public key (PEM) that you got from its owner.",
)
@click.option("--uuid", help="The UUID of the job, where you know it from elsewhere than the archive.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness that must have cosigned.")
@click.option("--unverified", is_flag=True, help="Publish what does not hold; the page begins with that.")
@click.option("--dry-run", is_flag=True, help="Check the archive and say what would be made; write and send nothing.")
@json_option
def publish(
    path: Path,
    to: Path | None,
    invenio: str | None,
    for_all: bool,
    token_file: Path | None,
    metadata: Path | None,
    keys: tuple[Path, ...],
    uuid: str | None,
    witnesses: tuple[str, ...],
    unverified: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish an archive: a page, a badge, and what catalogues read.

    The archive is checked first; one that does not hold is refused. --to makes a folder to deposit anywhere; --invenio
    brings it into a draft of a repository, and goes on where an earlier run ended. Nobody sees a draft but you, until
    you publish it: there, or with --publish.
    """
    from nexapod_batch.coordinator.publishing.publish import deposited, planned
    from nexapod_batch.files import umask

    if to is None and invenio is None:
        hint = "nexapod-batch publish --help"
        raise UsageError("publish it where?", wanted="--to DIR, --invenio URL or both", hint=hint)
    if for_all and invenio is None:
        raise UsageError("--publish is for a draft in a repository", hint="give --invenio URL as well")
    wanted = _wanted(path, metadata, keys, uuid, witnesses, unverified=unverified)
    web = None if invenio is None or dry_run else _web(invenio, token_file)
    if dry_run:
        done = planned(wanted, to)
    else:
        with umask.as_given():
            done = deposited(wanted, to or _beside(path))
    record = None
    if web is not None and done.folder is not None:
        record = _upload(web, done, for_all=for_all)
    output(as_json).document(_document(done, record, invenio), _published)


def _wanted(
    path: Path,
    metadata: Path | None,
    keys: tuple[Path, ...],
    uuid: str | None,
    witnesses: tuple[str, ...],
    *,
    unverified: bool,
) -> Wanted:
    from datetime import UTC, datetime

    from nexapod_batch.config.job.publication import load_publication
    from nexapod_batch.coordinator.publishing.publish import Wanted
    from nexapod_batch.coordinator.verification.export_files import given_keys
    from nexapod_batch.ledger.note import parse_key

    return Wanted(
        archive=path,
        date=datetime.now(UTC).date().isoformat(),
        publication=None if metadata is None else load_publication(metadata),
        keys=given_keys(keys),
        uuid=uuid,
        witnesses=[parse_key(text) for text in witnesses],
        unverified=unverified,
    )


def _beside(path: Path) -> Path:
    """Return where a deposit lies for which no place was named."""
    path = path.absolute()
    return path.with_name(f"{path.name.removesuffix('.tar')}.deposit")


def _web(url: str, token_file: Path | None) -> Any:  # noqa: ANN401 - the library is imported where it is needed
    from nexapod_batch.publication.token import token_of
    from nexapod_batch.publication.web import Web, address

    return Web(address(url), token_of(os.environ, TOKEN, token_file))


def _upload(web: Any, done: Deposit, *, for_all: bool) -> Record:  # noqa: ANN401 - as above
    from urllib.parse import urlsplit

    from nexapod_batch.publication import catalogue
    from nexapod_batch.publication.invenio import note_of, upload

    assert done.folder is not None  # noqa: S101 - it was made
    files = [done.folder / name for name in done.files]
    body = catalogue.invenio(done.entry, urlsplit(web.url).hostname or "")
    return upload(web, files, body, note_of(done.folder), publish=for_all, say=lambda text: note(f"... {text}"))


def _document(done: Deposit, record: Record | None, invenio: str | None) -> dict[str, Any]:
    from nexapod_batch.publication.badge import summary

    facts = done.entry.facts
    document: dict[str, Any] = {
        "job": facts.job, "uuid": facts.uuid, "title": done.entry.publication.title, "summary": summary(facts),
        "verified": facts.verified, "folder": None if done.folder is None else str(done.folder),
        "files": [{"name": name, "bytes": size} for name, size in done.files.items()],
        "repository": invenio, "record": None,
    }  # fmt: skip
    if record is not None:
        document["record"] = {"id": record.id, "url": record.page, "published": record.published, "kept": record.kept}
    return document


def _published(document: dict[str, Any]) -> Iterator[str]:
    of = "" if document["job"] is None else f"job {document['job']}, "
    yield f"{of}{document['title']}: {document['summary']}"
    if not document["verified"]:
        yield "  it does not verify: the page begins with that"
    where = document["folder"] or "nothing was written; there would be"
    yield f"  {where}"
    for file in document["files"]:
        yield f"    {file['name']}  {file['bytes']} bytes"
    record = document["record"]
    if record is None:
        if document["repository"] and document["folder"] is None:
            yield f"  a draft of it would be made at {document['repository']}"
        return
    if record["published"]:
        yield f"  published: {record['url']}"
    else:
        yield f"  draft: {record['url']}"
        yield "  nobody sees it but you: look at it there, and publish it there or with --publish"
