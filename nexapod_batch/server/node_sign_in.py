"""How nodes sign in: RFC 9421 signatures, looked at in the order of what they cost.

1. the form of the headers
2. how often this key asks
3. the time of the signature, and whether its nonce is new
4. the key: is it a node's?
5. the signature; and when the body was read, that it is the one that was signed
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nexapod_batch.coordinator.nodes.keys import REVOKED_HINT
from nexapod_batch.errors import VerificationError
from nexapod_batch.mesh import signatures
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Caller
from nexapod_batch.server.node_channel import CLOCK_S
from nexapod_batch.server.problems import RequestError

if TYPE_CHECKING:
    from starlette.requests import Request

    from nexapod_batch.mesh.signatures import Signed
    from nexapod_batch.server.calls import Route
    from nexapod_batch.server.service import Service

__all__ = ["another_body", "check_body", "claims", "key_caller", "node_caller", "verify"]

_PENDING_S = 5


async def node_caller(request: Request, route: Route, service: Service, address: str) -> Caller:  # noqa: ARG001
    """Return the node that signed a request; RequestError where none did."""
    signed = claims(request, service)
    node = await service.channel.node(signed.key_id)
    if signed.key_id in service.channel.revoked:
        what = "the key of this node was revoked: nothing counts that it signs"
        raise RequestError(problems.SIGN_IN, what, got=signed.key_id, hint=REVOKED_HINT)
    if node is None:
        code = await service.channel.code_of(signed.key_id)
        if code:
            raise RequestError(
                problems.FORBIDDEN, "the node waits to be approved", got=f"code {code}",
                hint=f"whoever runs the coordinator: nexapod-batch node approve {code}",
                headers={"retry-after": str(_PENDING_S)},
            )  # fmt: skip
        raise RequestError(
            problems.SIGN_IN, "this key is no node's here", got=signed.key_id, hint="nexapod-batch node join"
        )
    verify(request, service, signed, node.public_key)
    return Caller(kind="node", name=node.name)


async def key_caller(request: Request, route: Route, service: Service, address: str) -> Caller:  # noqa: ARG001
    """Return nobody, for a request that claims to be signed: with which key its body says; RequestError without."""
    claims(request, service)
    return Caller(kind="nobody")


def claims(request: Request, service: Service) -> Signed:
    """Return what a request claims to be signed by, where that is worth a look; RequestError where it is not."""
    try:
        signed = signatures.parse(request.headers)
    except VerificationError as error:
        raise RequestError(problems.SIGN_IN, error.what, got=error.got, wanted=error.wanted) from error
    seconds = service.channel.by_key.wait_s(signed.key_id)
    if seconds > 0:
        headers = {"retry-after": str(max(1, round(seconds + 0.5)))}
        raise RequestError(problems.TOO_MANY, "too many requests with this key", headers=headers)
    now = time.time()
    if abs(signed.created - now) > CLOCK_S:
        raise RequestError(
            problems.SIGN_IN, "the signature is not of now", got=f"{signed.created - now:+.0f} s",
            wanted=f"at most {CLOCK_S} s off", hint="the Date of this answer tells what time it is here",
        )  # fmt: skip
    if signed.created < int(service.started_at):
        raise RequestError(problems.SIGN_IN, "the signature is older than this server", hint="sign the request anew")
    return signed


def verify(request: Request, service: Service, signed: Signed, public: bytes) -> None:
    """Raise RequestError unless a key signed this request, and it comes for the first time."""
    service.channel.verified += 1
    digest = request.headers.get("content-digest", "")
    target = request.scope["raw_path"].decode("latin-1")
    query = request.scope["query_string"].decode("latin-1")
    if query:
        target = f"{target.partition('?')[0]}?{query}"
    try:
        signatures.check(signed, public, request.method, request.headers.get("host", ""), target, digest=digest)
    except VerificationError as error:
        raise RequestError(problems.SIGN_IN, error.what, got=error.got, wanted=error.wanted) from error

    if not service.channel.is_new(signed.key_id, signed.nonce):
        raise RequestError(problems.SIGN_IN, "this very request came before", hint="sign each request with a new nonce")


def check_body(request: Request, body: bytes | memoryview) -> None:
    """Raise RequestError unless a body is the one whose digest was signed."""
    if request.headers.get("content-digest", "") != signatures.content_digest(body):
        raise another_body()


def another_body() -> RequestError:
    """Return how a body is refused that is not the one whose digest was signed."""
    return RequestError(problems.SIGN_IN, "the body is not the one that was signed")
