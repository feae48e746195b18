"""`node leave`: the coordinator is told, the worker is stopped, and what is here goes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from msgspec import json as msgjson

from nexapod_batch.agent import following
from nexapod_batch.agent.client import Client
from nexapod_batch.agent.coordinator_keys import CoordinatorKeys
from nexapod_batch.agent.leader import Leader, Server
from nexapod_batch.agent.outgoing import Outgoing
from nexapod_batch.agent.worker import AgentWorker
from nexapod_batch.errors import NexapodError, TryAgainError
from nexapod_batch.mesh.commitment import commitments_to
from nexapod_batch.mesh.messages import Answer, WorkCall
from nexapod_batch.spool.lock import live_incarnation

if TYPE_CHECKING:
    from nexapod_batch.agent.home import AgentHome

__all__ = ["leave"]


def leave(home: AgentHome, *, force: bool = False) -> bool:
    """Leave the coordinator; say whether it was told. The caller's process must be the only one of the node.

    Raises:
        TryAgainError: The worker runs, or reports have not reached the coordinator; not with `force`.

    """
    home.lock()
    settings, signer = home.settings(), home.signer()
    if live_incarnation(home.spool) is not None and not force:
        raise TryAgainError(
            "the worker of the node runs", hint="wait until it has ended, a minute after its last command; or --force"
        )
    keys = CoordinatorKeys(home.keys_file, bytes.fromhex(settings.coordinator_key))
    others = following.servers_of(home, keys.trusted.ever)
    leader = Leader(home.leader_file, [Server(settings.url, settings.pin), *others])
    client = Client(*leader.current(), signer)
    told = True
    try:
        if home.spool.exists() and not settings.code:
            _say_the_rest(client, Outgoing(AgentWorker(home, settings, signer, None)), leader.epoch)
        if not settings.code:
            folder = str(home.inputs)
            _call(client, WorkCall(poll=os.urandom(16).hex(), epoch=leader.epoch, folder=folder, leaves=True))
    except NexapodError:
        if not force:
            raise
        told = False
    finally:
        client.close()
    shutil.rmtree(home.folder)
    return told


def _say_the_rest(client: Client, outgoing: Outgoing, epoch: int) -> None:
    """Send every report line that the coordinator does not have."""
    complete = False
    while not complete:
        pieces, complete = outgoing.pieces()
        committed = commitments_to(line for piece in pieces for line in piece.text.encode().splitlines())
        call = WorkCall(poll=os.urandom(16).hex(), epoch=epoch, committed=committed, lines=pieces)
        outgoing.confirm(_call(client, call).kept, {})
        complete = complete and not outgoing.unsent()


def _call(client: Client, call: WorkCall) -> Answer:
    return msgjson.decode(client.post("/v1/work", msgjson.encode(call)), type=Answer)
