"""Folders in which others work while a test looks: what goes between the listing and the look was not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["below", "contents", "states"]


def below(folder: Path) -> list[Path]:
    """Return every path below a folder, sorted; `rglob` fails where a folder goes while it looks."""
    return sorted(Path(root, name) for root, folders, files in os.walk(folder) for name in (*folders, *files))


def states(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """Return what is known of each path, links not followed."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = path.lstat()
    return found


def contents(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Return what is in each of the paths that is a file."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found
