"""`image`: what is in the image cache, and what goes in and out of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nexapod_batch.cli.context import json_option, looking, paths, writing
from nexapod_batch.cli.rendering import renderers
from nexapod_batch.cli.rendering.render import Document, note, output
from nexapod_batch.errors import ImageError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nexapod_batch.images.cache import Image

__all__ = ["image"]

#: As many digits of a digest as a person needs to see.
SHORT = 12


@click.group()
def image() -> None:
    """Fetch, list, build and remove container images."""


@image.command()
@json_option
def ls(as_json: bool) -> None:
    """List the images in the cache.

    The last used comes first, each with the open jobs that need it.
    """
    from nexapod_batch.coordinator.placement import images

    using = _using()
    rows = [_row(image, using) for image in images.cache_of(paths()).images()]
    output(as_json).rows("images", rows, ["sha256", "size", "architecture", "used", "jobs", "reference"], _flat)


@image.command()
@click.argument("reference")
@click.option("--sha256", metavar="HEX", default="", help="Refuse another file than this one.")
@click.option("--arch", metavar="MACHINE", default="", help="Of an image for several machines, as uname -m says it.")
@json_option
def pull(reference: str, sha256: str, arch: str, as_json: bool) -> None:
    """Fetch an image into the cache.

    From docker://, oras://, library:// or https://, a .sif file or a sandbox folder.
    """
    import re

    from nexapod_batch.cli.rendering.progress import progress
    from nexapod_batch.coordinator.placement import images

    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UsageError("--sha256", got=repr(sha256), wanted="64 hex digits")
    where = reference if "://" in reference else str(Path(reference).absolute())
    with progress() as shown:
        found, name = images.pull(
            images.cache_of(paths()), paths(), where, shown, sha256=sha256.lower(), architecture=arch
        )
    if arch and found.architecture not in {"", arch}:  # a file is for one kind of machine, whatever was asked for
        raise ImageError("the image is for another machine", got=found.architecture, wanted=f"{arch} (--arch)")
    output(as_json).document({**_row(found, {}), "reference": name}, _pulled)


@image.command()
@click.option("--all", "everything", is_flag=True, help="Remove every image that no open job needs.")
@click.option("--to", metavar="SIZE", help="Remove the longest unused until the others take at most SIZE (10GiB).")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
def prune(everything: bool, to: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove images that no open job needs.

    The longest unused go first, down to images.max_size or --to SIZE.
    """
    from nexapod_batch.coordinator.placement import images

    cache = images.cache_of(paths())
    limit = _limit(cache.max_bytes, to, everything=everything)
    if paths().has_database():
        with looking() if dry_run else writing() as c:
            removed = images.prune(c, limit=limit, dry_run=dry_run)
    else:
        removed = cache.prune(limit, dry_run=dry_run)
    rows = [_row(one, {}) for one in removed]
    freed = sum(one.size for one in removed)
    output(as_json).document({"removed": rows, "bytes": freed, "dry_run": dry_run}, _pruned)


def _limit(set_bytes: int, to: str | None, *, everything: bool) -> int:
    """Return the bytes that other images may take; UsageError for two limits, none, or one that is no size."""
    from nexapod_batch.schema.units import size

    if everything:
        if to is not None:
            raise UsageError("two limits", got="--all and --to", wanted="one of them")
        return 0
    if to is None:
        if not set_bytes:
            raise UsageError("no limit is set", wanted="--all, or --to SIZE", hint="or set images.max_size")
        return set_bytes
    try:
        return size(to) << 20
    except ValueError as error:
        raise UsageError("--to", got=repr(to), wanted='MiB, or "10GiB"') from error


@image.command()
@click.argument("which", metavar="IMAGE")
@json_option
def inspect(which: str, as_json: bool) -> None:
    """Show all that is known of an image.

    IMAGE is a digest or its first digits, a reference, or a file.
    """
    from nexapod_batch.coordinator.placement import images

    using, cache = _using(), images.cache_of(paths())
    found = [image for image in cache.images() if _is_meant(image, which)]
    if not found and "://" not in which and Path(which).is_file():
        output(as_json).document(_file(Path(which)), renderers.tree)
        return
    if len(found) != 1:
        got = f"{len(found)} of that name" if found else repr(which)
        raise NotFoundError("there is no such image", got=got, hint="nexapod-batch image ls lists them")
    output(as_json).document(_row(found[0], using), renderers.tree)


