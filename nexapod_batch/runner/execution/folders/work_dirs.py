"""Work folders: one for each replica, `<work>/<replica>`, its own and empty when it starts.

Making and removing a folder costs 190 us on ext4 with two executors, renaming it twice 25 us, and most small commands
leave nothing in it. So an executor keeps one empty folder and renames it to the replica's name and back. A folder in
which anything was left, or whose mode was changed, is removed with all that is in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_IMODE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nexapod_batch.spool.runner_spool import Spool

__all__ = ["Folders", "empty", "is_empty", "remove_strays", "remove_tree"]

_MODE = 0o700


class Folders:
    """The work folders of one executor."""

    def __init__(self, spare: str) -> None:
        """Remember the name of the spare folder, which no other executor uses."""
        self._spare = spare
        self._have = False

    def take(self, root: str) -> None:
        """Make the folder of a replica; FileExistsError when there is one, which means that it ran before."""
        if not self._have:
            os.mkdir(root, _MODE)
            os.chmod(root, _MODE)
            return
        if os.path.lexists(root):
            raise FileExistsError(root)
        os.rename(self._spare, root)
        self._have = False

    def discard(self, root: str, *, known_empty: bool = False) -> None:
        """Remove the folder of a replica with everything in it."""
        if not self._have and (known_empty or is_empty(root)) and S_IMODE(os.lstat(root).st_mode) == _MODE:
            os.rename(root, self._spare)
            self._have = True
        else:
            remove_tree(root)

    def remove(self) -> None:
        """Remove the spare folder."""
        if self._have:
            os.rmdir(self._spare)
            self._have = False


def is_empty(root: str) -> bool:
    """Say whether nothing is in a folder."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except OSError:  # the command took away our right to look, or the folder itself
        return False


def remove_strays(work: Path, spool: Spool) -> None:
    """Remove what executors of dead incarnations kept for reuse; the caller holds the worker's lock."""
    for name in os.listdir(work):
        if name.startswith(".") and not name.startswith(f".{spool.incarnation}-"):
            path = work / name
            if path.is_dir() and not path.is_symlink():
                remove_tree(str(path))
            else:
                path.unlink(missing_ok=True)


def empty(root: str) -> bool:
    """Remove what lies in a folder; False when something could not be removed."""
    with os.scandir(root) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)
    return is_empty(root)


def remove_tree(root: str) -> None:
    """Remove a folder with all that is in it, also what its owner may not enter; what cannot be removed is left."""
    with suppress(OSError):  # as most are when they go
        os.rmdir(root)
        return
    import shutil  # noqa: PLC0415 - brings compressors along, and most commands leave nothing to remove

    def open_up(_function: object, path: str, _error: object) -> None:
        """Take back the right to remove what the command closed, once."""
        try:
            if path != root:
                os.chmod(os.path.dirname(path), _MODE)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, _MODE)
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        except OSError:
            return  # left for the coordinator's gc

    shutil.rmtree(root, onerror=open_up)
