"""The ledger: its signed head, the key that signs it, and its tiles (C2SP tlog-tiles).

Heads and hashes say nothing of anybody. Entries name jobs, people's machines and their owners: they are for whoever
operates the coordinator. What an entry says of one's own job is proved at `/v1/jobs/{job}/proof`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import Response

from nexapod_batch.coordinator import own_key
from nexapod_batch.coordinator.steps.heads import ledger_key
from nexapod_batch.coordinator.verification import ledger
from nexapod_batch.ledger import tiles
from nexapod_batch.mesh.key_chain import KeyChain
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.endpoints.jobs import sees_all
from nexapod_batch.server.etags import IMMUTABLE, has_it, unchanged
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.nesting import quoted

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

_TEXT, _BINARY = "text/plain", "application/octet-stream"


async def checkpoint(call: Call) -> Response:
    """Return the signed head of the ledger as it is."""
    text = await call.service.make(lambda c: str(ledger.newest_head(c)))
    return Response(text, headers={"cache-control": "no-store"}, media_type=_TEXT)


async def key(call: Call) -> Response:
    """Return the key that signs heads, as NAME+ID+KEY."""
    text = await call.service.read(lambda c: f"{ledger_key(c)}\n")
    return Response(text, headers={"cache-control": "no-store"}, media_type=_TEXT)


async def keys(call: Call) -> KeyChain:
    """Return the keys that signed, one after the other, by their rotations."""
    return await call.service.read(_key_chain)


def _key_chain(c: Coordinator) -> KeyChain:
    earlier = [row for row in own_key.holders(c.store, c.signer) if row.key_id != c.signer.key_id]
    rotations = [row.rotation for row in own_key.holders(c.store, c.signer) if row.rotation is not None]
    trusted = own_key.trusted(c.store, c.signer)
    return KeyChain(
        key=c.signer.public.hex(), rotations=tuple([one.decode() for one in rotations]),
        under_way=tuple([row.key_id for row in earlier if row.key_id in trusted]),
    )  # fmt: skip


async def tile(call: Call) -> Response:
    """Return a tile of hashes, or a bundle of entries; a whole one never changes; RequestError for what is none."""
    path = tiles.parse_path(call.path["tile"])
    if path is None:
        wanted = "LEVEL/N or entries/N, with .p/WIDTH at the right edge"
        raise RequestError(problems.NOT_FOUND, "there is no such tile", got=quoted(call.path["tile"]), wanted=wanted)
    if path.level < 0 and not sees_all(call):
        hint = "GET /v1/jobs/{job}/proof shows what the ledger has of a job of yours"
        raise RequestError(problems.FORBIDDEN, "entries name the jobs of all", wanted="scope operate", hint=hint)

    def ask(c: Coordinator) -> bytes | None:
        entries = c.store.ledger
        with c.store.view():
            return tiles.content(path, entries.size(), entries.node, entries.entries)

    data = await call.service.make(ask)
    if data is None:
        raise RequestError(problems.NOT_FOUND, "the ledger has not come so far", got=quoted(call.path["tile"]))
    digest = hashlib.sha256(data).hexdigest()
    cache = IMMUTABLE if path.whole else "private, no-cache"
    if has_it(call, digest):
        return unchanged(digest, cache)
    return Response(data, headers={"etag": f'"{digest}"', "cache-control": cache}, media_type=_BINARY)


ROUTES = (
    Route(
        method="GET", path="/v1/ledger/checkpoint", access=Access.PUBLIC, handler=checkpoint, answers=_TEXT,
        summary="The signed head of the ledger, as C2SP tlog-checkpoint has it.",
    ),
    Route(
        method="GET", path="/v1/ledger/key", access=Access.PUBLIC, handler=key, answers=_TEXT,
        summary="The key that signs heads of the ledger.",
    ),
    Route(
        method="GET", path="/v1/ledger/keys", access=Access.ANYBODY, handler=keys, answers=KeyChain,
        summary="The key in force, and the rotations that lead to it: each signed by the key before and by the next.",
    ),
    Route(
        method="GET", path="/v1/ledger/tile/{tile:path}", access=Access.PUBLIC, handler=tile, answers=_BINARY,
        summary="A tile of the ledger, as C2SP tlog-tiles has it; entries are for who operates the coordinator.",
    ),
)  # fmt: skip
