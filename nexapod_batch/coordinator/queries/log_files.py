"""Where the output of a command can be read: the published copy, else the work folder or the report of a replica.

What lies on a machine that is reached over SSH is brought here first, as far as it goes.
"""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from msgspec.structs import replace

from nexapod_batch.coordinator.queries import views
from nexapod_batch.errors import NexapodError
from nexapod_batch.lifecycle import OUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nexapod_batch.config.settings import Paths
    from nexapod_batch.coordinator import Coordinator
    from nexapod_batch.store import Store

__all__ = ["Log", "live_log", "logs_by_replica", "logs_of"]

#: Bytes that one look at a growing file shows.
CHUNK = 1 << 20
#: How the logs of a replica end beside its work folder.
_SUFFIXES = {"stdout": ".out", "stderr": ".err"}


class Log(NamedTuple):
    """One copy of `stdout` or `stderr`."""

    of: str  # the task, for what was published, or the replica
    path: Path | None  # None: it came with the report and lies in the database
    data: bytes = b""  # of such a one

    @property
    def size(self) -> int:
        """Return its bytes."""
        if self.path is None:
            return len(self.data)
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        """Open it for reading."""
        if self.path is None:
            return io.BytesIO(self.data)
        return self.path.open("rb")


def logs_of(
    store: Store, paths: Paths, job: int, task: int, stream: str, c: Coordinator | None = None
) -> Iterator[Log]:
    """Yield every copy of `stdout` or `stderr` that exists, the accepted one first.

    The error of a machine that cannot be reached is raised only where there is no copy at all.
    """
    published = paths.results / str(job) / str(task) / stream
    if published.is_file():
        yield Log(f"{job}_{task}", published)
    suffix = _SUFFIXES[stream]
    found, trouble = published.is_file(), None
    carried = _carried(store, job, task, stream)
    for replica in views.tasks(store, job, task, task)["tasks"][0]["replicas"]:
        if replica["id"] in carried:
            found = True
            yield Log(replica["id"], None, carried[replica["id"]])
            continue
        folder = paths.work(replica["node"])
        if replica["site"] != "local":
            try:
                if c is None:
                    from nexapod_batch.coordinator import open_coordinator  # noqa: PLC0415 - for sites alone

                    with open_coordinator(paths, write=False) as mine:
                        folder = _folder_at_site(mine, replica)
                else:
                    folder = _folder_at_site(c, replica)
            except (NexapodError, OSError) as error:
                trouble = error
        file = folder / f"{replica['id']}{suffix}"
        if file.is_file():
            found = True
            yield Log(replica["id"], file)
    if trouble is not None and not found:
        raise trouble


def logs_by_replica(
    c: Coordinator, job: int, task: int, streams: Sequence[str], folder: Path
) -> dict[tuple[str, str], Log]:
    """Return the log of each replica of a task that is still there, by replica and stream.

    What was published is the log of the replica from which it was. What lies on another machine is brought into
    `folder`, all of it: a copy that was made before could hide what was changed since. NexapodError or OSError where
    that machine cannot be reached.
    """
    source, nodes = c.store.tasks.get(job, task).published_from, c.nodes_by_id()
    carried = {stream: _carried(c.store, job, task, stream) for stream in streams}
    found: dict[tuple[str, str], Log] = {}
    for row in c.store.replicas.of_task(job, task):
        name, context = f"{job}_{task}.{row.number}", c.context(nodes[row.node_id])
        is_here = row.number == source or name in carried[streams[0]] or row.cleaned
        if context.site is not None and not is_here:
            context = replace(context, work=folder / context.node.name)
            c.backend(context.node).fetch(context, name, logs=True)
        for stream in streams:
            published = c.paths.results / str(job) / str(task) / stream if row.number == source else None
            work = None if row.cleaned else context.work / f"{name}{_SUFFIXES[stream]}"
            log = _log_of(name, published, carried[stream], work)
            if log is not None:
                found[name, stream] = log
    return found


def _log_of(name: str, published: Path | None, carried: Mapping[str, bytes], work: Path | None) -> Log | None:
    """Return the log of a replica from the first place where it is."""
    if published is not None and published.is_file():
        return Log(name, published)
    if name in carried:
        return Log(name, None, carried[name])
    if work is not None and work.is_file():
        return Log(name, work)
    return None


def live_log(c: Coordinator, job: int, task: int, position: int, stream: str = "stdout") -> tuple[bytes, int]:
    """Return what was written to a task's `stdout` or `stderr` after `position`, and the new position.

    Replicas may differ; the position is kept in whichever copy is read first, which is what a person can follow.
    """
    with suppress(NexapodError):  # a machine that cannot be reached now
        for log in logs_of(c.store, c.paths, job, task, stream, c):
            try:
                with log.open() as source:
                    source.seek(position)
                    data = source.read(CHUNK)
            except FileNotFoundError:  # published or cleaned in between
                continue
            return data, position + len(data)
    return b"", position


def _carried(store: Store, job: int, task: int, stream: str) -> dict[str, bytes]:
    """Return the log of each replica whose files came with its report, and are kept still."""
    from orjson import loads  # noqa: PLC0415 - who only looks at published files does without

    carried = store.views.carried(job, task)
    return {
        f"{job}_{task}.{number}": base64.b64decode(loads(files).get(stream, "")) for number, files in carried.items()
    }


def _folder_at_site(c: Coordinator, replica: views.Document) -> Path:
    """Return where a replica's logs lie, which were brought here if they had to be."""
    found = next(node for node in c.nodes() if node.name == replica["node"])
    context, backend = c.context(found), c.backend(found)
    if replica["execution"] in OUT:
        live = backend.live_logs(context, replica["id"])
        if live is not None:
            return live
    backend.fetch(context, replica["id"], logs=True)
    return context.work
