"""The folder that is deposited. It is made beside its place and moved there whole: all of it is there, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import UsageError
from nexapod_batch.files import atomic, careful
from nexapod_batch.publication import catalogue
from nexapod_batch.publication.badge import badge
from nexapod_batch.publication.figure import figure
from nexapod_batch.publication.page import page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.publication.catalogue import Entry

__all__ = [
    "BADGE", "DATACITE", "PAGE", "SUMS", "contents", "digest_of", "listed", "new_folder", "refuse_existing", "write",
]  # fmt: skip

PAGE, BADGE, FIGURE, SUMS = "report.html", "badge.svg", "agreement.svg", "SHA256SUMS"
DATACITE, _CITATION, _ZENODO, _DIFFERENCES = "datacite.json", "CITATION.cff", ".zenodo.json", "differences.txt"
_MAX_SUMS = 1 << 20


def contents(entry: Entry) -> dict[str, bytes]:
    """Return everything of a deposit but its archive and its checksums, by name."""
    facts = entry.facts
    found = {
        PAGE: page(facts, entry.publication),
        BADGE: badge(facts),
        FIGURE: figure(facts, standalone=True),
        DATACITE: _json(catalogue.datacite(entry)),
        _CITATION: catalogue.citation(entry),
        _ZENODO: _json(catalogue.zenodo(entry)),
    }
    differences = [f"task {task.number}:\n" + "\n".join(task.differences) for task in facts.tasks if task.differences]
    if differences:
        found[_DIFFERENCES] = "\n\n".join(differences) + "\n"
    return {name: text.encode("utf-8", "backslashreplace") for name, text in found.items()}


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `target` where nothing fails, and is removed where something does.

    Raises:
        UsageError: There is something at `target`, or it cannot be made or filled.

    """
    refuse_existing(target)
    folder = target.absolute().with_name(f".{target.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{target} cannot be made", got=error.strerror, hint="give another --to") from error
    try:
        yield folder
        atomic.sync_files([path for path in folder.iterdir() if path.is_file()])
        folder.rename(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written", got=error.strerror, hint="is the disk full?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """UsageError where there is something that is no empty folder."""
    if target.is_symlink() or (target.exists() and not _is_empty(target)):
        raise UsageError(f"{target} is there already", wanted="a new folder", hint="give another --to")


def _is_empty(path: Path) -> bool:
    try:
        return not any(os.scandir(path))
    except OSError:
        return False


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files beside those that are in a folder, then the checksums of all of them; OSError where that fails."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    lines = [f"{digest_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def listed(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a deposit that is there, by name, after a look at each of them.

    Raises:
        UsageError: It is no deposit, or is not as it was made.

    """
    hint = "remove it, or give another --to"
    try:
        text = careful.read(folder / SUMS, _MAX_SUMS).decode("utf-8")
        wanted = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
        here = {entry.name: digest_of(folder / entry.name) for entry in os.scandir(folder) if entry.name != SUMS}
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is there already, and is no deposit", got=error, hint=hint) from error
    changed = {name for name, _ in here.items() ^ wanted.items()}
    if changed:
        raise UsageError(f"{folder} is not the deposit that was made", got=", ".join(sorted(changed)), hint=hint)
    return wanted


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a plain file, in hex; OSError for anything else."""
    with open(careful.open_plain(path), "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
