"""The roster that a node follows: which servers may be its coordinator, as the owner's people signed it.

The first one comes from the coordinator that was joined, over the connection whose key was pinned; each later one must
follow the one before by the rules of rosters, whoever hands it out.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nexapod_batch.agent.client import RefusedError
from nexapod_batch.agent.leader import Server
from nexapod_batch.errors import VerificationError
from nexapod_batch.files import atomic, careful
from nexapod_batch.requirements import absent

if TYPE_CHECKING:
    from collections.abc import Collection

    from nexapod_batch.agent.client import Client
    from nexapod_batch.agent.home import AgentHome
    from nexapod_batch.ledger.roster import Roster

__all__ = ["follow", "servers_of"]

_MAX = 1 << 20
_LONG_AGO = datetime.fromtimestamp(0, UTC)


def servers_of(home: AgentHome, known: Collection[bytes]) -> list[Server]:
    """Return the servers that the kept roster names; none where there is none, or the package `tuf` is missing.

    `known` are the keys that the coordinator has and had.
    """
    file = home.roster_file
    if not file.exists() or absent(["tuf"]):
        return []
    from nexapod_batch.ledger import roster as rosters  # noqa: PLC0415 - it needs the package `tuf`

    found = rosters.opened(careful.read(file, _MAX))
    _check_named(found, known)
    return [Server(*text.split("#", 1)) for text in found.anchors.servers]


def follow(home: AgentHome, known: Collection[bytes], client: Client) -> bool:
    """Ask a coordinator for newer rosters, check them, and keep the newest; say whether there was one.

    Raises:
        VerificationError: One does not follow the one before, or does not name the coordinator that was joined.
        RefusedError: The coordinator refused.

    """
    if absent(["tuf"]):
        return False
    from nexapod_batch.ledger import roster as rosters  # noqa: PLC0415 - it needs the package `tuf`

    file = home.roster_file
    previous = careful.read(file, _MAX) if file.exists() else None
    newer: list[bytes] = []
    version = 0 if previous is None else rosters.opened(previous).version
    while data := _asked(client, version):
        newer.append(data)
        version = rosters.opened(data).version
    for number, data in enumerate(newer, 1):
        now = datetime.fromtimestamp(time.time(), UTC) if number == len(newer) else _LONG_AGO
        _check_named(rosters.checked(data, previous, now), known)
        previous = data
    if newer:
        atomic.write(file, newer[-1], mode=0o600)
    return bool(newer)


def _asked(client: Client, after: int) -> bytes:
    """Return the roster that follows a version; nothing where there is none."""
    reply = client.ask("GET", f"/v1/roster?after={after}")
    if reply.status == 404:
        return b""
    if reply.status != 200:
        raise RefusedError(reply)
    return reply.body[: _MAX + 1]


def _check_named(found: Roster, known: Collection[bytes]) -> None:
    """Raise VerificationError unless a roster names the coordinator that was joined, by a key that it has or had."""
    from nexapod_batch.ledger.note import parse_key  # noqa: PLC0415

    if all(parse_key(text).public not in known for text in found.anchors.coordinators):
        raise VerificationError("the roster does not name the coordinator that this node joined")
