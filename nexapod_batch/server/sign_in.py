"""Who asks: people by a bearer token. What a token may do is its scope; a wider one includes the narrower ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexapod_batch.coordinator.people import tokens
from nexapod_batch.server import problems
from nexapod_batch.server.calls import Access, Caller
from nexapod_batch.server.node_sign_in import key_caller, node_caller
from nexapod_batch.server.problems import RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from nexapod_batch.server.calls import Route
    from nexapod_batch.server.service import Service
    from nexapod_batch.store.repositories.people import TokenRow

__all__ = ["BY_ACCESS", "caller_of", "check_again"]

NOBODY = Caller(kind="nobody")
#: What a wrong token costs of what an address may ask.
_WRONG = 20.0

#: Who signs in otherwise than people do: what is called for routes of an access.
BY_ACCESS: Mapping[Access, Callable[[Request, Route, Service, str], Awaitable[Caller]]] = {
    Access.NODE: node_caller, Access.KEY: key_caller
}  # fmt: skip


async def caller_of(request: Request, route: Route, service: Service, address: str) -> Caller:
    """Return who asks; RequestError where nobody says who, or where they may not."""
    if route.access in BY_ACCESS:
        return await BY_ACCESS[route.access](request, route, service, address)
    open_to_all = route.access is Access.ANYBODY or (route.access is Access.PUBLIC and service.options.public)
    header = request.headers.get("authorization")
    if header is None:
        if open_to_all:
            return NOBODY
        raise RequestError(problems.SIGN_IN, "this needs a token")
    caller = await _person(header, service, address)
    wanted = tokens.Scope.SUBMIT if route.access in {Access.ANYBODY, Access.PUBLIC} else tokens.Scope(route.access)
    if not tokens.Scope(caller.scope).includes(wanted):
        raise RequestError(problems.FORBIDDEN, got=f"scope {caller.scope}", wanted=f"scope {wanted}")
    seconds = service.by_token.wait_s(str(caller.token))
    if seconds > 0:
        headers = {"retry-after": str(max(1, round(seconds + 0.5)))}
        raise RequestError(problems.TOO_MANY, "too many requests with this token", headers=headers)
    return caller


async def check_again(request: Request, service: Service) -> None:
    """Raise RequestError where the token of somebody who has waited is good no more."""
    header = request.headers.get("authorization")
    if header is not None:
        await _row(header, service)


async def _person(header: str, service: Service, address: str) -> Caller:
    kind, _, text = header.partition(" ")
    secret = text.strip()
    if kind.lower() != "bearer" or not tokens.is_token(secret):
        service.by_address.fine(address, _WRONG)
        raise RequestError(problems.SIGN_IN, "this is no token", wanted="Authorization: Bearer nxp_...")
    try:
        row = await _row(header, service)
    except RequestError:
        service.by_address.fine(address, _WRONG)
        raise
    return Caller(kind="person", name=row.person, scope=row.scope, token=row.id)


async def _row(header: str, service: Service) -> TokenRow:
    """Return what a token is good for; RequestError where that is nothing."""
    secret = header.partition(" ")[2].strip()
    row = await service.read(lambda c: tokens.find(c, secret))
    if row is None:
        hint = "an administrator makes another: nexapod-batch token new"
        raise RequestError(problems.SIGN_IN, "the token is unknown, expired or revoked", hint=hint)
    return row
