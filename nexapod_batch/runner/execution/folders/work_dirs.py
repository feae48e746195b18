"""Work folders: one for each replica, `<work>/<replica>`, its own and empty when it starts.

Making and removing a folder costs 190 us on ext4 with two executors, renaming it 12 us, and most small commands leave
nothing in it. So an executor hands one empty folder on from replica to replica: it has the name of the last one until
the next begins, or that one's report is to be committed. A folder in which anything was left, or whose mode was
changed, is removed with all that is in it.
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
        self._empty = ""  # the folder for the next replica, while there is one: by its last one's name, or the spare

    def take(self, root: str) -> None:
        """Make the folder of a replica; FileExistsError when there is one, which means that it ran before."""
        if os.path.lexists(root):
            raise FileExistsError(root)
        empty_folder, self._empty = self._empty, ""
        if empty_folder:
            try:
                os.rename(empty_folder, root)
            except FileNotFoundError:  # somebody cleared it away
                pass
            else:
                return
        os.mkdir(root, _MODE)
        os.chmod(root, _MODE)

    def discard(self, root: str, *, known_empty: bool = False) -> None:
        """Give up the folder of a replica with everything in it; an empty one may keep its name until `settle`."""
        if not self._empty and (known_empty or is_empty(root)) and S_IMODE(os.lstat(root).st_mode) == _MODE:
            self._empty = root
        else:
            remove_tree(root)

    def settle(self) -> None:
        """Leave no folder under the name of a replica that was given up."""
        if self._empty not in {"", self._spare}:
            root, self._empty = self._empty, ""
            with suppress(FileNotFoundError):  # somebody cleared it away
                os.rename(root, self._spare)
                self._empty = self._spare

    def remove(self) -> None:
        """Remove the folder that is kept."""
        if self._empty:
            remove_tree(self._empty)
            self._empty = ""


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
