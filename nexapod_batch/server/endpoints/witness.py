"""Nodes as witnesses: each is shown the newest head of the ledger, and that it continues what it and others saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from nexapod_batch.coordinator.verification import witnesses
from nexapod_batch.mesh.mailbox import Cosigned, Mailbox
from nexapod_batch.mesh.witnessing import WitnessAnswer, WitnessCall, cosignature_of
from nexapod_batch.server import node_sign_in, problems
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust import nesting

if TYPE_CHECKING:
    from nexapod_batch.coordinator.context import Coordinator

__all__ = ["ROUTES"]

#: Other nodes whose heads a node is shown at once.
_OTHERS = 4


async def witness(call: Call) -> WitnessAnswer:
    """Return the newest head and the proofs that a node needs; keep its cosignature of the one before; RequestError."""
    node_sign_in.check_body(call.request, call.body)
    asked = _parsed(call.body)
    service, name = call.service, call.caller.name
    if asked.cosigned:
        cosignature_of(asked.cosigned, name, service.channel.key_of(name))
        box = Mailbox(service.paths.spool(name))
        cosigned = Cosigned(note=asked.cosigned, epoch=asked.epoch)
        await asyncio.get_running_loop().run_in_executor(None, box.keep_cosigned, cosigned)
    others = () if asked.cosigned else service.channel.some_others(name, _OTHERS)

    def ask(c: Coordinator) -> WitnessAnswer:
        return witnesses.answer(c, asked, others)

    return await service.read(ask)


def _parsed(data: bytes) -> WitnessCall:
    """Return what a node says.

    Raises:
        RequestError: It is something else.

    """
    if not nesting.depth_within(data):
        raise RequestError(problems.BAD_REQUEST, "the JSON is nested too deeply", wanted=f"{nesting.MAX_DEPTH} levels")
    try:
        return msgspec.json.decode(data, type=WitnessCall)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(problems.BAD_REQUEST, "the body is not as it must be", got=str(error)[:300]) from None


ROUTES = (
    Route(
        method="POST", path="/v1/witness", access=Access.NODE, handler=witness, takes=bytes, answers=WitnessAnswer,
        summary="The newest head of the ledger for a node, and the proof that it continues the one it saw last.",
        may_lack=True,
    ),
)  # fmt: skip
