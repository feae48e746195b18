"""What a server leaves in its home for programs of the same account on the same machine: where it is, and a token."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nexapod_batch.errors import BusyError
from nexapod_batch.files import atomic, own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.config.settings import Paths

__all__ = ["folder_of", "leave", "only_one", "pin_in_use"]

_MAX = 1 << 16


def folder_of(paths: Paths) -> Path:
    """Return where a home keeps what belongs to its server."""
    return paths.home / "server"


def leave(paths: Paths, word: dict[str, Any]) -> None:
    """Leave word of a server that runs (`url`, `port`, `pin`, `token`), for this account alone."""
    own.own_folder(folder_of(paths))
    atomic.write(folder_of(paths) / "local.json", json.dumps(word).encode(), 0o600)


@contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Be the only server of a home until the block ends; BusyError where there is one."""
    own.own_folder(folder_of(paths))
    path = folder_of(paths) / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "stop that one first, or set NEXAPOD_HOME to another home"
            raise BusyError(f"a server of {paths.home} runs already", got=_where(paths), hint=hint) from None
        yield
    finally:
        os.close(descriptor)


def _where(paths: Paths) -> str:
    try:
        word = json.loads(own.read(folder_of(paths) / "local.json", _MAX))
        return f"process {word['pid']} at {word['url']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that did not say where"


def pin_in_use(paths: Paths) -> str:
    """Return the pin that new tokens carry; "" where no server was made yet, or a proxy speaks TLS for it."""
    try:
        return str(json.loads(own.read(folder_of(paths) / "local.json", _MAX))["pin"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