def _is_meant(image: Image, which: str) -> bool:
    """Say whether an image is the one of a digest, its first digits, a reference, or a file."""
    if image.sha256.startswith(which.lower()):
        return True
    path = str(Path(which).absolute())
    return any(_names(name, which) or name == path for name in image.references)


@image.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--to", "target", metavar="FILE", help="New image. Default: named as the folder of the recipe.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--print", "only_print", is_flag=True, help="Print the definition file that would be built, and stop.")
@json_option
def build(recipe: Path, target: str | None, force: bool, only_print: bool, as_json: bool) -> None:
    """Build an image from a Dockerfile or definition file.

    Definition files are Apptainer's; a Dockerfile is converted to one.
    """
    from nexapod_batch.cli.rendering.progress import progress
    from nexapod_batch.files import umask
    from nexapod_batch.images.recipes import recipes

    found = recipes.read(recipe)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if only_print:
        output(as_json).lines("definition", found.definition.splitlines())
        return
    place = Path(target) if target else Path(f"{recipe.absolute().parent.name or 'image'}.sif")
    if place.is_dir():
        raise UsageError(f"{place} is a folder", wanted="the new file, as in --to image.sif")
    if not place.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {place.parent}", hint=f"mkdir -p {shlex.quote(str(place.parent))}")
    if place.exists() and not force:
        raise UsageError(f"{place} is there already", hint="--force replaces it")
    with progress() as shown, umask.as_given():
        built = recipes.build(found, place.absolute(), shown)
    output(as_json).document(built, _built)


def _using() -> Mapping[str, Sequence[int]]:
    """Return the open jobs by the image that they need; none before the first submit."""
    if not paths().has_database():
        return {}
    from nexapod_batch.coordinator.placement import images

    with looking() as c:
        return images.jobs_using(c)


def _row(image: Image, using: Mapping[str, Sequence[int]]) -> Document:
    return {
        "sha256": image.sha256,
        "file": str(image.path),
        "bytes": image.size,
        "architecture": image.architecture or None,
        "created": _time(image.created),
        "used": _time(image.used),
        "references": list(image.references),
        "jobs": list(using.get(image.sha256, ())),
        "labels": dict(image.labels),
    }


def _flat(row: Document) -> Document:
    return {
        **row,
        "sha256": row["sha256"][:SHORT],
        "size": renderers.size(row["bytes"] // 1024),
        "jobs": row["jobs"] or None,
        "reference": row["references"][-1] if row["references"] else None,
    }


def _file(path: Path) -> Document:
    """Return what a file that is not in the cache says of itself."""
    import hashlib

    from nexapod_batch.images import sif

    header = sif.read(path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "sha256": digest,
        "file": str(path.absolute()),
        "bytes": header.size,
        "architecture": header.architecture or None,
        "created": _time(header.created),
        "labels": dict(header.labels),
    }


def _names(reference: str, which: str) -> bool:
    """Say whether a reference is the one that was asked for, with or without its digest."""
    return which in {reference, reference.partition("@")[0]}


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pulled(document: Document) -> Iterator[str]:
    yield f"{document['reference']}"
    yield f"  sha256: {document['sha256']}"
    yield f"  size:   {renderers.size(document['bytes'] // 1024)}, {document['architecture'] or 'unknown architecture'}"
    yield f"  file:   {document['file']}"


def _pruned(document: Document) -> Iterator[str]:
    for row in document["removed"]:
        yield f"{row['sha256'][:SHORT]}  {renderers.size(row['bytes'] // 1024)}  {', '.join(row['references'])}"
    verb = "would be freed" if document["dry_run"] else "freed"
    yield f"{renderers.size(document['bytes'] // 1024)} {verb}"


def _built(document: Document) -> Iterator[str]:
    yield f"{document['file']}: {renderers.size(document['bytes'] // 1024)}, sha256 {document['sha256']}"


