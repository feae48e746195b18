"""`node witness`: the head that a node signs for, and whether the ledger that it is shown continues another's head.

Two people who carry heads from one node to the other need to trust nothing between them: a coordinator that shows two
ledgers has signed two heads, and cannot prove that one continues the other.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from nexapod_batch.agent import following, witness
from nexapod_batch.agent.client import Client
from nexapod_batch.agent.coordinator_keys import CoordinatorKeys
from nexapod_batch.agent.leader import Leader, Server
from nexapod_batch.errors import NotFoundError
from nexapod_batch.ledger import note as notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexapod_batch.agent.home import AgentHome
    from nexapod_batch.ledger.checkpoint import Head
    from nexapod_batch.ledger.note import Note, NoteKey

__all__ = ["compare", "head_of_node", "key_of_node"]


def key_of_node(home: AgentHome) -> NoteKey:
    """Return the key by which a node signs as a witness."""
    return notes.NoteKey(home.folder.name, home.signer().public, notes.Kind.WITNESS)


def head_of_node(home: AgentHome) -> Note:
    """Return the newest head that a node believes, with its signature; NotFoundError where it saw none."""
    seen = witness.read(home.witness_file)
    if not seen.note:
        hint = "nexapod-batch node run looks at it when it starts"
        raise NotFoundError("this node has seen no head of its coordinator's ledger yet", hint=hint)
    return notes.cosigned(notes.parse(seen.note), home.folder.name, home.signer(), int(seen.at))


def compare(home: AgentHome, texts: Sequence[str]) -> list[Head]:
    """Return for each head that others have the newest head of the ledger, which continues it and what the node saw.

    Raises:
        ForkError: The ledger does not continue a head that its coordinator signed.
        VerificationError: It does not continue what this node saw, or one of these is no head of this ledger.
        NexapodError: The coordinator cannot be asked.

    """
    settings, seen = home.settings(), witness.read(home.witness_file)
    keys = CoordinatorKeys(home.keys_file, bytes.fromhex(settings.coordinator_key))
    others = following.servers_of(home, keys.trusted.ever)
    leader = Leader(home.leader_file, [Server(settings.url, settings.pin), *others])
    with closing(Client(*leader.current(), home.signer())) as client:
        return [witness.compared(client.post, seen, text, keys.trusted.current) for text in texts]
