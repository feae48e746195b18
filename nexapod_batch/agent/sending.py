"""Files that the coordinator asks a node for: sent one replica after the other, beside everything else."""

from __future__ import annotations

import os
import queue
from typing import TYPE_CHECKING

from nexapod_batch.agent import transfer
from nexapod_batch.agent.link import LEAST_S, text_of
from nexapod_batch.errors import NexapodError, UnsafeOutputError
from nexapod_batch.mesh.messages import WorkCall

if TYPE_CHECKING:
    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.link import Link
    from nexapod_batch.mesh.messages import Wanted

__all__ = ["Sending"]

#: How often files are sent that were asked for; then they wait to be asked for again.
_TRIES = 10
_WAITING = 1000


class Sending:
    """Sends what was asked for, for one thread with a client of its own."""

    def __init__(self, link: Link) -> None:
        """Know of nothing that was asked for."""
        self._link = link
        self._wanted: queue.Queue[tuple[str, Wanted]] = queue.Queue(_WAITING)
        self._names: set[str] = set()  # messages whose files are on their way, or wait for that

    def put(self, name: str, wanted: Wanted) -> None:
        """Have files sent for a message, once; OSError where too many wait for that.

        Raises:
            OSError: It is to be asked for again.

        """
        if name in self._names:
            return
        try:
            self._wanted.put_nowait((name, wanted))
        except queue.Full as error:
            raise OSError("too many files wait to be sent") from error
        self._names.add(name)

    def run(self) -> None:
        """Send until the node is to stop."""
        client, stop = self._link.client(), self._link.stop
        while not stop.is_set():
            try:
                name, wanted = self._wanted.get(timeout=0.5)
            except queue.Empty:
                continue
            for tries in range(1, _TRIES + 1):
                try:
                    self._bring(client, wanted)
                    break
                except (NexapodError, OSError) as error:  # what arrived is not sent again
                    self._link.state.trouble = text_of(error)
                    if isinstance(error, UnsafeOutputError) or stop.wait(LEAST_S * tries):
                        break
            self._names.discard(name)
        client.close()

    def _bring(self, client: Client, wanted: Wanted) -> None:
        """Send the files of a replica, and say so when they are all there."""
        self._link.aim(client)
        files = transfer.bring(client, self._link.home.work, wanted)
        name = f"{wanted.replica}.logs" if wanted.logs else wanted.replica
        call = WorkCall(poll=os.urandom(16).hex(), epoch=self._link.leader.epoch, brought={name: files})
        self._link.call(client, call)
