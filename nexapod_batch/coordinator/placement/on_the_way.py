"""How far inputs are that are on their way to a node: for whoever waits here, and for `show` in another process.

While something of some size is sent there is a file in the home that says so, written anew every second; it goes when
that ends. One that a killed process left is taken for what it is after a while. Of little, nothing is said.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nexapod_batch.files import atomic, careful

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.images.cache import Progress
    from nexapod_batch.model.node import Node

__all__ = ["BYTES", "FILES", "OnTheWay", "sending", "staging_of", "write_notice"]

#: Less than this is there in a moment.
FILES, BYTES = 100, 16 << 20
#: Seconds between two looks that are told of; seconds after which nothing moves any more.
_EVERY_S, _OVER_S = 1.0, 900
_NOTICE = 4_096
_KEYS = ("node", "files", "size", "sent", "since")


class OnTheWay:
    """What hears of one sending (see `plugins.backend_nouns.Sending`), and tells of it."""

    def __init__(self, notice: Path, node: str, job: int, progress: Progress | None) -> None:
        """Tell of nothing yet."""
        self._notice, self._progress = notice, progress
        self._about: dict[str, Any] = {"job": job, "node": node}
        self._told = 0.0
        self._is_told = False

    def begin(self, files: int, size: int) -> None:
        """Hear what is to be sent, and tell of it unless it is little."""
        self._is_told = files >= FILES or size >= BYTES
        if not self._is_told:
            return
        self._about |= {"files": files, "size": size, "sent": 0, "since": int(time.time())}
        self._write()
        if self._progress is not None:
            self._progress.start(f"{files:,} inputs to {self._about['node']}", size)

    def sent(self, size: int) -> None:
        """Hear that so many bytes more were sent."""
        if not self._is_told:
            return
        self._about["sent"] += size
        if self._progress is not None:
            self._progress.advance(size)
        if time.monotonic() - self._told >= _EVERY_S:
            self._write()

    def end(self) -> None:
        """Tell of nothing any more."""
        if self._is_told:
            with suppress(OSError):
                self._notice.unlink()

    def _write(self) -> None:
        self._told = time.monotonic()
        write_notice(self._notice, self._about)


def write_notice(notice: Path, about: Mapping[str, Any]) -> None:
    """Write a notice; `about` has job, node, files, size and sent in bytes, since."""
    with suppress(OSError):  # a full disk stops the inputs themselves, and that is told of
        notice.parent.mkdir(mode=0o700, exist_ok=True)
        atomic.write(notice, json.dumps({**about, "at": int(time.time())}).encode(), durable=False)


@contextmanager
def sending(c: Coordinator, node: Node, job_id: int) -> Iterator[OnTheWay]:
    """Yield what hears how far the inputs of a job for a node are."""
    way = OnTheWay(c.paths.staging / f"{node.id}.json", node.name, job_id, c.hears)
    try:
        yield way
    finally:
        way.end()


def staging_of(folder: Path, job_id: int) -> list[dict[str, Any]]:
    """Return, for programs, what of a job's inputs is being sent now, node by node; `folder` is that of the notices."""
    found = []
    try:
        notices = sorted(folder.glob("*.json"))
    except OSError:
        return []
    for notice in notices:
        with suppress(OSError, ValueError, KeyError, TypeError):  # it has gone meanwhile, or is none of ours
            about = careful.load(notice, _NOTICE)
            if about["job"] == job_id and time.time() - about["at"] < _OVER_S:
                found.append({key: about[key] for key in _KEYS})
    return found
