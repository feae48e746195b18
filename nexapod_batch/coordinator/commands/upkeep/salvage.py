"""`db salvage`: a sound database of what is left of a damaged one; spools and results fill in what they can."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch.coordinator.evidence.intact import is_intact
from nexapod_batch.coordinator.evidence.report_columns import columns_of
from nexapod_batch.errors import CorruptStoreError, NexapodError, UsageError
from nexapod_batch.files import keyfile, replacement
from nexapod_batch.files.own import own_folder
from nexapod_batch.ledger.events import Kind, event
from nexapod_batch.store import Store, check_file
from nexapod_batch.store.faults import disk_faults
from nexapod_batch.store.lock import exclusive
from nexapod_batch.store.salvage.readable import load, read
from nexapod_batch.store.salvage.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.store.salvage.rebuild import Salvaged

__all__ = ["PATIENCE_S", "WAL_FILES", "salvage"]

PATIENCE_S = 30.0
#: What SQLite keeps beside the database: it belongs to the old one.
WAL_FILES = ("state.db-wal", "state.db-shm", "state.db-journal")


def salvage(paths: Paths, source: Path | None = None) -> dict[str, Any]:
    """Put what can be read of the damaged database, or of `source`, in its place; return what became of it.

    The old one stays in a folder beside it, and what could not be placed in a file. Killed at any point, it leaves the
    old database or the new one. UsageError where nothing is damaged, CorruptStoreError where nothing can be read.
    """
    damaged = source or paths.state_db
    if not damaged.is_file():
        raise UsageError("there is no database to salvage", got=f"no {damaged}", hint="nexapod-batch db restore BACKUP")
    if source is None and not check_file(damaged):
        raise UsageError(f"{damaged} is not damaged", hint="nexapod-batch db check")
    own_folder(paths.home, "keys", "sites", "spool", "work")
    with disk_faults(paths.home), exclusive(paths.state_db, wait_s=PATIENCE_S):
        new = replacement.begin(paths.home)
        done = rebuild(read(load(damaged)), new / "state.db", _names(paths), is_intact, columns_of)
        (new / "state.db").chmod(0o600)
        if not done.rows.get("job"):
            raise CorruptStoreError(
                f"no job can be read of {damaged}: nothing was changed",
                hint="put a backup back: nexapod-batch db restore BACKUP",
            )
        _note_in_ledger(new / "state.db", done)
        if problems := check_file(new / "state.db"):
            raise CorruptStoreError("what was salvaged does not hold together: nothing was changed", got=problems[0])
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        lost_file = f"lost-{stamp}.jsonl"
        if done.lost:
            _write_lost(new / lost_file, done)
        kept = replacement.commit(paths.home, "state.db", WAL_FILES, f"replaced-{stamp}")
    return _document(paths, done, kept, paths.home / lost_file if done.lost else None)


def _note_in_ledger(database: Path, done: Salvaged) -> None:
    """Let the ledger say which verdicts are open again; one that lacks what it needs to go on says so by itself."""
    now = time.time_ns() // 1_000_000
    entries = [event(Kind.RETRIED, now, id=f"{job}_{task}", tasks=1) for job, task in done.reopened]
    with Store.open(database) as store, suppress(NexapodError), store.atomic():
        store.ledger.append(entries)


def _names(paths: Paths) -> dict[str, str]:
    """Return the names of nodes by the ids of their keys, as the key files here have them."""
    found = {}
    for file in paths.keys.glob("node-*"):
        if file.suffix not in {".pub", ".new"}:
            try:
                found[keyfile.load(file).key_id] = file.name.removeprefix("node-")
            except NexapodError:
                continue
    return found


def _write_lost(file: Path, done: Salvaged) -> None:
    """Write the rows that could not be placed, one JSON object a line; bytes as base64."""
    with file.open("w", encoding="utf-8") as stream:
        for table, row in done.lost:
            plain = {name: _plain(value) for name, value in row.items()}
            stream.write(json.dumps({"table": table, "row": plain}) + "\n")
    file.chmod(0o600)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


def _document(paths: Paths, done: Salvaged, kept: Path, lost_file: Path | None) -> dict[str, Any]:
    lost: dict[str, int] = {}
    for table, _ in done.lost:
        lost[table] = lost.get(table, 0) + 1
    return {
        "database": str(paths.state_db),
        "rows": {table: count for table, count in done.rows.items() if count},
        "lost": lost,
        "lost_file": str(lost_file) if lost_file else None,
        "jobs_lost": done.jobs_lost,
        "reopened": [f"{job}_{task}" for job, task in done.reopened],
        "results_without_job": _results_without_job(paths),
        "replaced": str(kept) if kept.exists() else None,
    }


def _results_without_job(paths: Paths) -> list[int]:
    """Return the jobs of which there are results, and nothing else."""
    if not paths.results.is_dir():
        return []
    numbers = {int(path.name) for path in paths.results.iterdir() if path.name.isdigit() and len(path.name) < 10}
    with Store.open(paths.state_db, write=False) as store:
        return sorted(number for number in numbers if store.jobs.document(number) is None)
