"""Where rosters lie in a home: the trusted one, and each version by its number for those who follow from an older."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.files import atomic, careful
from nexapod_batch.files.own import own_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["after", "keep", "trusted"]

_FOLDER, _TRUSTED, _MAX = "rosters", "roster.json", 1 << 20
_NAME = re.compile(r"([1-9][0-9]{0,8})\.json")


def trusted(home: Path) -> Path:
    """Return where the trusted roster lies."""
    return home / _TRUSTED


def keep(home: Path, version: int, data: bytes) -> None:
    """Keep one version beside the others."""
    own_folder(home, _FOLDER)
    atomic.write(home / _FOLDER / f"{version}.json", data)


def after(home: Path, version: int) -> bytes | None:
    """Return the oldest kept roster that is newer than a version; None where there is none."""
    try:
        names = [found for path in (home / _FOLDER).iterdir() if (found := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return None
    newer = sorted(int(name[1]) for name in names if int(name[1]) > version)
    if not newer:
        return None
    return careful.read(home / _FOLDER / f"{newer[0]}.json", _MAX)
