"""`backup`: everything that a coordinator needs to go on elsewhere, in one file that is checked before it has its name.

Reports in segments are taken before the database: whatever is read and removed in between is in the database then.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from nexapod_batch import __version__
from nexapod_batch.coordinator.commands.upkeep import archive
from nexapod_batch.errors import KeyFileError, NexapodError, UsageError
from nexapod_batch.files import keyfile
from nexapod_batch.spool import layout
from nexapod_batch.store.faults import disk_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["backup"]


def backup(c: Coordinator, target: Path, *, results: bool = False) -> dict[str, Any]:
    """Write and check a backup of database, keys, settings, inputs and unread reports, and of `results` if wanted.

    Work goes on meanwhile. UsageError when `target` exists, CorruptStoreError for a damaged database, KeyFileError for
    another coordinator's key, TryAgainError or ConfigError when it cannot be written.
    """
    if os.path.lexists(target):
        raise UsageError(f"{target} exists", hint="name a new file; a backup never overwrites one")
    warnings = list(_check_keys(c))
    database = target.with_name(f".{target.name}.{os.getpid()}.db")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with disk_faults(target):
            files = _files(c, database, results=results)
            archive.write(temporary, files, compress=target.suffix in {".gz", ".tgz"})
            names = archive.verify(temporary)
            temporary.replace(target)
    finally:
        for leftover in (database, temporary):
            leftover.unlink(missing_ok=True)
    return {
        "backup": str(target),
        "bytes": target.stat().st_size,
        "files": len(names),
        "coordinator": c.signer.key_id,
        "results": results,
        "results_folder": str(c.paths.results),
        "warnings": warnings,
    }


def _check_keys(c: Coordinator) -> Iterator[str]:
    """Yield which keys of nodes a backup cannot have; KeyFileError where the coordinator's is not its own."""
    known = c.store.operations.coordinator_key()
    if known not in {None, c.signer.key_id}:
        raise KeyFileError(
            "the coordinator's key is not that of its database", got=c.signer.key_id, wanted=known,
            hint="put the right key back first: nexapod-batch doctor",
        )  # fmt: skip
    for node in c.nodes():
        file = c.paths.keys / f"node-{node.name}"
        try:
            loaded = keyfile.load(file)
        except NexapodError as error:
            yield f"node {node.name}: {error.what}"
            continue
        if loaded.key_id != node.key_id:
            yield f"node {node.name}: {file} is not the key that is registered"


def _files(c: Coordinator, database: Path, *, results: bool) -> Iterator[tuple[str, Path | bytes]]:
    """Yield what goes into the archive, and make the copy of the database in time."""
    paths = c.paths
    about = {
        "schema": 1, "made": int(time.time()), "version": __version__, "home": str(paths.home),
        "host": socket.gethostname(), "coordinator": c.signer.key_id, "results": results,
    }  # fmt: skip
    yield "about.json", json.dumps(about, indent=2).encode()
    yield from _below(paths.keys, "keys")
    yield from _settings(paths)
    yield from _spools(paths)
    c.store.backup(database)
    yield "state.db", database
    database.unlink()
    yield "newest-launch", paths.home / "newest-launch"
    yield from _below(paths.inputs, "inputs")
    if results:
        yield from _results(paths)


def _below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the plain files of a folder that belong into an archive."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    for one in found:
        if archive.NAMES.fullmatch(f"{name}/{one}"):
            yield f"{name}/{one}", folder / one


def _settings(paths: Paths) -> Iterator[tuple[str, Path]]:
    """Yield this account's own settings and site files; those of the machine are the machine's."""
    folder = paths.config_dirs[-1]
    yield "config/config.toml", folder / "config.toml"
    yield from _below(folder / "sites.d", "config/sites.d")


def _spools(paths: Paths) -> Iterator[tuple[str, Path]]:
    """Yield what spools in the home have that nobody can make again."""
    spools = paths.home / "spool"
    if not spools.is_dir():
        return
    for spool in sorted(spools.iterdir()):
        name = f"spool/{spool.name}"
        for one in (layout.NODE_CONFIG, layout.OWNER_SETTINGS):
            yield f"{name}/{one}", spool / one
        yield from _below(spool / layout.REPORTS, f"{name}/{layout.REPORTS}")


def _results(paths: Paths) -> Iterator[tuple[str, Path]]:
    """Yield the published results: all plain files below `JOB/TASK`, of second verdicts too, and manifests."""
    for folder, folders, files in os.walk(paths.results):
        if os.path.relpath(folder, paths.results).count("/") == 0:  # partial ones of a publication under way
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
        folders.sort()
        for one in sorted(files):
            file = paths.results / os.path.relpath(os.path.join(folder, one), paths.results)
            name = f"results/{file.relative_to(paths.results)}"
            if archive.NAMES.fullmatch(name) and file.is_file() and not file.is_symlink():
                yield name, file
