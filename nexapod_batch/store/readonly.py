"""Reading a database where nothing can be written: a read-only home, somebody else's, or a disk without room.

SQLite wants a file for the readers of a write-ahead log beside the database. Where that cannot be made, a database
without a log is read as it is (immutable: nobody can write to it here), and one with a log through a copy of both.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile

__all__ = ["connect"]


def connect(path: str) -> sqlite3.Connection:
    """Return a connection that reads what was committed and leaves nothing beside the database; sqlite3.Error.

    Raises:
        OperationalError: It changed too often while it was opened.

    """
    log = f"{path}-wal"
    if not os.path.exists(log) or not os.stat(log).st_size:
        return _open(path, "immutable=1")
    why: OSError | None = None
    for place in (None, "/dev/shm", os.environ.get("XDG_RUNTIME_DIR")):  # noqa: S108 - the first that has room
        try:
            return _copied(path, log, place)
        except OSError as error:
            why = why or error
    raise sqlite3.OperationalError(f"no room for a copy to read: {why}") from why


def _copied(path: str, log: str, place: str | None) -> sqlite3.Connection:
    """Return a connection to a copy in a folder of its own in a place; OSError where that has no room."""
    folder = tempfile.mkdtemp(prefix="nexapod-read-", dir=place)
    try:
        for file in (path, log):
            shutil.copyfile(file, os.path.join(folder, os.path.basename(file)))
        found = _open(os.path.join(folder, os.path.basename(path)), "mode=rw")
        found.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the log is open from here on
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what is open stays readable
    return found


def _open(path: str, how: str) -> sqlite3.Connection:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?{how}", uri=True, isolation_level=None)
