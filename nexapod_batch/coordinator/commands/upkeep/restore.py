"""`db restore`: a backup in the place of a database that is lost, damaged or wrong, here or on another machine.

The backup is unpacked beside, read to its end and compared with its own list and with the keys before anything here is
touched. Killed at any point, it leaves the old state or the new one. What it replaces is kept in a folder beside;
results and settings that are here already stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.commands.upkeep import archive
from nexapod_batch.coordinator.commands.upkeep.salvage import PATIENCE_S, WAL_FILES
from nexapod_batch.errors import ConfigError, CorruptStoreError, KeyFileError, NexapodError, NotFoundError
from nexapod_batch.files import keyfile, replacement, umask
from nexapod_batch.files.own import own_folder
from nexapod_batch.spool import layout
from nexapod_batch.store import Store
from nexapod_batch.store.faults import disk_faults
from nexapod_batch.store.file_header import FILE_MAGIC
from nexapod_batch.store.lock import exclusive

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.config.settings import Paths

__all__ = ["restore"]


def restore(paths: Paths, backup: Path) -> dict[str, Any]:
    """Put a backup in place, an archive of `backup` or a copy of the database alone; return what was done.

    NotFoundError without a backup, CorruptStoreError where it is damaged, KeyFileError where the keys that it needs are
    neither in it nor here, or the home is another coordinator's. Nothing is changed then.
    """
    if not backup.is_file():
        raise NotFoundError("there is no such backup", got=str(backup), wanted="a file that nexapod-batch backup made")
    own_folder(paths.home, "keys", "sites", "spool", "work")
    with disk_faults(paths.home), exclusive(paths.state_db, wait_s=PATIENCE_S):
        _finish_earlier(paths)
        new = replacement.begin(paths.home)
        raw = new.parent / "raw"
        raw.mkdir(mode=0o700)
        is_archive = archive.is_archive(backup)
        if is_archive:
            archive.unpack(backup, raw)
        else:
            shutil.copyfile(backup, raw / "state.db")
        counts = _check_database(raw, backup)
        _choose(paths, raw, new, counts)
        settings = _put_settings(paths, raw / "config")
        results = _put_results(paths, raw / "results")
        shutil.rmtree(raw)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        kept = replacement.commit(paths.home, "state.db", WAL_FILES, f"replaced-{stamp}")
    return {
        "database": str(paths.state_db), "jobs": counts.jobs, "open_jobs": counts.open_jobs, "settings": settings,
        "results": results, "replaced": str(kept) if kept.exists() else None, "archive": is_archive,
    }  # fmt: skip


def _finish_earlier(paths: Paths) -> None:
    """Finish what was killed before; a database that is lost is why somebody restores one."""
    try:
        paths.has_database()
    except ConfigError:
        return


class _Counts:
    """What a database says of itself."""

    def __init__(self, store: Store) -> None:
        self.jobs, self.open_jobs = store.jobs.count(), store.jobs.count_open()
        self.newest_launch = store.launches.newest()
        self.coordinator = store.operations.coordinator_key()
        self.identity = store.operations.first_coordinator_key()
        self.nodes = {node.name: node.key_id for node in store.nodes.all()}


def _check_database(raw: Path, backup: Path) -> _Counts:
    """Bring the unpacked database up to date and return what it says; CorruptStoreError where it is none or damaged."""
    database = raw / "state.db"
    hint = f"nothing was changed; what is left of it: nexapod-batch db salvage --from {backup}"
    if not database.is_file():
        raise CorruptStoreError(f"the backup {backup} holds no database", hint="take another one: nothing was changed")
    try:
        with database.open("rb") as stream:  # SQLite takes an empty file for an empty database
            if stream.read(len(FILE_MAGIC)) != FILE_MAGIC:
                raise CorruptStoreError("it is no database")
        database.chmod(0o600)
        with Store.open(database) as store:
            problems = store.check()
            counts = _Counts(store)
    except CorruptStoreError as error:
        raise CorruptStoreError(f"the backup {backup} cannot be used", got=error.what, hint=hint) from error
    if problems:
        raise CorruptStoreError(f"the database in {backup} is damaged", got=problems[0], hint=hint)
    for beside in raw.glob("state.db-*"):
        beside.unlink()
    (raw / "state.db.lock").unlink(missing_ok=True)
    return counts


def _choose(paths: Paths, raw: Path, new: Path, counts: _Counts) -> None:
    """Move what takes a place here from the unpacked backup to the new files; KeyFileError where a key is missing."""
    _choose_key(paths, raw, new, "coordinator", counts.coordinator, counts.identity)
    for name, key_id in counts.nodes.items():
        try:
            _choose_key(paths, raw, new, f"node-{name}", key_id)
        except KeyFileError:
            continue  # a node without its key can be given a new one
    for file in sorted((*(raw / "inputs").glob("*"), *(raw / "spool").glob("**/*"))):
        place = file.relative_to(raw)
        if file.is_file() and not (paths.home / place).exists():
            _move(file, new / place)
    _rewrite_places(raw, new, paths)
    if not (paths.home / "newest-launch").exists():  # what was handed over since is not known here: all of it is over
        handed = counts.newest_launch + 1 if counts.newest_launch else 0
        (new / "newest-launch").write_text(f"{handed}\n")
    _move(raw / "state.db", new / "state.db")


def _choose_key(
    paths: Paths, raw: Path, new: Path, name: str, wanted: str | None, identity: str | None = None
) -> None:
    """Take a key from the backup where the one here is missing or another one.

    The coordinator with the first key `identity` may have had another one when the backup was made.
    """
    here, there = _key_id(paths.keys / name), _key_id(raw / "keys" / name)
    wanted = wanted or there or here
    if here is not None and here == wanted:
        return
    if there is None or there != wanted:
        raise _no_key(paths, name, here or there or "no key", wanted)
    if name == "coordinator" and here is not None and paths.state_db.exists() and identity != _identity(paths):
        raise KeyFileError(
            f"{paths.home} is the home of another coordinator", got=here, wanted=wanted,
            hint="set NEXAPOD_HOME to another folder, or move this home away; nothing was changed",
        )  # fmt: skip
    _move_key(raw / "keys", new / "keys", name)


def _no_key(paths: Paths, name: str, got: str, wanted: str | None) -> KeyFileError:
    return KeyFileError(
        f"the key {name} that the database of this backup was made with is not in it, nor in {paths.keys}",
        got=got, wanted=wanted,
        hint="put the key file back first, or restore into the home that has it; nothing was changed",
    )  # fmt: skip


def _move_key(source: Path, target: Path, name: str) -> None:
    """Move the files of a key that are there."""
    for file in (name, f"{name}.pub"):
        if (source / file).exists():
            _move(source / file, target / file)


def _identity(paths: Paths) -> str:
    """Return the id of the first key of the coordinator whose home this is; "" where its database does not say."""
    try:
        with Store.open(paths.state_db, write=False) as store:
            return store.operations.first_coordinator_key() or ""
    except NexapodError:
        return ""


def _key_id(file: Path) -> str | None:
    try:
        return keyfile.load(file).key_id if file.exists() else None
    except NexapodError:
        return None


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.rename(target)


def _rewrite_places(raw: Path, new: Path, paths: Paths) -> None:
    """Let the settings of nodes name the folders of this home; they hold absolute paths."""
    try:
        before = json.loads((raw / "about.json").read_text())["home"]
    except (OSError, ValueError, KeyError):
        return
    for file in (new / "spool").glob(f"*/{layout.NODE_CONFIG}"):
        text = file.read_text()
        text = text.replace(f'"{before}/', f'"{paths.home}/').replace(f'"{before}"', f'"{paths.home}"')
        file.write_text(text)


def _put_settings(paths: Paths, folder: Path) -> list[str]:
    """Put settings and site files where none are; return what was put."""
    put = []
    for file in sorted((*folder.glob("config.toml"), *folder.glob("sites.d/*.toml"))):
        target = paths.config_dirs[-1] / file.relative_to(folder)
        if not target.exists():
            own_folder(target.parent)
            shutil.copyfile(file, target.with_name(f".{target.name}.new"))
            target.with_name(f".{target.name}.new").rename(target)
            put.append(str(target))
    return put


def _put_results(paths: Paths, folder: Path) -> int:
    """Put results where there are none, task by task; return of how many tasks."""
    put = 0
    for task in sorted(folder.glob("*/*")):
        target = paths.results / task.relative_to(folder)
        if os.path.lexists(target):
            continue
        own_folder(target.parent, below=paths.results.parent, mode=umask.folder_mode())
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if task.is_file():  # a manifest
            shutil.copyfile(task, partial)
            os.chmod(partial, umask.folder_mode() & 0o666)
        else:
            shutil.copytree(task, partial)
            _open_to_readers(partial)
        partial.rename(target)
        put += task.name.isdecimal()
    return put


def _open_to_readers(folder: Path) -> None:
    """Give results the modes that they have when they are published."""
    mode = umask.folder_mode()
    for where, _, files in os.walk(folder):
        os.chmod(where, mode)
        for file in files:
            os.chmod(os.path.join(where, file), mode & 0o666)
