"""What a fault of SQLite or of the disk means for a person: the one place where foreign errors are wrapped."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from nexapod_batch.errors import BusyError, ConfigError, CorruptStoreError, NexapodError, TryAgainError
from nexapod_batch.files.atomic import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["disk_faults", "explain", "raise_explained"]

_SMALLEST = 32 * 1024  # bytes
_LONG = 1 << 30  # bytes that no database of ours had yet where a fault is not of its length
_ELSEWHERE = "make it writable, or set NEXAPOD_HOME to a folder that is"
_MAKE_ROOM = "free some space there, then run the same command again: nothing was half done"


def explain(error: sqlite3.Error, path: str | os.PathLike[str]) -> NexapodError | None:
    """Return the error to raise `from error`, or None for a mistake of the program, which should stay visible."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:  # the low byte is the primary code
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BusyError(f"{path} is in use by another process", hint="run the same command again in a moment")
        case sqlite3.SQLITE_FULL:
            return TryAgainError(f"no space left for {path}", hint=_MAKE_ROOM)
        case sqlite3.SQLITE_IOERR if _is_full(path):  # the index of a WAL that cannot grow is called an I/O error
            return TryAgainError(f"no space left for {path}", hint=_MAKE_ROOM)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY if (limit := _limit_of_files()) is not None:
            hint = "raise it (ulimit -f unlimited), then run the same command again: nothing was half done"
            return TryAgainError(f"{path} cannot be written", got=f"a limit of {limit} bytes for each file", hint=hint)
        case sqlite3.SQLITE_IOERR:
            return TryAgainError(
                f"{path} cannot be read or written", got=error, hint="check the disk and the quota, then try again"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CorruptStoreError(
                f"{path} is damaged or no database",
                got=error,
                hint="nexapod-batch db check says what is left; then db restore BACKUP, or db salvage",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return ConfigError(f"{path} cannot be opened for writing", got=error, hint=_ELSEWHERE)
        case _:
            return None


def _is_full(path: str | os.PathLike[str]) -> bool:
    """Say whether the file system of a path has no room even for the smallest index of a WAL."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SMALLEST


def _limit_of_files() -> int | None:
    """Return how long this account lets a file be; None where that is long enough for any database of ours."""
    import resource  # noqa: PLC0415 - after a fault only

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY or limit > _LONG else limit


def raise_explained(error: sqlite3.Error, path: str | os.PathLike[str]) -> NoReturn:
    """Raise what `explain` says, or `error` itself; to be called where it was caught."""
    wrapped = explain(error, path)
    if wrapped is None:
        raise error
    raise wrapped from error


@contextmanager
def disk_faults(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError about `path` into the error that a person can act on.

    Raises:
        TryAgainError: The disk is full.
        ConfigError: The path cannot be used as it is.

    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise TryAgainError(f"no space left for {path}", hint=_MAKE_ROOM) from error
        raise ConfigError(f"{path} cannot be used", got=error.strerror or error, hint=_ELSEWHERE) from error
