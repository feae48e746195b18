"""Which plug-ins are installed, remembered between commands.

Looking through everything that is installed costs 30 ms, as much as the start of the interpreter and click together. It
is done again when anything was installed or removed: then the time of a folder in which Python looks has changed.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful
from nexapod_batch.plugins import targets

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["installed"]


def installed(kind: str, home: Path) -> dict[str, str]:
    """Return name -> `module:attribute` of the plug-ins of a kind; a home that cannot be written costs only time."""
    file, stamp = home / f"{kind}s.json", _stamp()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = careful.load(file)
        if known["stamp"] == stamp:
            return dict(known["targets"])
    found = targets(kind)
    if not (home / "keys").is_dir():  # nothing was submitted yet: a dry run leaves no trace
        return found
    with suppress(OSError):
        body = json.dumps({"stamp": stamp, "targets": found}).encode()
        atomic.write(file, body, mode=0o600, durable=False)
    return found


def _stamp() -> list[list[str | int]]:
    stamp: list[list[str | int]] = []
    for folder in sys.path:
        with suppress(OSError):
            stamp.append([folder, os.stat(folder or ".").st_mtime_ns])
    return stamp
