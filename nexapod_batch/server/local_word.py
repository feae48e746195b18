"""What a server leaves in its home for programs of the same account on the same machine: where it is, and a token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nexapod_batch.files import atomic, own

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.config.settings import Paths

__all__ = ["folder_of", "leave", "pin_in_use"]

_MAX = 1 << 16


def folder_of(paths: Paths) -> Path:
    """Return where a home keeps what belongs to its server."""
    return paths.home / "server"


def leave(paths: Paths, word: dict[str, Any]) -> None:
    """Leave word of a server that runs (`url`, `port`, `pin`, `token`), for this account alone."""
    own.own_folder(folder_of(paths))
    atomic.write(folder_of(paths) / "local.json", json.dumps(word).encode(), 0o600)


def pin_in_use(paths: Paths) -> str:
    """Return the pin that new tokens carry; "" where no server was made yet, or a proxy speaks TLS for it."""
    try:
        return str(json.loads(own.read(folder_of(paths) / "local.json", _MAX))["pin"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
