"""What people and nodes began to send and never went on with, and what a server that was killed left of its answers.

A server removes it when the next part of anything comes to the same folder. Whoever never comes back sends none.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_batch.mesh.blobs import KEPT_S, left_behind
from nexapod_batch.mesh.mailbox import BLOBS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["left_uploads", "remove_uploads"]

#: Below the folder of a server: what each person sent before a job, and folders of requests that are under way.
_INPUTS, _REQUESTS = "inputs", ("incoming", "outgoing")


def left_uploads(c: Coordinator) -> list[str]:
    """Return the paths of files and folders of which nothing was heard for a day."""
    server = c.paths.home / "server"
    found = [path for person in _folders(server / _INPUTS) for path in left_behind(person, whole=True)]
    for node in c.nodes():
        if node.joined:
            found += left_behind(c.paths.spool(node.name) / BLOBS, whole=False)
    before = time.time() - KEPT_S
    found += [entry.path for name in _REQUESTS for entry in _folders(server / name) if _changed(entry) < before]
    return found


def remove_uploads(c: Coordinator) -> int:
    """Remove them; return how many there were."""
    found = left_uploads(c)
    for path in found:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)
    return len(found)


def _folders(place: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the folders in a place, which may not be there."""
    with suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry


def _changed(entry: os.DirEntry[str]) -> float:
    """Return when a folder changed, in seconds since 1970; now where it is gone."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return time.time()
