"""Where this account's files lie, as text.

Commands that only look something up, and shells that complete a word, need no more than this: importing it costs
nothing, where pathlib alone takes as long as a look into the database.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexapod_batch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["config_folder", "database", "has_database", "home_folder", "results_folder"]

_APP = "nexapod-batch"


def home_folder(environ: Mapping[str, str]) -> str:
    """Return the folder of database, keys, spool, work and inputs; ConfigError for an account without a home."""
    return _given(environ) or f"{_xdg(environ, 'XDG_STATE_HOME', '.local/state')}/{_APP}"


def results_folder(environ: Mapping[str, str]) -> str:
    """Return the folder of results; ConfigError for an account without a home."""
    given = _given(environ)
    return f"{given or _xdg(environ, 'XDG_DATA_HOME', '.local/share') + '/' + _APP}/results"


def config_folder(environ: Mapping[str, str]) -> str:
    """Return the folder of settings and site files; ConfigError for an account without a home."""
    return _given(environ) or f"{_xdg(environ, 'XDG_CONFIG_HOME', '.config')}/{_APP}"


def database(home: str) -> str:
    """Return the path of the database."""
    return f"{home}/state.db"


def has_database(home: str) -> bool:
    """Say whether there is a database; ConfigError where there was one: nodes have keys, and it is gone or empty.

    An account that starts has neither. Beginning anew there would forget every job, and what was launched.
    """
    path = database(home)
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        size = -1
    except OSError as error:
        raise ConfigError("the database cannot be used", got=f"{error.strerror}: {path}") from error
    if size < 0 and _is_replaced(home):
        return True
    if size > 0 or _has_log(path) or not _has_node_keys(f"{home}/keys"):
        return size >= 0
    state = "gone" if size < 0 else "empty"
    raise ConfigError(
        f"the database {path} is {state}, and nodes have keys beside it",
        wanted="the one that knows their jobs",
        hint="put a backup back: nexapod-batch db restore BACKUP; or, to begin without any job: nexapod-batch db init",
    )


def _is_replaced(home: str) -> bool:
    """Finish to put another database in place where a process was killed over that; say whether there is one now."""
    if not os.path.exists(f"{home}/replacement"):
        return False
    from pathlib import Path  # noqa: PLC0415 - seldom needed

    from nexapod_batch.files import replacement  # noqa: PLC0415

    try:
        return replacement.finish(Path(home))
    except OSError as error:
        raise ConfigError(
            "a database was being put in place, and that cannot be finished",
            got=f"{error.strerror}: {error.filename}",
            hint="make the home writable, with some room on its disk, and run the same command again",
        ) from error


def _has_log(path: str) -> bool:
    """Say whether a write-ahead log holds what is not in the file yet."""
    try:
        return os.stat(f"{path}-wal").st_size > 0
    except OSError:
        return False


def _has_node_keys(folder: str) -> bool:
    try:
        return any(name.startswith("node-") for name in os.listdir(folder))
    except OSError:
        return False


def _given(environ: Mapping[str, str]) -> str:
    """Return NEXAPOD_HOME as an absolute path, or ""."""
    given = environ.get("NEXAPOD_HOME", "")
    if not given:
        return ""
    expanded = os.path.expanduser(given)
    if expanded.startswith("~"):
        raise ConfigError("NEXAPOD_HOME is in the home of nobody here", got=given, wanted="an absolute path")
    if not expanded.startswith("/"):  # else the current folder may be gone
        expanded = f"{os.getcwd()}/{expanded}"
    parts = expanded.split("/")
    return "/" + "/".join([part for part in parts if part not in ("", ".")])


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> str:
    """Return an XDG base directory; the specification says that a relative one is ignored."""
    given = environ.get(variable, "")
    if given.startswith("/"):
        return given.rstrip("/")
    home = environ.get("HOME") or os.path.expanduser("~")
    if not home.startswith("/"):
        raise ConfigError("no home directory", got=f"HOME={home!r}", wanted="an absolute path", hint="set NEXAPOD_HOME")
    return f"{home.rstrip('/')}/{fallback}"
