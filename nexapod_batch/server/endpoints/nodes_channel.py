"""Nodes that join, call for work, and exchange bytes. Work is handed out in the answer; nothing is kept in memory."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nexapod_batch.coordinator.nodes import joining, registry
from nexapod_batch.coordinator.people import tokens
from nexapod_batch.errors import UsageError
from nexapod_batch.mesh import messages, puzzle, signatures, versions
from nexapod_batch.mesh.mailbox import Mailbox
from nexapod_batch.mesh.messages import Answer, Joined, Message, Registration, WorkCall
from nexapod_batch.model.networks import network_of
from nexapod_batch.server import arriving, bodies, node_sign_in, problems
from nexapod_batch.server.calls import Access, Call, Route
from nexapod_batch.server.limits import address_group
from nexapod_batch.server.problems import RequestError
from nexapod_batch.trust.keys import key_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nexapod_batch.coordinator.context import Coordinator
    from nexapod_batch.server.service import Service

__all__ = ["ROUTES"]

T = TypeVar("T")
Spoken = TypeVar("Spoken", Registration, WorkCall)
#: Seconds that a poll waits at most, whatever it asks for.
LONGEST_S = 50.0
#: What a registration costs of what an address may ask.
_REGISTRATION = 20.0
_MAX_REGISTRATION = 512 << 10
#: Bytes of what a node says that cost it as much as a request: reading them takes about 4 ms at most.
_CHARGED = 64 << 10


async def register(call: Call) -> Joined:
    """Take a registration: signed by the key that it names, with a join token or for a person to see; RequestError."""
    service, request = call.service, call.request
    address = address_group(request.client.host if request.client else "")
    service.by_address.fine(address, _REGISTRATION)
    signed = signatures.parse(request.headers)  # it was looked at before the body was read
    node_sign_in.check_body(request, call.body)
    asked = _spoken(call, Registration)
    public = joining.public_key(asked)
    if signed.key_id != key_id(public):
        raise RequestError(problems.SIGN_IN, "the request is signed by another key", got=signed.key_id)
    if not asked.token:
        _check_puzzle(call, address, signed.key_id)
    node_sign_in.verify(request, service, signed, public)
    by = ""
    if asked.token:
        by = await service.read(lambda c: _lets_in(c, asked.token))
        if not by:
            service.by_address.fine(address, _REGISTRATION)
            hint = "leave --token out and let whoever runs the coordinator approve the node"
            raise RequestError(problems.FORBIDDEN, "the join token is unknown, expired or revoked", hint=hint)
    approved = not service.options.approve_owners
    joined = await service.write(
        lambda c: joining.join(c, asked, address, trusted=bool(by), approved=approved, by=by)
    )
    service.channel.forget_keys()
    service.passes.wake()
    return joined


def _check_puzzle(call: Call, address: str, key: str) -> None:
    """Raise RequestError unless a registration without a token is one of few, or did the work that many cost."""
    puzzles, headers = call.service.puzzles, call.request.headers
    bits = puzzles.bits(address)
    challenge, _, number = headers.get(puzzle.ANSWER, "").partition(" ")
    if bits and not puzzles.is_answer(challenge, number, address, key):
        raise RequestError(
            problems.TOO_MANY, "so many nodes ask to join that each has to do some work first",
            wanted=f"a number that solves the challenge of {bits} bits in the header {puzzle.CHALLENGE}",
            hint="nexapod-batch node join does it; with a join token there is none",
            headers={puzzle.CHALLENGE: f"{bits} {puzzles.challenge(address, key)}"},
        )  # fmt: skip
    puzzles.count(address)


def _lets_in(c: Coordinator, token: str) -> str:
    """Return whose token lets a node in at once; "" where it does not."""
    row = tokens.find(c, token) if tokens.is_token(token) else None
    if row is None:
        return ""
    scope = tokens.Scope(row.scope)
    if scope.includes(tokens.Scope.JOIN) or scope.includes(tokens.Scope.OPERATE):
        return f"token {row.id} of {row.person}"
    return ""


async def work(call: Call) -> Answer:
    """Take in what a node says; hand out what waits for it, or wait for that; UsageError for another protocol."""
    answer, seconds, busy = await _taken(call)
    if seconds <= 0:
        return answer
    call.let_go()
    found = await _messages(call, call.caller.name, min(seconds, LONGEST_S), busy)
    return msgspec.structs.replace(answer, messages=found, why="" if found else _why(call))


async def _taken(call: Call) -> tuple[Answer, float, tuple[str, ...]]:
    """Take in what a node says; return an answer without messages, and for how many seconds it waits for which not.

    Nothing more of what it said is kept while it waits: thousands do.
    """
    node_sign_in.check_body(call.request, call.body)
    service, name = call.service, call.caller.name
    _charge(call)
    try:
        said = _spoken(call, WorkCall)
    except UsageError as error:
        note = partial(_note_version, service, name, error)
        await _in_thread(note)
        raise
    messages.check_call(said)
    epoch = service.channel.epoch
    if said.epoch != epoch:
        return _of_another_epoch(said.epoch, epoch, service.channel.since), 0.0, ()
    kept: dict[str, int] = {}
    if not service.channel.is_kept(name, said):
        public, coordinators = service.channel.key_of(name), service.channel.coordinator
        box = Mailbox(service.paths.spool(name))
        kept = await _in_thread(lambda: box.take(said, public, coordinators, time.time()))
        service.channel.kept(name, said)
    if said.arriving is not None or said.acknowledged or said.refused:
        await _in_thread(lambda: _note_arriving(call, said))
    network = network_of(call.request.client.host if call.request.client else "")
    if service.channel.is_from_elsewhere(name, network):
        await _in_thread(lambda: Mailbox(service.paths.spool(name)).note_network(network))
    if said.leaves:
        await service.write(lambda c: registry.drain(c, name))
    if said.lines or said.launches or said.brought or said.holds or said.holds_no_more:
        service.passes.wake()
    return Answer(kept=kept, epoch=epoch, since=service.channel.since), said.wait_s, said.busy


def _charge(call: Call) -> None:
    """Let what a node says count by its size in how often it may call."""
    if len(call.body) > _CHARGED:
        key = signatures.parse(call.request.headers).key_id
        call.service.channel.by_key.fine(key, len(call.body) / _CHARGED)


def _note_arriving(call: Call, said: WorkCall) -> None:
    """Keep how far inputs are that the node brings; what ended is told of no more."""
    service, name = call.service, call.caller.name
    if said.arriving is not None:
        box = Mailbox(service.paths.spool(name))
        arriving.note(box, name, said.arriving, service.channel.coordinator, service.paths.staging)
    elif said.refused or any(one.startswith("launch-") for one in said.acknowledged):
        arriving.forget(name, service.paths.staging)


def _of_another_epoch(theirs: int, ours: int, since: int) -> Answer:
    """Answer a node that follows another epoch: nothing of its call is taken.

    Raises:
        RequestError: A stand-in took over: nobody is to follow this one any more.

    """
    if theirs > ours:
        raise RequestError(
            problems.CONFLICT, "a stand-in has taken over: this coordinator leads no more", got=f"epoch {ours}",
            wanted=f"epoch {theirs}", hint="stop this server; docs/how-to/coordinator-failure.md says how to go on",
        )  # fmt: skip
    return Answer(epoch=ours, since=since)


async def _messages(call: Call, name: str, seconds: float, busy: Sequence[str]) -> tuple[Message, ...]:
    """Return what waits for a node; wait until something does, or it is late, or the node is gone."""
    box = Mailbox(call.service.paths.spool(name))
    version = box.version()
    look = partial(box.look, busy)
    found = await _in_thread(look)
    if found:
        return found
    await call.service.channel.wait(name, box, version, call.request.scope, seconds)
    return await _in_thread(look)


def _why(call: Call) -> str:
    """Return why there is no work."""
    owner = call.service.channel.owner_to_approve(call.caller.name)
    if owner:
        return f"its owner {owner} is not approved; whoever runs the coordinator: nexapod-batch owner approve {owner!r}"
    jobs = call.service.passes.last.open_jobs
    if not jobs:
        return "no job is open"
    return f"{jobs} open, and nothing of that is for this node now"


def _spoken(call: Call, kind: type[Spoken]) -> Spoken:
    """Return what an agent says; RequestError for what none says, UsageError for one of another version."""
    agent = call.request.headers.get("user-agent", "")
    try:
        said: Spoken = bodies.struct_of(bodies.json_value(call.body), kind)
    except RequestError:
        versions.check_body(call.body, agent)
        raise
    versions.check(said.protocol, agent)
    return said


def _note_version(service: Service, name: str, error: UsageError) -> None:
    """Let those who look at a node hear that its agent is of another version, until it calls with the right one."""
    box = Mailbox(service.paths.spool(name))
    box.keep_note(msgspec.structs.replace(box.note(), paused=versions.paused(error)))
    service.channel.forget_call(name)


async def _in_thread(act: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, act)


ROUTES = (
    Route(
        method="POST", path="/v1/nodes", access=Access.KEY, handler=register, takes=bytes, answers=Joined,
        max_body=_MAX_REGISTRATION, summary="A machine wants to become a node; signed by its own key (RFC 9421).",
    ),
    Route(
        method="POST", path="/register", access=Access.KEY, handler=register, takes=bytes, answers=Joined,
        max_body=_MAX_REGISTRATION, summary="As POST /v1/nodes; the path of the NexaPod documents.",
    ),
    Route(
        method="POST", path="/v1/work", access=Access.NODE, handler=work, takes=bytes, answers=Answer,
        max_body=messages.MAX_POLL, summary="A node's one channel: its state in, messages out (long poll).",
    ),
)  # fmt: skip
