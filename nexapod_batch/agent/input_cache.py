"""The inputs that a node which joined was brought: as many as its owner lets it keep, and all that it needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nexapod_batch.agent import transfer
from nexapod_batch.agent.room import NoRoomError
from nexapod_batch.errors import VerificationError
from nexapod_batch.files.least_used import drop, listed, over

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.worker import AgentWorker

__all__ = ["bring"]


def bring(client: Client, worker: AgentWorker, digests: Sequence[str], look: Callable[[], None]) -> None:
    """Bring what a launch needs and is not there; what was used longest ago and no launch needs goes in exchange.

    `look` is called before each part, and ends it by an error of its own.

    Raises:
        NoRoomError: There is no room for it, also without all that is not needed.

    """
    folder = worker.home.inputs
    absent = [digest for digest in digests if not (folder / digest).exists()]
    try:
        _download(client, worker, digests, look)
    except NoRoomError:
        if not _make_room(worker, digests, 0):
            raise
        _download(client, worker, digests, look)
    if absent:
        _make_room(worker, digests, worker.settings.fetch_cache_mib << 20)


def _download(client: Client, worker: AgentWorker, digests: Sequence[str], look: Callable[[], None]) -> None:
    for digest in digests:
        transfer.download(client, worker.home.inputs, digest, look)


def _make_room(worker: AgentWorker, more: Collection[str], limit: int) -> int:
    """Remove what is too much and neither of some digests nor of a launch that the node has; return how many files."""
    folder = str(worker.home.inputs)
    files = listed(folder)
    if not over(files, (), limit, time.time()):
        return 0
    try:
        needed = {*more, *worker.needed()}
    except VerificationError:  # it is not known what a launch needs: nothing goes
        return 0
    return drop(folder, over(files, needed, limit, time.time()))
