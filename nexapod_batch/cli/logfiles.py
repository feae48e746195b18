"""Where the output of a command can be read: the published copy, else the work folder of a replica on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator import views

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.store import Store

__all__ = ["live_log", "log_files"]

#: Bytes that one look at a growing file shows.
CHUNK = 1 << 20


def log_files(store: Store, paths: Paths, job: int, task: int, stream: str) -> Iterator[tuple[str, Path]]:
    """Yield (who, file) of every copy of `stdout` or `stderr` that exists, the accepted one first."""
    published = paths.results / str(job) / str(task) / stream
    if published.is_file():
        yield f"{job}_{task}", published
    suffix = {"stdout": ".out", "stderr": ".err"}[stream]
    for replica in views.tasks(store, job, task, task)["tasks"][0]["replicas"]:
        file = paths.work(replica["node"]) / f"{replica['id']}{suffix}"
        if file.is_file():
            yield replica["id"], file


def live_log(
    store: Store, paths: Paths, job: int, task: int, position: int, stream: str = "stdout"
) -> tuple[bytes, int]:
    """Return what was written to a task's `stdout` or `stderr` after `position`, and the new position.

    Replicas may differ; the position is kept in whichever copy is read first, which is what a person can follow.
    """
    for _, file in log_files(store, paths, job, task, stream):
        try:
            with file.open("rb") as source:
                source.seek(position)
                data = source.read(CHUNK)
        except FileNotFoundError:  # published or cleaned in between
            continue
        return data, position + len(data)
    return b"", position
