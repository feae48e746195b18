"""Putting other files in the place of several at once: whoever is killed leaves the old ones or the new ones.

The new files are complete in a folder of their own before anything is touched. One of the old ones, the main one, is
what everything else depends on: it moves away first, which is the moment from which the new ones count, and its
successor comes last. In between it is missing; whoever misses it calls `finish`, which goes on where the other was
killed. What was replaced is kept in a folder beside.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["begin", "commit", "finish"]

_READY, _PLAN, _NEW = "replacement", "plan.json", "new"


def begin(folder: Path) -> Path:
    """Return an empty folder for new files, whose paths below it are those that they get below `folder`.

    What an earlier attempt left goes. OSError when it cannot be made.
    """
    staging = folder / f".{_READY}"
    for stale in (staging, folder / _READY):
        if stale.exists():
            shutil.rmtree(stale)
    (staging / _NEW).mkdir(parents=True, mode=0o700)
    return staging / _NEW


def commit(folder: Path, main: str, gone: Sequence[str], kept_in: str) -> Path:
    """Put what lies in the staged folder in place, `main` last; return where the replaced files are kept.

    Files named in `gone` go with the old ones. OSError leaves everything as it was, or is finished by `finish`.
    """
    staging = folder / f".{_READY}"
    names = sorted(str(path.relative_to(staging / _NEW)) for path in (staging / _NEW).rglob("*") if path.is_file())
    plan = {"main": main, "gone": list(gone), "files": [name for name in names if name != main], "kept_in": kept_in}
    (staging / _PLAN).write_text(json.dumps(plan))
    _sync_tree(staging)
    kept = folder / kept_in
    kept.mkdir(mode=0o700, exist_ok=True)
    staging.rename(folder / _READY)
    _sync(folder)
    if (folder / main).exists():
        (folder / main).rename(kept / main)  # from here on the new files count
        _sync(folder)
    finish(folder)
    return kept


def finish(folder: Path) -> bool:
    """Finish what another process began and did not end; False where there is nothing to finish.

    To be called where the main file is missing. OSError when it cannot be finished now.
    """
    ready = folder / _READY
    if not (ready / _PLAN).exists():
        return False
    with _locked(ready):
        if not (ready / _PLAN).exists():  # somebody else was faster
            return True
        plan = json.loads((ready / _PLAN).read_text())
        main, kept = plan["main"], folder / plan["kept_in"]
        if (folder / main).exists():
            return False
        for name in plan["gone"]:
            _keep(folder / name, kept / name)
        for name in (*plan["files"], main):
            new = ready / _NEW / name
            if new.exists():
                _keep(folder / name, kept / name)
                (folder / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                new.rename(folder / name)
        _sync(folder)
        shutil.rmtree(ready)
        if not any(kept.iterdir()):
            kept.rmdir()
    return True


def _keep(path: Path, kept: Path) -> None:
    """Move an old file to where it is kept; one that is kept already, of an attempt that was killed, stays."""
    if os.path.lexists(path):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.rename(kept)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
