"""The files of a site's replicas: inputs there, reports, outputs and logs here.

Where runners lie on a file system that is shared with us, what they write is read where it lies. Over SSH it is copied,
and what only grows (reports, logs) is copied from where the last copy ended.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nexapod_backends.slurm.files import site_folders
from nexapod_backends.slurm.transport import LocalTransport
from nexapod_batch.files.least_used import Kept, is_digest, over
from nexapod_batch.files.own import base_of, own_folder
from nexapod_batch.spool import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from nexapod_backends.slurm.transport import Transport
    from nexapod_batch.plugins import NodeContext

__all__ = ["absent", "change_token", "clear", "collect", "discard", "fetch", "remove", "stage", "unstage"]

_BLOCK = 1 << 20
#: Segments of which the size is looked at between two passes.
_WATCHED = 32


def stage(
    files: Transport, context: NodeContext, inputs: Mapping[str, Path], python: Callable[[], Sequence[str]]
) -> Mapping[str, str]:
    """Copy inputs beside the work folders, once, unless compute nodes see the coordinator's home anyhow.

    `python` returns the words that start an interpreter there. ConfigError when the folders of the site cannot be used.
    """
    if not inputs or not _copies(context):
        return {digest: str(path) for digest, path in inputs.items()}
    folder = f"{context.remote_spool}/inputs"
    with site_folders.usable(context):
        files.make([folder])
        files.put_by_digest(folder, inputs, python, context.sending)  # the runner checks the digest again
    return {digest: f"{folder}/{digest}" for digest in inputs}


def absent(files: Transport, context: NodeContext, sizes: Mapping[str, int]) -> frozenset[str]:
    """Return which inputs would have to be copied over a connection; nothing is made."""
    if _shared(context):
        return frozenset()
    there = files.sizes(f"{context.remote_spool}/inputs")
    return frozenset(digest for digest, size in sizes.items() if there.get(digest) != size)


def unstage(files: Transport, context: NodeContext, needed: Collection[str]) -> int:
    """Remove copies that no job needs and that are too much; return how many."""
    if not _copies(context):
        return 0
    folder = f"{context.remote_spool}/inputs"
    sizes, limit = files.sizes(folder), context.spare_mib << 20
    if sum(sizes.values()) <= limit and all(map(is_digest, sizes)):
        return 0
    times = files.stamps([f"{folder}/{name}" for name in sizes])
    kept = [Kept(name, size, used) for (name, size), (_, used) in zip(sizes.items(), times, strict=True)]
    gone = over(kept, needed, limit, time.time())
    files.remove_all([f"{folder}/{name}" for name in gone])
    return len(gone)


def collect(files: Transport, context: NodeContext) -> None:
    """Bring what the report segments have more than our copies."""
    if _shared(context):
        return
    reports = context.spool / layout.REPORTS
    own_folder(reports, below=base_of(reports))
    for name, size in files.sizes(f"{context.remote_spool}/{layout.REPORTS}").items():
        if not layout.is_segment(name):
            continue
        if not (reports / name).exists() or (reports / name).stat().st_size < size:
            _bring_rest(files, f"{context.remote_spool}/{layout.segment(name)}", reports / name)


def change_token(files: Transport, context: NodeContext) -> str | None:
    """Look at the inbox, from which launches go when they end, and at the newest segments, in one round trip."""
    if _shared(context):
        return None
    names: list[str] = []
    with suppress(OSError), os.scandir(context.spool / layout.REPORTS) as entries:
        newest = sorted((entry.stat().st_mtime_ns, entry.name) for entry in entries)[-_WATCHED:]
        names = [name for _, name in newest]
    watched = (layout.INBOX, layout.REPORTS, *map(layout.segment, names))
    return json.dumps(files.stamps([f"{context.remote_spool}/{name}" for name in watched]))


def discard(files: Transport, context: NodeContext, segments: Sequence[str]) -> None:
    """Remove segments that were taken in: theirs first, or they would be brought again."""
    for name in segments:
        files.remove(f"{context.remote_spool}/{layout.segment(name)}")
        (context.spool / layout.segment(name)).unlink(missing_ok=True)


def fetch(
    files: Transport, context: NodeContext, replica: str, python: Callable[[], Sequence[str]],
    *, logs: bool, names: Collection[str] | None = None, max_bytes: int | None = None,
) -> None:  # fmt: skip
    """Bring the files of a replica, those of some names or all, or only its logs, into our work folder.

    `python` is as of `stage`. UnsafeOutputError where the files of these names have more than `max_bytes` together; a
    whole folder may have more, of what no node signed.
    """
    if context.remote_work == context.work:
        return
    own_folder(context.work, below=base_of(context.work))
    there, here = f"{context.remote_work}/{replica}", context.work / replica
    if logs:
        for suffix in layout.LOG_SUFFIXES:
            with suppress(FileNotFoundError):
                _bring_rest(files, f"{there}{suffix}", context.work / f"{replica}{suffix}")
        return
    for suffix in layout.BESIDE_WORK:
        with suppress(FileNotFoundError):
            files.get(f"{there}{suffix}", context.work / f"{replica}{suffix}")
    files.get_tree(there, here, python, names=names, max_bytes=None if names is None else max_bytes)


def remove(files: Transport, context: NodeContext, replicas: Sequence[str]) -> None:
    """Remove the work folders of replicas, and the logs beside them, wherever they lie."""
    _remove(files, str(context.remote_work), replicas)
    if context.remote_work != context.work:
        _remove(LocalTransport(), str(context.work), replicas)


def clear(files: Transport, context: NodeContext) -> None:
    """Remove spool and work folders of a node; of a work folder of the site, our whole corner."""
    files.remove_tree(str(context.remote_work))
    files.remove_tree(str(context.remote_spool))
    if context.its_site.filesystem.work_dir:
        files.remove_tree(str(context.remote_spool.parent.parent))


def _remove(files: Transport, work: str, replicas: Sequence[str]) -> None:
    files.remove_trees([f"{work}/{name}" for name in replicas])
    files.remove_all([f"{work}/{name}{suffix}" for name in replicas for suffix in layout.BESIDE_WORK])


def _shared(context: NodeContext) -> bool:
    """Say whether runners write where we read."""
    return context.remote_spool == context.spool


def _copies(context: NodeContext) -> bool:
    """Say whether compute nodes do not see the coordinator's home, so that inputs are copied for them."""
    return not _shared(context) or bool(context.its_site.filesystem.work_dir)


def _bring_rest(files: Transport, path: str, target: Path) -> None:
    """Append to our copy what a file that only grows has more."""
    start = target.stat().st_size if target.exists() else 0
    data = files.read(path, start, _BLOCK)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "ab", buffering=0) as stream:
        while data:
            stream.write(data)
            data = files.read(path, stream.tell(), _BLOCK)
